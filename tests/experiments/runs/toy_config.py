"""Config of the toy run: see toy_run.py."""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.num_updates = 40
    config.save_every = 5
    config.seconds = 0.0  # pause after each update, so that a signal can hit anything
    config.optimizer = {"learning_rate": 0.1}
    if preset == "slow":
        config.seconds = 0.02
    elif preset:
        raise ValueError(f"Unknown preset {preset!r}. Known: '', 'slow'.")
    return config.lock()
