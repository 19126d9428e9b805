"""For tests of AIME-v2: what tiny runs learn with."""

import math
import os
from signal import SIGTERM

from imitation_data import config_of

from experiments.configs import online as online_config
from experiments.data import rounds
from experiments.methods.online_learner import OnlineLearner
from experiments.runs import directory
from experiments.runs.settings import plain_config
from worldmodels.data.episodes import load_episodes


def learner_of(paths, **changes) -> OnlineLearner:
    """The learner of a run without embodiment data, at its start."""
    changes = {**paths, "embodiment": "", "reward__name": "ot", **changes}
    config = plain_config(config_of(online_config, **changes))
    return OnlineLearner(config, load_episodes(config["demonstrations"]))


def interrupt_round(monkeypatch, number: int) -> list:
    """Sends SIGTERM to this process as round `number` of episodes begins; returns a list with an entry per round.

    The round ends, however slow the machine.
    """
    play, played = rounds.collect_episodes, []
    monkeypatch.setattr(directory, "PATIENCE", math.inf)

    def interrupted(*args, **options):
        played.append(os.kill(os.getpid(), SIGTERM) if len(played) == number else None)
        return play(*args, **options)

    monkeypatch.setattr(rounds, "collect_episodes", interrupted)
    return played
