"""Planning in a world model, also guided by a policy and a value: CEM (PlaNet), MPPI (TD-MPC, TD-MPC2) and iCEM.

At every step the actor filters its observation, searches for the sequence of actions with the highest score in the
model, and takes the first of them:

    score(a_0 .. a_{H-1}) = sum_t w_t * r_t,  t = 1 .. H            or, with a value function,
                            sum_t w_t * r_t,  t = 1 .. H - 1,  + w_H * V(s_H)

with rewards on arrival (V(s_H) contains r_H) and weights w_t as in `agents/imagination.py`, w_1 = 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from agents import values
from agents.actors import ActorState, ModelActor, filter_step, initial_actor_state
from agents.imagination import Reward, head_reward, termination
from agents.plan_search import Found, PlanSettings, search
from worldmodels.dynamics import ImagineOutput
from worldmodels.structures import Array, LatentState, SequenceBatch
from worldmodels.world_model import WorldModel


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
      actions: [K, H, R], what the dynamics read.
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


class Modules(NamedTuple):
    """Networks and data that planners plan with.

    Attributes:
      model: WorldModel.
      policy: features -> action distribution, or None.
      critics: {reward: value network}, or None.
      demonstrations: whole episodes, SequenceBatch [K, M] without actions, short ones padded with their last record; or
        None.
    """

    model: Any
    policy: Any = None
    critics: Any = None
    demonstrations: Any = None


class PlanState(struct.PyTreeNode):
    """Memory of a planning actor.

    Attributes:
      filtered: as any actor with a world model.
      plan: [N, H, R] means of the latest searches, over what the dynamics read: actions, or latent actions.
      kept: [N, E, H, R] the best sequences that they found.
      clock: [N] int32, steps since the first observation of the episode, which has 0; before it -1.
      goal: what the planner has made of the demonstrations.
    """

    filtered: ActorState
    plan: Array
    kept: Array
    clock: Array
    goal: Any


@dataclasses.dataclass(frozen=True)
class Planner:
    """Chooses actions by planning; pure functions over `Modules`.

    A subclass that seeks something else than a reward head defines `rewards`, and what it needs of the demonstrations
    `prepare`.

    Attributes:
      settings: how to search.
      reward: name of the reward head that is maximised, and of the critic.
      sample_state: draws latent states from the posterior instead of taking its mode.
      uses_demonstrations: it cannot plan without.
    """

    settings: PlanSettings = PlanSettings()
    reward: str = "reward"
    sample_state: bool = True
    uses_demonstrations: ClassVar[bool] = False

    def initial(self, modules: Modules, num_envs: int, key: Array) -> PlanState:
        """Returns the state before the first observation of `num_envs` episodes."""
        model = modules.model
        shape = (self.settings.horizon, model.read_size)
        return PlanState(
            filtered=initial_actor_state(model, num_envs, key),
            plan=jnp.zeros((num_envs, *shape)),
            kept=jnp.zeros((num_envs, self.settings.num_kept, *shape)),
            clock=jnp.full(num_envs, -1),
            goal=self.prepare(modules),
        )

    def prepare(self, modules: Modules) -> Any:
        """Returns what `rewards` needs of the demonstrations, computed once."""
        del modules

    def rewards(self, model: WorldModel, start: LatentState, clock: Array, goal: Any) -> Reward:
        """Returns what is maximised.

        Args:
          start: the state that is planned from, leaves [d].
          clock: [] steps since the episode began.
          goal: of `prepare`.
        """
        del model, start, clock, goal
        return head_reward(self.reward)

    def step(
        self,
        modules: Modules,
        state: PlanState,
        observation: Mapping[str, Array],
        is_first: Array,
        executed: Array | None = None,
    ) -> tuple[Array, PlanState]:
        """Returns actions [N, A] and the next state; arguments as for `agents.actors.act`."""
        latent, plan_key, key = filter_step(
            modules.model, state.filtered, observation, is_first, executed, sample_state=self.sample_state
        )

        def shifted(actions):
            moved = jnp.concatenate([actions[..., 1:, :], jnp.zeros_like(actions[..., :1, :])], axis=-2)
            return moved * (1.0 - is_first).reshape(-1, *[1] * (actions.ndim - 1))

        plan = shifted(state.plan) if self.settings.warm_start else jnp.zeros_like(state.plan)
        clock = jnp.where(is_first > 0, 0, state.clock + 1)
        keys = jax.random.split(plan_key, is_first.shape[0])
        # One environment after the other: the candidates of one fill the machine and its memory.
        found = jax.lax.map(
            lambda xs: self.plan(modules, xs[0], xs[1], xs[2], kept=xs[3], clock=xs[4], goal=state.goal),
            (latent, plan, keys, shifted(state.kept), clock),
        )
        action = modules.model.action(latent.features, found.actions[:, 0])
        filtered = ActorState(latent=latent, prev_action=action, key=key)
        return action, PlanState(filtered, found.mean, found.kept, clock, state.goal)

    def plan(
        self,
        modules: Modules,
        start: LatentState,
        mean: Array,
        key: Array,
        kept: Array | None = None,
        clock: Array | int = 0,
        goal: Any = None,
    ) -> Found:
        """Searches for the best actions from one state; arguments as for `search` and `rewards`."""
        settings = self.settings
        propose_key, search_key = jax.random.split(key)
        num_proposals = int(settings.policy_share * settings.num_candidates)
        proposals = None
        if num_proposals:
            starts = repeat(start, num_proposals)
            imagined = modules.model.dynamics.imagine(starts, modules.policy, settings.horizon, propose_key)
            proposals = imagined.actions
        options: dict[str, Any] = dict(
            reward=self.rewards(modules.model, start, jnp.asarray(clock), goal),
            discount=settings.discount,
            value=modules.critics[self.reward] if settings.use_value else None,
        )

        def score(actions, key):
            return score_actions(modules.model, start, actions, key, **options)

        return search(score, mean, search_key, settings, proposals=proposals, kept=kept)

    def check(self, modules: Modules) -> None:
        """Raises a ValueError if the settings use what is missing; see also `check_goal`."""
        self.check_goal(modules)
        settings, name = self.settings, self.reward
        if settings.policy_share and modules.policy is None:
            raise ValueError("Guided planning needs a policy; set policy_share to 0 to plan without.")
        if settings.use_value and name not in (modules.critics or {}):
            raise ValueError(
                f"Guided planning needs a critic of {name!r}, which runs of `dreamer` and `online` "
                "leave; plan without: with use_value=False, or planner=cem."
            )

    def check_goal(self, modules: Modules) -> None:
        """Raises a ValueError if the model does not predict the reward."""
        targets, name = modules.model.targets, self.reward
        if name not in targets:
            rewards = [target for target in targets if target.endswith("reward")]
            raise ValueError(
                f"Planning needs a world model that predicts {name!r}; this one predicts {', '.join(targets)}. "
                + (
                    f"Plan for {' or '.join(rewards)} with --config.planner_reward={rewards[0]}."
                    if rewards
                    else "Use a run of `dreamer`, or train the model with world_model.predict_reward=True and "
                    "world_model.detach_reward=False."
                )
            )


def planning_actor(
    planner: Planner,
    model: WorldModel,
    policy: Callable | None,
    critics: Mapping[str, Callable] | None,
    num_envs: int,
    key: Array,
    *,
    demonstrations: SequenceBatch | None = None,
    num_seeds: int | None = None,
) -> ModelActor:
    """Returns an actor that plans: records {name: [N, ...]} -> actions [N, A].

    Args:
      planner: of `agents.planners.PLANNERS`.
      model, policy, critics, num_envs, key, num_seeds: as for `FilterActor`; `critics` is {reward: value network}.
        Policy and critics may be None where the planner does not use them.
      demonstrations: as in `Modules`, the same for all seeds.

    Raises:
      ValueError: something that the planner uses is missing; see `Planner.check`.
    """
    if demonstrations is not None and num_seeds is not None:
        members = jax.tree.leaves(model)[0].shape[0]
        demonstrations = jax.tree.map(lambda x: jnp.broadcast_to(x, (members, *jnp.shape(x))), demonstrations)
    modules = Modules(model, policy, critics, demonstrations)
    planner.check(modules)
    return ModelActor(planner, modules, num_envs, key, num_seeds)
