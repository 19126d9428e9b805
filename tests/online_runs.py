"""For tests of AIME-v2: what tiny runs learn with."""

from imitation_data import config_of

from experiments.configs import online as online_config
from experiments.methods.online_learner import OnlineLearner
from experiments.runs.settings import plain_config
from worldmodels.data.episodes import load_episodes


def learner_of(paths, **changes) -> OnlineLearner:
    """The learner of a run without embodiment data, at its start."""
    changes = {**paths, "embodiment": "", "reward__name": "ot", **changes}
    config = plain_config(config_of(online_config, **changes))
    return OnlineLearner(config, load_episodes(config["demonstrations"]))
