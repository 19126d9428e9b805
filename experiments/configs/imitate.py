"""Action inference on demonstrations (AIME phase 2)."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets
from experiments.configs._presets import defaults


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Trains a policy on demonstrations without actions, with a pretrained world model.

    Published:  python -m experiments imitate --config=imitate --config.model=DIR
                --config.demonstrations=DIR --workdir=DIR
    On a CPU:   --config=imitate:small, or medium after pretraining with the preset of that name
    Walker:     --config=imitate:walker     after pretraining with the preset of that name
    Images:     --config=imitate:visual-small    after pretraining with the preset of that name
    For a test: --config=imitate:tiny
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    # Policies trained in one program; world model i goes with policy i, one model with all.
    config.num_seeds = 1
    # So many policies act together by the mean of their actions, each with a world model of its own: `model` has
    # num_seeds * ensemble of them. Published: 1.
    config.ensemble = 1
    config.devices = "auto"  # "one", "all"; "auto": one on a CPU, else all accelerators that divide the work
    config.model = ""  # --workdir of a pretraining run, a folder of `export`, or a published folder
    config.demonstrations = ""  # folder of episodes; their actions are not used
    config.num_demonstrations = placeholder(int)  # None: all
    config.common_parts = dict(max_gap=placeholder(int))  # EIL, see docs/concepts/aime.md; None: all
    # Where data are kept: device, memory, disk (images only); auto: the first with room for them.
    config.storage = "auto"
    # "": the model is frozen (published); a folder: it continues to train on these data.
    config.embodiment = ""
    config.env = ""  # where to evaluate; "": as recorded in the demonstrations; none: nowhere
    config.policy = defaults(
        "worldmodels.action_head:TanhGaussianHead", "hidden_size", "hidden_layers", "min_std"
    )
    config.policy_from = ""  # a run or a folder with a policy to start from; "": random (published)
    config.num_updates = 50_000
    config.batch_size = 50
    config.length = 50
    config.first_fraction = 0.0  # share of windows that start at the first record of an episode; published: 0
    config.updates_per_dispatch = 50
    config.save_every = 1000
    config.optimizer = dict(learning_rate=3e-4, final_fraction=1.0, grad_clip=100.0)
    config.model_optimizer = dict(learning_rate=3e-4, final_fraction=1.0, grad_clip=100.0)
    config.loss = defaults(
        "aime.losses:AIMEOptions",
        "kl_scale",
        "kl_only",
        "idm_mode",
        "first_action",
        "observation_noise",
        "entropy_scale",
    )
    config.evaluation = dict(
        every=5000,
        episodes=10,
        final_episodes=100,
        sample_action=False,  # False: the policy's mode
        seed=100,
        workers=0,  # processes that step environments; 0: this one, or for images one per processor
        video=True,  # of the final evaluation, where something can be rendered
        random_return=placeholder(float),  # for normalisation by random and expert
    )
    return _presets.apply(preset, PRESETS, config)


def small(config: ml_collections.ConfigDict) -> None:
    """Minutes on a CPU, after pretraining with the preset of the same name."""
    config.num_updates = 900
    config.batch_size = 32
    config.save_every = 300
    config.first_fraction = 0.5
    config.loss.update(first_action="zero", observation_noise=0.04)
    config.policy.update(hidden_size=64)
    config.optimizer = dict(learning_rate=1e-3, final_fraction=0.1, grad_clip=100.0)
    config.evaluation.update(every=150, final_episodes=10, video=False)


def medium(config: ml_collections.ConfigDict) -> None:
    """More and larger steps than `small`, on windows half as long; after pretraining with the preset of that name."""
    small(config)
    config.num_updates, config.length = 2400, 25
    config.optimizer.learning_rate = 3e-3
    config.evaluation.every = 600


def walker(config: ml_collections.ConfigDict) -> None:
    """From standing to walking, from demonstrations with the noise of a stochastic expert."""
    small(config)
    config.num_updates = 1500
    config.batch_size = 48
    config.length = 24
    config.save_every = 500
    config.first_fraction = 0.25
    config.loss.update(observation_noise=0.0)  # a walker answers noise with violence
    config.policy.update(hidden_size=128)
    config.evaluation.update(every=500)


def visual_small(config: ml_collections.ConfigDict) -> None:
    """From images of 32x32 on a CPU, after pretraining with the preset of that name."""
    small(config)
    config.num_updates = 2500
    config.save_every = 500
    config.batch_size = 16
    config.length = 24
    config.loss.update(kl_scale=0.03, observation_noise=0.0)  # kl_scale as in pretraining
    config.policy.update(hidden_size=128)
    config.evaluation.update(every=500, episodes=4, final_episodes=10)


def tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: for tests, on any data."""
    small(config)
    config.num_updates = 4
    config.batch_size = 4
    config.length = 8
    config.updates_per_dispatch = 2
    config.save_every = 2
    config.policy.update(hidden_size=8, hidden_layers=1)
    config.evaluation.update(every=2, episodes=2, final_episodes=2)


PRESETS = {
    "": (),
    "small": (small,),
    "medium": (medium,),
    "walker": (walker,),
    "visual-small": (visual_small,),
    "tiny": (tiny,),
}
