"""For tests of AIME-v2: configs of tiny runs, and what they learn with."""

from experiments.configs import online as online_config
from experiments.methods.online_learner import OnlineLearner
from experiments.runs.settings import plain_config
from worldmodels.data.episodes import load_episodes


def config_of(module, preset="tiny", **changes):
    """The preset with changes, `group__name` for those in a group."""
    config = module.get_config(preset)
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    return config


def learner_of(paths, **changes) -> OnlineLearner:
    """The learner of a run without embodiment data, at its start."""
    changes = {**paths, "embodiment": "", "reward__name": "ot", **changes}
    config = plain_config(config_of(online_config, **changes))
    return OnlineLearner(config, load_episodes(config["demonstrations"]))
