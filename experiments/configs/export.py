"""Export of a trained model."""

import ml_collections

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Writes the model of a run into one self-contained folder.

    Run: python -m experiments export --run=DIR --to=FOLDER
    Or:  python -m experiments export --run=DIR --to=hf://USER/NAME
    """
    config = ml_collections.ConfigDict()
    config.seed = 0  # which of the run's models and policies
    config.title = ""  # of the model card; "": from what is exported
    config.description = ""  # a paragraph of the model card
    config.license = ""  # of the model, for its card: "apache-2.0", "mit", ...
    return _presets.apply(preset, PRESETS, config)


PRESETS = {"": ()}
