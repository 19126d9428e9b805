"""A report over finished runs."""

import ml_collections

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Writes tables, figures and a page over sweeps, runs, or folders of runs.

    Run: python -m experiments report runs/walker18
    Of several: python -m experiments report runs/demo runs/mine --workdir=runs/report
    """
    config = ml_collections.ConfigDict()
    config.runs = ()  # directories; named without a flag, too
    config.title = ""  # of the page; "": the name of the first directory
    return _presets.apply(preset, PRESETS, config)


PRESETS = {"": ()}
