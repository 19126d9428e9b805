"""Several comparisons in one table and one figure."""

import ml_collections

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Aggregates runs of `compare` over their cells.

    Run: python -m experiments aggregate --config.runs=runs/compare/walker-walk,runs/compare/cheetah-run
         --workdir=DIR
    """
    config = ml_collections.ConfigDict()
    config.runs = ()  # --workdir of finished comparisons
    config.title = ""
    return _presets.apply(preset, PRESETS, config)


PRESETS = {"": ()}
