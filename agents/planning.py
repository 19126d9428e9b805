"""Planning in a world model: the cross-entropy method (PlaNet), also guided by a policy and a value (TD-MPC).

At every step the actor filters its observation, searches for the sequence of actions with the highest score in the
model, and takes the first of them:

    score(a_0 .. a_{H-1}) = sum_t w_t * r_t,  t = 1 .. H            or, with a value function,
                            sum_t w_t * r_t,  t = 1 .. H - 1,  + w_H * V(s_H)

with rewards on arrival (V(s_H) contains r_H) and weights w_t as in `agents/imagination.py`, w_1 = 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import struct

from agents import values
from agents.actors import ActorState, ModelActor, filter_step, initial_actor_state
from agents.imagination import Reward, head_reward, termination
from worldmodels.dynamics import ImagineOutput
from worldmodels.registry import Registry, check_options
from worldmodels.structures import Array, LatentState
from worldmodels.world_model import WorldModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """Settings of the search; the defaults are PlaNet's.

    Attributes:
      horizon: H, actions per sequence.
      num_iterations, num_candidates, num_elites: of the cross-entropy method.
      min_std: floor of the search distribution's std.
      temperature: None averages the elites evenly; else with weights softmax(temperature * score).
      momentum: share of the old mean that is kept in every iteration.
      policy_share: the policy proposes this many sequences besides, as a share of `num_candidates`.
      warm_start: begins at the plan of the step before, shifted by one action.
      discount: of the rewards.
      use_value: ends the score with the value of the last state.
    """

    horizon: int = 12
    num_iterations: int = 10
    num_candidates: int = 1000
    num_elites: int = 100
    min_std: float = 0.0
    temperature: float | None = None
    momentum: float = 0.0
    policy_share: float = 0.0
    warm_start: bool = False
    discount: float = 1.0
    use_value: bool = False

    def __post_init__(self):
        if not 1 <= self.num_elites <= self.num_candidates:
            raise ValueError(
                f"{self.num_elites} elites cannot be chosen from {self.num_candidates} candidates."
            )


def cross_entropy_method(
    score: Callable[[Array, Array], Array],
    mean: Array,
    std: Array,
    key: Array,
    *,
    num_iterations: int,
    num_candidates: int,
    num_elites: int,
    min_std: float = 0.0,
    temperature: float | None = None,
    momentum: float = 0.0,
    proposals: Array | None = None,
) -> tuple[Array, Array]:
    """Searches for the actions in [-1, 1] that maximise a score (Rubinstein 1997; PlaNet, algorithm 2).

    Args:
      score: (sequences of actions [K, H, A], PRNG key) -> [K].
      mean, std: [H, A] of the first search distribution, a diagonal Gaussian whose samples are clipped.
      key: PRNG key, consumed.
      proposals: [P, H, A] sequences that compete in every iteration.
      Others: see `PlanSettings`.

    Returns:
      Mean and std [H, A] of the last search distribution.
    """

    def iterate(search, key):
        mean, std = search
        sample_key, score_key = jax.random.split(key)
        noise = jax.random.normal(sample_key, (num_candidates, *mean.shape))
        candidates = jnp.clip(mean[None] + std[None] * noise, -1.0, 1.0)
        if proposals is not None:
            candidates = jnp.concatenate([candidates, proposals])
        scores, best = jax.lax.top_k(score(candidates, score_key), num_elites)
        elites = candidates[best]
        weights = jax.nn.softmax(jnp.zeros_like(scores) if temperature is None else temperature * scores)
        new_mean = jnp.einsum("k,kha->ha", weights, elites)
        variance = jnp.einsum("k,kha->ha", weights, (elites - new_mean[None]) ** 2)
        mean = momentum * mean + (1.0 - momentum) * new_mean
        return (mean, jnp.maximum(jnp.sqrt(variance), min_std)), None

    (mean, std), _ = jax.lax.scan(iterate, (mean, std), jax.random.split(key, num_iterations))
    return mean, std


def score_actions(
    model: WorldModel,
    start: LatentState,
    actions: Array,
    key: Array | None,
    *,
    reward: Reward,
    discount: float = 1.0,
    value: Callable | None = None,
) -> Array:
    """Returns the scores [K] of sequences of actions in the model.

    Args:
      start: one state, leaves [D] and [S].
      actions: [K, H, A].
      key: PRNG key, consumed; None takes the modes of the priors.
      reward: see `agents.imagination.Reward`.
      value: features [..., F] -> [..., 1] that stands for everything from s_H on; None ends there.
    """
    starts = repeat(start, actions.shape[0])
    states = model.dynamics.rollout(starts, actions, key)
    every = jax.tree.map(lambda x, xs: jnp.concatenate([x[:, None], xs], axis=1), starts, states)
    rewards = reward(model, ImagineOutput(states=every, actions=actions, policy=None))[:, 1:]
    weight = values.cumulative_discount(discount * (1.0 - termination(model, states.features)))
    if value is not None:
        rewards = rewards.at[:, -1].set(value(states.features[:, -1])[..., 0])
    return jnp.sum(weight * rewards, axis=1)


def repeat(state: LatentState, times: int) -> LatentState:
    """Returns a batch of copies, leaves [times, d], of one state, leaves [d]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (times, *x.shape)), state)


class PlanState(struct.PyTreeNode):
    """Memory of a planning actor.

    Attributes:
      filtered: as any actor with a world model.
      plan: [N, H, A] the latest plans.
    """

    filtered: ActorState
    plan: Array


