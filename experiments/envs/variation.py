"""What varies from episode to episode: bodies, surfaces and looks, so that a model is asked for what it has not seen.

A name of an environment may be followed by factors and how much they vary, "walker-walk?mass=0.2&camera=0.1". Data of
one variation, demonstrations of another and an evaluation under a third are then different names of one task.

    mass, friction, length   of all parts together, times a factor between 1 / (1 + x) and 1 + x, log-uniformly. Parts
                             that are longer are as much thicker, and as heavy as before.
    light                    the brightness of all lights, times such a factor
    camera                   moved by up to x times its distance along each axis, turned by up to x radians about each
    colours                  each replaced by a random one in the share x
    background               the sky is moving noise in the share x
    exogenous                x points move by themselves, seen as a sensor and in images, see `exogenous`

What an episode draws is a function of its seed alone, and of each factor alone: neither the number of environments
that step together, nor episodes before it, nor another factor change it. The metadata of an episode record it as
`factors`, and its environment with the amounts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SCALES = ("mass", "friction", "length", "light")
LOOKS = ("colours", "background")  # drawn from a seed of their own, which is what is recorded of them
FACTORS = (*SCALES, "camera", *LOOKS, "exogenous")  # an episode's draws depend on the order


def split(name: str) -> tuple[str, dict[str, float]]:
    """Returns the name of an environment without its variation, and {factor: amount}.

    Names with a colon, of the user's own environments, are theirs to read.

    Raises:
      ValueError: an amount is no positive number.
    """
    base, mark, text = name.partition("?")
    if not mark or ":" in name:
        return name, {}
    amounts: dict[str, float] = {}
    for setting in text.split("&"):
        factor, _, value = setting.partition("=")
        if factor in amounts:
            raise ValueError(f"{name!r} names {factor!r} twice.")
        try:
            amounts[factor] = float(value)
        except ValueError:
            amounts[factor] = math.nan
        if not _is_amount(factor, amounts[factor]):
            raise ValueError(
                f"{setting!r} is no factor with an amount; a variation looks like "
                f"{base}?mass=0.2&exogenous=4, the share of {' and '.join(LOOKS)} is at most 1, and exogenous points "
                "are counted."
            )
    return base, amounts


def _is_amount(factor: str, amount: float) -> bool:
    if factor == "exogenous" and not amount.is_integer():
        return False
    return 0.0 < amount < math.inf and (factor not in LOOKS or amount <= 1.0)


def num_exogenous(name: str) -> int:
    """Returns how many points move by themselves in an environment; 0 without the factor."""
    return int(split(name)[1].get("exogenous", 0))


def base_name(name: str) -> str:
    """Returns the name of an environment without its variation."""
    return split(name)[0]


def check(name: str, factors: tuple[str, ...]) -> None:
    """Raises a ValueError if an environment that knows `factors` has a variation of others."""
    base, amounts = split(name)
    unknown = [factor for factor in amounts if factor not in factors]
    if unknown:
        known = ", ".join(factors) or "nothing"
        raise ValueError(f"Unknown factor {unknown[0]!r} of {base!r}, which varies {known}.")


def drawn(name: str, seed: int) -> dict[str, Any]:
    """Returns what the episode of a seed draws: {factor: JSON value}; {} without a variation."""
    return {factor: _draw(factor, amount, seed) for factor, amount in split(name)[1].items()}


def _draw(factor: str, amount: float, seed: int) -> Any:
    random = np.random.default_rng([seed, FACTORS.index(factor)])
    if factor in SCALES:
        return float(np.exp(random.uniform(-1.0, 1.0) * np.log1p(amount)))
    if factor == "camera":
        return {key: random.uniform(-amount, amount, 3).tolist() for key in ("moved", "turned")}
    return int(random.integers(2**32))
