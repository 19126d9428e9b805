"""True against surrogate returns over a dataset."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import online


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Scores folders of episodes; the config of `online` with the same preset, and what to score.

    Of a run: python -m experiments rewards --config.run=DIR --config.episodes=DIR,DIR --workdir=DIR
    Before:   python -m experiments rewards --config=rewards:small --config.reward.name=viper
              --config.reward.model=DIR --config.model=DIR --config.demonstrations=DIR --config.episodes=DIR
    """
    config = online.get_config(preset)
    config.unlock()
    config.run = ""  # --workdir of `online`: its config and what it has learnt
    config.episodes = ""  # folders of episodes, separated by commas
    config.limit = placeholder(int)  # episodes per folder; None: all
    return config.lock()


PRESETS = online.PRESETS
