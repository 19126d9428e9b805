"""`online` that sends itself a signal: python online_sabotaged.py PLACE NUMBER SIGNAL FLAGS...

Places: "episode", in the middle of one; "update", when the updates of a round are made and nothing of them is kept;
"checkpoint", when one is written but not yet in its place. NUMBER counts those of this process from 1.
"""

import os
import sys
from collections.abc import Callable

import jax

from experiments.__main__ import main as command_line
from experiments.data import rounds
from experiments.methods import online
from worldmodels import checkpoints


def before_call(number: int, function: Callable, act: Callable) -> Callable:
    """`function`; `act` is called before its call `number`, counted from 1."""
    calls = 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return function(*args, **kwargs)

    return counted


def sabotage(place: str, number: int, act: Callable) -> None:
    """Lets `act` happen at a place."""
    if place == "checkpoint":
        checkpoints.sync = before_call(number, checkpoints.sync, act)
    elif place == "update":
        make_loop, after = online.OnlineLearner.make_loop, before_call(number, lambda: None, act)

        def make_observed(learner, stage, num_updates):
            loop = make_loop(learner, stage, num_updates)

            def observed(state, data):
                made = jax.block_until_ready(loop(state, data))
                after()
                return made

            return observed if stage == "online" else loop

        online.OnlineLearner.make_loop = make_observed
    elif place == "episode":
        play, played = rounds.collect_episodes, 0

        def collect(envs, actor, num_episodes, **options):
            nonlocal played
            played += 1
            return play(
                envs, before_call(10, actor, act) if played == number else actor, num_episodes, **options
            )

        rounds.collect_episodes = collect


def main() -> None:
    place, number, signal_number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.argv[1:4] = ["online"]
    sabotage(place, number, lambda: os.kill(os.getpid(), signal_number))
    sys.exit(command_line())


if __name__ == "__main__":
    main()
