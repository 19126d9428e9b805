"""Several comparisons in one table and one figure."""

import ml_collections


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Aggregates runs of `compare` over their cells.

    Run: python -m experiments aggregate --config.runs=runs/compare/walker-walk,runs/compare/cheetah-run
         --workdir=DIR
    """
    if preset:
        raise ValueError(f"Unknown preset {preset!r}; there is only ''.")
    config = ml_collections.ConfigDict()
    config.runs = ()  # --workdir of finished comparisons
    config.title = ""
    return config.lock()
