"""Curves of imitation against what the runs differ in."""

import ml_collections

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Compares finished runs of `imitate`.

    Run:  python -m experiments curves --config.runs=runs/a,runs/b --config.demonstrations=DIR --workdir=DIR
    """
    config = ml_collections.ConfigDict()
    config.runs = ()  # directories of finished imitation runs
    config.demonstrations = ""  # the demonstrations with their true actions, for analysis only
    config.batch_size = 100  # windows of them
    config.seed = 0
    config.title = ""
    return _presets.apply(preset, PRESETS, config)


PRESETS = {"": ()}
