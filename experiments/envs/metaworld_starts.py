"""How an episode of Meta-World starts, read off its first observation.

In Meta-World v3 one vector, of three or six numbers, decides where object and goal are at the start of an episode.
For data that hold observations only (TD-MPC2's, for one), the table finds it again: AIME-v2 published rules to the
same end for v2, task by task, by way of the simulator's attributes.
"""

from __future__ import annotations

import re

import numpy as np

_OBJECT, _GOAL = 4, 36  # where the coordinates of the first object and of the goal begin in `state`

# Task: for each number of the start vector, a coordinate of the object (x y z) or of the goal (X Y Z) in the first
# observation and what is added to it, or a constant where the simulator makes nothing of the number.
_STARTS = {
    "assembly": "0 0.6 0.02 X Y 0.1",
    "basketball": "x y 0.03 X Y+0.083 0",
    "bin-picking": "x y 0.02 0.12 0.7 0",
    "box-close": "x y 0.02 X Y 0.133",
    "button-press-topdown": "x y 0.115",
    "button-press-topdown-wall": "x y 0.115",
    "button-press": "x y+0.193 0.115",
    "button-press-wall": "x y+0.193 z",
    "coffee-button": "x y+0.22 z-0.3",
    "coffee-pull": "x y z X Y Z",
    "coffee-push": "x y z X Y Z",
    "dial-turn": "x y+0.05 0",
    "disassemble": "X Y Z-0.15 -0.11 0.6 0.17",
    "door-close": "x+0.292141 y+0.475721 0.15",
    "door-lock": "X y+0.158 0.15",
    "door-open": "x-0.190722 y+0.20714 0.15",
    "door-unlock": "x+0.01 y+0.158 0.15",
    "hand-insert": "x y 0.05 X Y Z",
    "drawer-close": "x 0.9 0",
    "drawer-open": "x 0.9 0",
    "faucet-open": "x+0.015 y+0.175 0",
    "faucet-close": "x-0.015 y+0.175 0",
    "hammer": "x y 0",
    "handle-press-side": "x-0.216 y+0.000172 z-0.171",
    "handle-press": "x y+0.216 z-0.171",
    "handle-pull-side": "x-0.17 y+0.000135 0",
    "handle-pull": "x-0.05 y+0.216 z-0.064",
    "lever-pull": "x-0.12 y+0.2 0",
    "pick-place-wall": "x y 0.015 X Y Z",
    "pick-out-of-hole": "0 0.75 0.02 X Y Z",
    "pick-place": "x y 0.02 X Y Z",
    "plate-slide": "0 0.6 0 X Y 0",
    "plate-slide-side": "0 0.6 0 X Y 0",
    "plate-slide-back": "0 0.85 0 X 0.6 0.015",
    "plate-slide-back-side": "-0.25 0.6 0 X 0.6 0.015",
    "peg-insert-side": "x-0.03 y 0.02 X-0.03 Y Z-0.13",
    "peg-unplug-side": "x-0.084 y z-0.131",
    "soccer": "x y 0.03 X Y 0",
    "stick-push": "x y 0.001 X Y 0.132",
    "stick-pull": "x y 0.001 X Y 0.02",
    "push": "x y 0.02 X Y 0.015",
    "push-wall": "x y 0.015 X Y 0.015",
    "push-back": "x y 0.02 X Y 0.02",
    "reach": "x y 0.02 X Y Z",
    "reach-wall": "x y 0.015 X Y Z",
    "shelf-place": "x y 0.02 X Y Z",
    "sweep-into": "x y 0.02 -0.001 0.84 0.02",
    "sweep": "x y 0.02",
    "window-open": "x+0.04 y+0.095 0.16",
    "window-close": "0 y+0.095 0.2",
}


def start_of(task: str, state: np.ndarray) -> np.ndarray:
    """Returns the start vector of an episode from its first `state` [39], float64 [3] or [6].

    Raises:
      ValueError: not a state, or one whose goal is hidden where the goal is drawn at random.
    """
    state = np.asarray(state, np.float64)
    if state.shape != (39,):
        raise ValueError(f"A state of Meta-World has 39 numbers, got shape {list(state.shape)}.")
    tokens = _STARTS[task].split()
    if any(token[0] in "XYZ" for token in tokens) and not state[_GOAL:].any():
        raise ValueError(
            f"This first state of {task!r} hides the goal (its last three numbers are 0), without which the start is "
            "not determined; use data with a visible goal."
        )
    return np.array([_value(token, state) for token in tokens])


def _value(token: str, state: np.ndarray) -> float:
    """`x+0.1`, `Z-0.15` or a constant."""
    coordinate = re.fullmatch(r"([xyzXYZ])([+-][\d.e-]+)?", token)
    if coordinate is None:
        return float(token)
    axis = "xyzXYZ".index(coordinate[1])
    index = _OBJECT + axis if axis < 3 else _GOAL + axis - 3
    return float(state[index]) + float(coordinate[2] or 0.0)
