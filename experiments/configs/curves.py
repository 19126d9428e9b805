"""Curves of imitation against what the runs differ in, and of any metric of any runs."""

import ml_collections

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Compares finished runs of `imitate`, or writes and draws a metric of any runs.

    Run:    python -m experiments curves runs/a runs/b --config.demonstrations=DIR --workdir=DIR
    Metric: python -m experiments curves runs --config.metric=eval/return --workdir=DIR
    """
    config = ml_collections.ConfigDict()
    config.runs = ()  # directories of finished imitation runs, or for a metric of any; named without a flag, too
    config.metric = ""  # as TensorBoard names it; "": scores of imitation
    config.clock = "update"  # episode, agent_step, env_step: what a metric is drawn against
    config.demonstrations = ""  # the demonstrations with their true actions, for analysis only
    config.batch_size = 100  # windows of them
    config.seed = 0
    config.title = ""
    return _presets.apply(preset, PRESETS, config)


PRESETS = {"": ()}
