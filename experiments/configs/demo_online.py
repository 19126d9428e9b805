"""The online job: AIME, AIME-v2 with each surrogate reward, and its ablations, end to end, from nothing."""

import ml_collections

from experiments.configs import collect, imitate, online, pretrain

PRESETS = ("", "tiny")

# Rows of the table: stage, its name, and what differs from config.online.
VARIANTS = {
    "viper": ("AIME-v2, VIPER", {"reward": {"name": "viper"}}),
    "ail": ("AIME-v2, adversarial", {"reward": {"name": "ail"}}),
    "ot": ("AIME-v2, optimal transport", {"reward": {"name": "ot"}}),
    "no-regulariser": ("Without regulariser (adversarial)", {"reward": {"name": "ail"}, "embodiment": ""}),
    "no-reward": ("Without surrogate reward", {"reward": {"name": "none"}}),
}


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Data, world model, reward model, offline AIME, online imitation and its ablations, evaluation and report.

    Run:   python -m experiments demo_online --config=demo_online --workdir=runs/demo-online
    In CI: ...demo_online.py:tiny   the same pipeline on a fake environment
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; choose one of {', '.join(map(repr, PRESETS))}.")
    size = preset or "small"
    config = ml_collections.ConfigDict()
    config.title = "Meta-World: a task that the data do not hold"
    config.task = "button-press-topdown"
    config.setup = "mdp"
    config.num_demonstrations = 50
    config.num_seeds = 1
    config.video = True
    config.body_may_hold_task = False  # True only where there is no other task, in tests
    config.body = collect.get_config("scripted" if size == "small" else "scripted-tiny")
    config.pretrain = pretrain.get_config(size)
    config.reward_model = pretrain.get_config(f"viper-{size}")
    config.imitate = imitate.get_config(size)
    config.online = online.get_config(size)
    chosen = {"": tuple(VARIANTS), "tiny": ("viper",)}[preset]
    config.labels = ml_collections.ConfigDict({stage: VARIANTS[stage][0] for stage in chosen})
    config.variants = ml_collections.ConfigDict({stage: VARIANTS[stage][1] for stage in chosen})
    {"": small, "tiny": tiny}[preset](config)
    return config.lock()


def small(config: ml_collections.ConfigDict) -> None:
    """Sizes for two CPU cores; the model knows eight other tasks."""
    config.body.tasks = (
        "reach,drawer-close,window-open,door-open,faucet-open,handle-press,plate-slide,coffee-button"
    )
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
    config.title = "Point mass: a test of the pipeline"
    config.task, config.body.tasks = "fake-pointmass", "fake-pointmass"
    config.body_may_hold_task = True
    config.num_demonstrations = 3
    config.imitate.evaluation.update(every=0)
    config.online.num_episodes = 2
