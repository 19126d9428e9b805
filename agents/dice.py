"""Offline imitation by stationary distributions: SMODICE (arXiv 2202.02433) and LobsDICE (arXiv 2202.13536).

No model and no interaction: of the embodiment data D, those steps are cloned that lead where the demonstrations E go.
With the policy's stack of frames as state s, a reward r is the logit of a discriminator between E and D, and a value
says which steps have to be taken for it. With e = r + gamma (1 - terminal) V(s') - V(s) and s_0 a first state of D,

    discriminator   -E_E log d - E_D log(1 - d) + penalty_scale * E( |grad logit| - 1 )^2
    value   kl      (1 - gamma) E V(s_0) + (1 + alpha) log E_D exp( e / (1 + alpha) ) + value_penalty * E_D |grad V|^2
            chi2    (1 - gamma) E V(s_0) + E_D( e^2 / 2 + e )
    weight  kl      exp( e / (1 + alpha) ) / its mean,          chi2   [e + 1]+ / its mean
    policy          E_D weight * |pi(s) - a|^2

SMODICE sees states, LobsDICE transitions (s, s'), which tell apart what passes through the same states in another way.
All three learn at once, one step each per update. A policy cannot leave D: where D holds nothing like the
demonstrations, the weights tell its steps apart by little, and what comes out is behaviour cloning of D.

Faults of the public code that are not repeated: SMODICE's optimizer has only the second half of its discriminator, so
that the first layer stays as it was drawn; its weights are not normalised, so that the scale of the reward decides the
step of the policy; LobsDICE's policy clones the demonstrations' actions too, which are in its union of data.
Deviations: the policy is deterministic, a Gaussian of fixed std, as all baselines here (published: tanh-Gaussian with a
bound on its entropy); SMODICE's discriminator learns with the others, not 1,000 passes before them; there are no
absorbing states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from agents.bc import last_action
from agents.discriminator import Discriminator, discriminator_loss
from agents.frame_stack import FrameStack, FrameStackNet, policy_frames
from worldmodels.nets import MLP
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics, TrainState, apply_gradient, gradient_of_parts, gradient_step


@dataclasses.dataclass(frozen=True)
class DiceSettings:
    """Settings of both; the defaults are SMODICE's.

    Attributes:
      transitions: whether the discriminator sees s and s', as LobsDICE's; or s alone.
      divergence: "kl" or "chi2".
      alpha: weight of the divergence from the data, LobsDICE: 0.1.
      discount: gamma.
      penalty_scale: of the discriminator's gradient penalty. value_penalty: of the value's gradient.
      weight_decay: of the value, an L2 term in its gradient.
      hidden_size, hidden_layers: of discriminator (tanh) and value (ReLU).
    """

    transitions: bool = False
    divergence: str = "kl"
    alpha: float = 0.0
    discount: float = 0.99
    penalty_scale: float = 10.0
    value_penalty: float = 0.0
    weight_decay: float = 1e-4
    hidden_size: int = 256
    hidden_layers: int = 2

    def __post_init__(self):
        if self.divergence not in ("kl", "chi2"):
            raise ValueError(f"Unknown divergence {self.divergence!r}. Known: kl, chi2.")


class DiceBatch(struct.PyTreeNode):
    """Steps of the embodiment data, and states to compare them with.

    Attributes:
      state, next_state: [B, S]. terminal: [B].
      first: [B, S] first states of episodes.
      own, demonstrated: [B, S] or [B, 2 S], what the discriminator sees.
    """

    state: Array
    next_state: Array
    terminal: Array
    first: Array
    own: Array
    demonstrated: Array


class DiceState(struct.PyTreeNode):
    """Everything that changes while one of them learns.

    Attributes:
      discriminator, value, policy: TrainStates.
      key: scalar PRNG key of the batches, never changed. step: [] int32 updates made.
    """

    discriminator: TrainState
    value: TrainState
    policy: TrainState
    key: Array
    step: Array


def states_of(view: FrameStack, batch: SequenceBatch) -> tuple[Array, Array]:
    """Windows [B, F + 1, ...] -> the state before the last action and the one after it, [B, S] each."""
    before = view.merged(policy_frames(batch.observation, view.num_frames))
    return before, view.merged({name: value[:, 1:] for name, value in batch.observation.items()})


def dice_batch(
    view: FrameStack, body: SequenceBatch, shown: SequenceBatch, first: SequenceBatch, *, transitions: bool
) -> DiceBatch:
    """Reads windows [B, F + 1, ...] of embodiment data and demonstrations, and first ones, through `view`.

    First states are those of the data, not ones with their frame repeated, as actors begin: no step of the data leaves
    these, so that nothing would hold their value, which the loss lowers.
    """
    state, next_state = states_of(view, body)
    seen = [
        jnp.concatenate(pair, axis=-1) if transitions else pair[0]
        for pair in ((state, next_state), states_of(view, shown))
    ]
    return DiceBatch(
        state,
        next_state,
        body.is_terminal[:, -1],
        states_of(view, first)[0],
        own=seen[0],
        demonstrated=seen[1],
    )


def residual(value: Callable, batch: DiceBatch, reward: Array, discount: float) -> Array:
    """[B] e = r + gamma (1 - terminal) V(s') - V(s)."""
    following = value(batch.next_state)[..., 0]
    return reward + discount * (1.0 - batch.terminal) * following - value(batch.state)[..., 0]


def value_losses(batch: DiceBatch, reward: Array, settings: DiceSettings) -> dict[str, Callable]:
    """{part of the value's loss: function of the value network}; see the module."""
    temperature = 1.0 + settings.alpha

    def initial(value):
        return (1.0 - settings.discount) * value(batch.first).mean()

    def divergence(value):
        error = residual(value, batch, reward, settings.discount)
        if settings.divergence == "chi2":
            return (0.5 * error**2 + error).mean()
        mean = jax.nn.logsumexp(error / temperature) - jnp.log(error.shape[0])
        return temperature * mean

    def penalty(value):
        gradient = jax.vmap(jax.grad(lambda state: value(state)[0]))(batch.state)
        return settings.value_penalty * (gradient**2).sum(axis=-1).mean()

    parts = {"initial": initial, "divergence": divergence}
    return parts | ({"penalty": penalty} if settings.value_penalty else {})


def step_weights(error: Array, settings: DiceSettings) -> Array:
    """[B] e -> weights of the steps, with mean 1."""
    if settings.divergence == "kl":
        return jax.nn.softmax(error / (1.0 + settings.alpha)) * error.shape[0]
    weight = jax.nn.relu(error + 1.0)
    return weight / (weight.mean() + 1e-8)


def weighted_bc_loss(
    policy: FrameStackNet, batch: SequenceBatch, weight: Array, key: Array | None = None
) -> tuple[Array, Metrics]:
    """Squared error of the policy's action to the true one, mean over dimensions, weighted by [B], mean over B."""
    target = last_action(batch, "Imitation by stationary distributions")
    error = (policy(policy_frames(batch.observation, policy.num_frames)) - target) ** 2
    loss = (jax.lax.stop_gradient(weight) * error.mean(axis=-1)).mean()
    # Steps that count: the effective sample size, as a share of the batch.
    share = weight.sum() ** 2 / ((weight**2).sum() * weight.shape[0] + 1e-8)
    return loss, {"loss": loss, "error": error.mean(), "effective_share": share}


@dataclasses.dataclass(frozen=True)
class DiceOptimizers:
    """An optimizer of each network."""

    discriminator: optax.GradientTransformation
    value: optax.GradientTransformation
    policy: optax.GradientTransformation

    @classmethod
    def create(cls, learning_rate: float, settings: DiceSettings) -> DiceOptimizers:
        """Adam; the value's with L2 decay."""
        adam = optax.adam(learning_rate)
        return cls(adam, optax.chain(optax.add_decayed_weights(settings.weight_decay), adam), adam)


def create_dice(
    policy: FrameStackNet, state_size: int, settings: DiceSettings, optimizers: DiceOptimizers, key: Array
) -> DiceState:
    """Returns the state before the first update; `key` is consumed, `state_size` is S."""
    keys = jax.random.split(key, 6)
    sizes: dict[str, Any] = dict(hidden_size=settings.hidden_size, hidden_layers=settings.hidden_layers)
    seen = state_size * (2 if settings.transitions else 1)
    discriminator = Discriminator(seen, activation="tanh", **sizes, rngs=nnx.Rngs(keys[0]))
    value = MLP(state_size, 1, activation="relu", **sizes, rngs=nnx.Rngs(keys[1]))
    return DiceState(
        discriminator=TrainState.create(discriminator, optimizers.discriminator, keys[2]),
        value=TrainState.create(value, optimizers.value, keys[3]),
        policy=TrainState.create(policy, optimizers.policy, keys[4]),
        key=keys[5],
        step=jnp.zeros((), jnp.int32),
    )


def make_dice_update(view: FrameStack, settings: DiceSettings, optimizers: DiceOptimizers) -> Callable:
    """Returns `update(state, body, shown, first) -> (state, metrics)`, each network once, in the module's order.

    Args:
      view: what makes states of frames; it does not learn.
    """

    def update(state: DiceState, body: SequenceBatch, shown: SequenceBatch, first: SequenceBatch):
        batch = dice_batch(view, body, shown, first, transitions=settings.transitions)
        groups = {}
        discriminator, groups["discriminator"], _ = gradient_step(
            lambda model, key: discriminator_loss(
                model, batch.demonstrated, batch.own, key, penalty_scale=settings.penalty_scale
            ),
            optimizers.discriminator,
            state.discriminator,
        )
        reward = jax.lax.stop_gradient(discriminator.model(batch.own))
        grads, groups["value"] = gradient_of_parts(value_losses(batch, reward, settings), state.value.model)
        value = apply_gradient(optimizers.value, state.value, grads)
        error = jax.lax.stop_gradient(residual(value.model, batch, reward, settings.discount))
        weight = step_weights(error, settings)
        policy, groups["policy"], _ = gradient_step(
            weighted_bc_loss, optimizers.policy, state.policy, body, weight
        )
        groups["value"] |= {"reward": reward.mean(), "residual": error.mean()}
        metrics = {f"{group}/{name}": x for group, found in groups.items() for name, x in found.items()}
        networks = dict(discriminator=discriminator, value=value, policy=policy)
        return state.replace(**networks, step=state.step + 1), metrics

    return update
