"""`experiments.online` that sends itself a signal: python online_sabotaged.py PLACE SIGNAL FLAGS...

Places: "episode", in the middle of one; "files", between the files of the episodes of a round; "checkpoint", when one
is written but not yet in its place.
"""

import os
import sys
from collections.abc import Callable

from experiments import collection, online
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


def sabotage(place: str, act: Callable) -> None:
    """Lets `act` happen at a place of the first round that this process plays."""
    if place == "episode":
        play = online.collect_episodes
        online.collect_episodes = lambda envs, actor, n: play(envs, before_call(10, actor, act), n)
    elif place == "files":
        collection.write_episode = before_call(2, collection.write_episode, act)
    elif place == "checkpoint":
        checkpoints.os.rename = before_call(1, os.rename, act)


def main() -> None:
    place, number = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    sabotage(place, lambda: os.kill(os.getpid(), number))
    online.main()


if __name__ == "__main__":
    main()
