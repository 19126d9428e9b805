"""Curves of imitation against what the runs differ in."""

import ml_collections

PRESETS = ("",)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Compares finished runs of `imitate`.

    Run:  python -m experiments curves --config.runs=runs/a,runs/b --config.demonstrations=DIR --workdir=DIR
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; there is only the default.")
    config = ml_collections.ConfigDict()
    config.runs = ()  # directories of finished imitation runs
    config.demonstrations = ""  # the demonstrations with their true actions, for analysis only
    config.batch_size = 100  # windows of them
    config.seed = 0
    config.title = ""
    return config.lock()
