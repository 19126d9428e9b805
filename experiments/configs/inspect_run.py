"""Looking at the world model of a finished run."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Makes videos, figures and numbers of what a world model foresees.

    Run: python -m experiments inspect --run=DIR
    """
    config = ml_collections.ConfigDict()
    config.data = ""  # folder of episodes, or several with commas; "": what the run was trained on
    config.num_episodes = 20  # of it, evenly spaced
    config.windows = 16
    config.length = placeholder(int)  # records per window; None: as in training
    config.context = 10  # records that open-loop predictions see; at most half of a window
    config.model_seed = 0  # which of the run's models
    config.seed = 0  # of the choice of windows
    config.render = True  # draw predicted vectors with the simulator, where they determine its state
    return _presets.apply(preset, PRESETS, config)


def tiny(config: ml_collections.ConfigDict) -> None:
    """For tests."""
    config.windows = 4  # as many as `pretrain:tiny` looks at, by the same program


PRESETS = {"": (), "tiny": (tiny,)}
