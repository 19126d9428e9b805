"""The online job: AIME, AIME-v2 with each surrogate reward, and its ablations, end to end, from nothing."""

from collections.abc import Sequence

import ml_collections

from experiments.configs import _presets, collect, imitate, online, pretrain

# Stage of a variant of AIME-v2 -> what differs from config.online. `experiments.analysis.labels` has their labels.
VARIANTS = {
    "viper": {"reward": {"name": "viper"}},
    "ail": {"reward": {"name": "ail"}},
    "ot": {"reward": {"name": "ot"}},
    "no-regulariser": {"reward": {"name": "ail"}, "embodiment": ""},
    "no-reward": {"reward": {"name": "none"}},
}

OTHER_TASKS = (
    *("reach", "drawer-close", "window-open", "door-open", "faucet-open", "handle-press", "plate-slide"),
    "coffee-button",
)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Makes data, world model, reward model, offline AIME, online imitation and its ablations, evaluation and report.

    Run:   python -m experiments demo_online --config=demo_online --workdir=runs/demo-online
    In CI: --config=demo_online:tiny   the same pipeline on a fake environment
    """
    config = ml_collections.ConfigDict()
    config.title = "Meta-World: a task that the data do not hold"
    config.task = "button-press-topdown"
    config.setup = "mdp"
    config.num_demonstrations = 50
    config.num_seeds = 1
    config.video = True
    config.body_may_hold_task = False  # True only where there is no other task, in tests
    return _presets.apply(preset, PRESETS, config)


def _parts(config: ml_collections.ConfigDict, size: str, variants: Sequence[str]) -> None:
    """The configs of the stages, and which variants of the online stage there are."""
    config.pretrain = pretrain.get_config(size)
    config.reward_model = pretrain.get_config(f"viper-{size}")
    config.imitate = imitate.get_config(size)
    config.online = online.get_config(size)
    config.variants = ml_collections.ConfigDict({stage: VARIANTS[stage] for stage in variants})


def small(config: ml_collections.ConfigDict) -> None:
    """Sizes for two CPU cores; the model knows eight other tasks."""
    _parts(config, "small", tuple(VARIANTS))
    config.body = collect.get_config("scripted")
    config.body.tasks = ",".join(OTHER_TASKS)
    config.body.num_episodes = 40
    config.num_seeds = 2
    config.pretrain.update(num_updates=4000, length=32)
    # Raw observations: what stands still in the data of other tasks would be blown up by standardising.
    for model in (config.pretrain, config.reward_model):
        model.world_model.standardize = False
        model.world_model.decoder.std = 0.03
    for learner in (config.imitate, config.online):
        learner.loss.observation_noise = 0.0
    # What the model does not know (17,000 nats of a window of 32 records) drives actions into the corners of the tanh,
    # where their gradient is gone; an entropy that counts keeps the policy able to learn once the model has.
    config.imitate.loss.entropy_scale = config.online.entropy_scale = 1.0
    config.online.update(num_episodes=100, updates_per_episode=20, policy_pretraining=200)
    config.online.evaluation.update(every=10, episodes=10, final_episodes=20)
    config.imitate.length = 32
    config.imitate.evaluation.update(every=0, final_episodes=20)


def tiny(config: ml_collections.ConfigDict) -> None:
    """Under two minutes on any machine, nothing learnt."""
    _parts(config, "tiny", ("viper",))
    config.body = collect.get_config("scripted-tiny")
    config.title = "Point mass: a test of the pipeline"
    config.task, config.body.tasks = "fake-pointmass", "fake-pointmass"
    config.body_may_hold_task = True
    config.num_demonstrations = 3
    config.imitate.evaluation.update(every=0)
    config.online.num_episodes = 2


PRESETS = {"": (small,), "tiny": (tiny,)}
