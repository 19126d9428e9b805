"""Evaluation of a finished run."""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Plays episodes with every policy of a run.

    Run: python -m experiments.evaluate --run=DIR
    """
    if preset not in ("", "tiny"):
        raise ValueError(f"Unknown preset {preset!r}; choose '' or 'tiny'.")
    config = ml_collections.ConfigDict()
    config.episodes = 2 if preset == "tiny" else 10  # per policy
    config.seed = 1000  # of the environments
    config.sample_action = False  # False: the policy's mode
    config.workers = 0  # processes that step environments; 0 is this one
    config.video = False
    return config.lock()
