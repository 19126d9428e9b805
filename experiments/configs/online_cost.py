"""What a run of online imitation costs, part by part."""

import ml_collections

PRESETS = ("", "tiny")


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Measures on the data and at the sizes of a run of `experiments.online`.

    Run:  python -m experiments.online_cost --config.run=runs/demo-online/ail-0 --workdir=runs/online-cost
    Some rewards: --config.rewards=none,ail    (`none` has also the parts that no reward changes)
    Tiny: ...--config=experiments/configs/online_cost.py:tiny
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; choose one of {', '.join(map(repr, PRESETS))}.")
    config = ml_collections.ConfigDict()
    config.run = ""  # --workdir of experiments.online
    config.rewards = ("none", "true", "viper", "ot", "ail")  # surrogate rewards to compare
    config.reward_model = ""  # for viper; "": that of the run
    config.num_envs = (1, 2, 4, 8)  # environments that step together
    config.rounds = 2  # of episodes per number of environments
    config.updates = 10  # per dispatch
    config.repetitions = 5  # of which medians are reported
    if preset == "tiny":
        config.rewards, config.num_envs = ("none", "viper"), (1, 2)
        config.rounds, config.updates, config.repetitions = 1, 2, 2
    return config.lock()
