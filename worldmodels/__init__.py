"""World models: models, losses, data and training. Knows nothing of tasks or simulators.

Importing the package is free and touches no device; what it offers is imported when it is first used.
"""

from worldmodels import lazy

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy.names(
    __name__,
    {
        "action_head": ["TanhGaussianHead"],
        "architecture": ["Architecture"],
        "checkpoints": ["Checkpoints"],
        "data.arrays": ["from_arrays", "from_transitions"],
        "data.dataset": ["SequenceDataset", "sample", "windows"],
        "data.episodes": ["Episode", "append_episode", "load_episodes"],
        "data.loops": ["fit", "make_loops"],
        "data.replay": ["Replay"],
        "export": ["Models", "load", "save"],
        "losses": ["LossOptions", "elbo_loss", "evidence_terms", "per_step_evidence"],
        "report": ["open_loop", "reconstruct"],
        "rssm": ["RSSM"],
        "structures": ["FilterOutput", "LatentState", "SequenceBatch"],
        "training": ["TrainState", "make_optimizer", "make_update"],
        "world_model": ["WorldModel"],
    },
)
