"""Planners by name: published searches for a reward that the model predicts, and one that follows demonstrations."""

from __future__ import annotations

from typing import Any

from agents.plan_search import PlanSettings
from agents.planning import Planner
from agents.tracking import Tracking
from worldmodels.registry import Registry, check_options


def cem(reward: str, **settings) -> Planner:
    """Returns PlaNet's planner for a reward head; `settings` are those of `PlanSettings`."""
    check_options(PlanSettings, settings, "The planner")
    return Planner(PlanSettings(**settings), reward)


def guided(reward: str, **settings) -> Planner:
    """Returns TD-MPC's planner: the policy proposes sequences, and the critic values what follows the horizon."""
    return cem(reward, **(GUIDED | settings))


def mppi(reward: str, **settings) -> Planner:
    """Returns TD-MPC2's planner, path integrals with elites: guided too, and what is done is an elite drawn by weight.

    The value of the last state is that of the critic, where TD-MPC2 has the mean of two of five action values.
    """
    return cem(reward, **(MPPI | settings))


def icem(reward: str, **settings) -> Planner:
    """Returns iCEM's planner: coloured noise, fewer candidates in every iteration, elites that compete again.

    Where the mean is shifted by one action, the last one is 0; iCEM repeats the one before.
    """
    return cem(reward, **(ICEM | settings))


GUIDED = dict(
    horizon=5,
    num_iterations=6,
    num_candidates=512,
    num_elites=64,
    min_std=0.3,
    temperature=0.5,
    momentum=0.1,
    policy_share=0.05,
    warm_start=True,
    discount=0.99,
    use_value=True,
)
MPPI = dict(
    horizon=3,
    num_iterations=6,
    num_candidates=488,  # and 24 of the policy
    num_elites=64,
    init_std=2.0,
    min_std=0.05,
    max_std=2.0,
    temperature=0.5,
    returned="drawn",
    policy_share=0.05,
    warm_start=True,
    discount=0.99,
    use_value=True,
)
ICEM = dict(
    horizon=30,
    num_iterations=3,
    num_candidates=40,
    num_elites=10,
    decay=1.25,
    init_std=0.5,
    momentum=0.1,
    std_momentum=0.1,
    noise_beta=3.0,
    keep_elites=0.3,
    try_mean=True,
    returned="best",
    warm_start=True,
)
# ZILOT's iCEM.
TRACKING: dict[str, Any] = ICEM | dict(
    horizon=16,
    num_iterations=4,
    num_candidates=512,
    num_elites=6,
    decay=1.0,
    noise_beta=2.0,
    keep_elites=1.0,
)


def tracking(
    reward: str,
    *,
    replay: str = Tracking.replay,
    distance: str = Tracking.distance,
    cost: str = Tracking.cost,
    **settings,
) -> Tracking:
    """Returns a planner that follows demonstrations, see `Tracking`; `settings` are those of `PlanSettings`."""
    check_options(PlanSettings, settings, "The planner")
    return Tracking(
        PlanSettings(**(TRACKING | settings)), reward, replay=replay, distance=distance, cost=cost
    )


# One of your own is called in the same way and returns what has `initial`, `step` and `check` as `Planner` has them.
PLANNERS = Registry(
    "planner", {"cem": cem, "guided": guided, "mppi": mppi, "icem": icem, "tracking": tracking}
)
