"""Export of a trained model."""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Writes the model of a run into one self-contained folder.

    Run: python -m experiments export --run=DIR --to=FOLDER
    """
    if preset:
        raise ValueError(f"Unknown preset {preset!r}; there is none.")
    config = ml_collections.ConfigDict()
    config.seed = 0  # which of the run's models and policies
    config.title = ""  # of the model card; "": from what is exported
    config.description = ""  # a paragraph of the model card
    return config.lock()
