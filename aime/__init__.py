"""AIME: imitation from observation by maximising the evidence of demonstrations (arXiv 2312.02019, 2404.18896)."""

from worldmodels import __version__ as __version__
from worldmodels import lazy

__getattr__, __dir__, __all__ = lazy.names(
    __name__,
    {
        "latent_actions": ["latent_action_loss"],
        "inference": ["InferenceOutput", "infer_actions"],
        "losses": ["AIMEOptions", "action_inference_loss"],
        "offline": ["make_imitation_update", "make_joint_update"],
        "online": ["OnlineBatch", "OnlineSettings", "create_online", "make_online_update"],
        "rewards": ["Adversarial", "OptimalTransport", "SurrogateReward", "Viper"],
    },
)