@dataclasses.dataclass(frozen=True)
class Planner:
    """Chooses actions by planning; pure functions over (model, policy, critics).

    Attributes:
      settings: how to search.
      reward: name of the reward head that is maximised, and of the critic.
      sample_state: draws latent states from the posterior instead of taking its mode.
    """

    settings: PlanSettings = PlanSettings()
    reward: str = "reward"
    sample_state: bool = True

    def initial(self, modules: tuple, num_envs: int, key: Array) -> PlanState:
        """Returns the state before the first observation of `num_envs` episodes."""
        model = modules[0]
        plan = jnp.zeros((num_envs, self.settings.horizon, model.action_size))
        return PlanState(initial_actor_state(model, num_envs, key), plan)

    def step(
        self,
        modules: tuple,
        state: PlanState,
        observation: Mapping[str, Array],
        is_first: Array,
        executed: Array | None = None,
    ) -> tuple[Array, PlanState]:
        """Returns actions [N, A] and the next state; arguments as for `agents.actors.act`."""
        latent, plan_key, key = filter_step(
            modules[0], state.filtered, observation, is_first, executed, sample_state=self.sample_state
        )
        shifted = jnp.concatenate([state.plan[:, 1:], jnp.zeros_like(state.plan[:, :1])], axis=1)
        mean = (
            shifted * (1.0 - is_first)[:, None, None] if self.settings.warm_start else jnp.zeros_like(shifted)
        )
        keys = jax.random.split(plan_key, is_first.shape[0])
        # One environment after the other: the candidates of one fill the machine and its memory.
        plan = jax.lax.map(lambda xs: self.plan(modules, *xs), (latent, mean, keys))
        action = plan[:, 0]
        return action, PlanState(ActorState(latent=latent, prev_action=action, key=key), plan)

    def plan(self, modules: tuple, start: LatentState, mean: Array, key: Array) -> Array:
        """Returns the best actions [H, A] from one state; the search begins at `mean` [H, A]."""
        model, policy, critics = modules
        settings = self.settings
        propose_key, search_key = jax.random.split(key)
        num_proposals = int(settings.policy_share * settings.num_candidates)
        proposals = None
        if num_proposals:
            starts = repeat(start, num_proposals)
            proposals = model.dynamics.imagine(starts, policy, settings.horizon, propose_key).actions

        def score(actions, key):
            return score_actions(
                model,
                start,
                actions,
                key,
                reward=head_reward(self.reward),
                discount=settings.discount,
                value=critics[self.reward] if settings.use_value else None,
            )

        mean, _ = cross_entropy_method(
            score,
            mean,
            jnp.ones_like(mean),
            search_key,
            num_iterations=settings.num_iterations,
            num_candidates=settings.num_candidates,
            num_elites=settings.num_elites,
            min_std=settings.min_std,
            temperature=settings.temperature,
            momentum=settings.momentum,
            proposals=proposals,
        )
        return mean

    def check(self, model: WorldModel, policy: Callable | None, critics: Mapping | None) -> None:
        """Raises a ValueError if the model does not predict the reward, or the settings use what is missing."""
        settings, name = self.settings, self.reward
        if name not in model.targets:
            rewards = [target for target in model.targets if target.endswith("reward")]
            raise ValueError(
                f"Planning needs a world model that predicts {name!r}; this one predicts {', '.join(model.targets)}. "
                + (
                    f"Plan for {' or '.join(rewards)} with --config.planner_reward={rewards[0]}."
                    if rewards
                    else "Use a run of `dreamer`, or train the model with world_model.predict_reward=True and "
                    "world_model.detach_reward=False."
                )
            )
        if settings.policy_share and policy is None:
            raise ValueError("Guided planning needs a policy; set policy_share to 0 to plan without.")
        if settings.use_value and name not in (critics or {}):
            raise ValueError(
                f"Guided planning needs a critic of {name!r}, which runs of `dreamer` and `online` "
                "leave; plan without: with use_value=False, or planner=cem."
            )


def cem(reward: str, **settings) -> Planner:
    """Returns PlaNet's planner for a reward head; `settings` are those of `PlanSettings`."""
    check_options(PlanSettings, settings, "The planner")
    return Planner(PlanSettings(**settings), reward)


def guided(reward: str, **settings) -> Planner:
    """Returns TD-MPC's planner: the policy proposes sequences, and the critic values what follows the horizon."""
    return cem(reward, **(GUIDED | settings))


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
# One of your own is called in the same way and returns what has `initial`, `step` and `check` as `Planner` has them.
PLANNERS = Registry("planner", {"cem": cem, "guided": guided})


def planning_actor(
    planner: Planner,
    model: WorldModel,
    policy: Callable | None,
    critics: Mapping[str, Callable] | None,
    num_envs: int,
    key: Array,
    *,
    num_seeds: int | None = None,
) -> ModelActor:
    """Returns an actor that plans: records {name: [N, ...]} -> actions [N, A].

    Args:
      planner: of `PLANNERS`.
      model, policy, critics, num_envs, key, num_seeds: as for `FilterActor`; `critics` is {reward: value network}.
        Policy and critics may be None where the planner does not use them.

    Raises:
      ValueError: something that the planner uses is missing; see `Planner.check`.
    """
    planner.check(model, policy, critics)
    return ModelActor(planner, (model, policy, critics), num_envs, key, num_seeds)
