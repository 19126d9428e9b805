"""Forward-backward representations (Touati and Ollivier 2021), and a policy from one demonstration without actions.

Data without rewards, which cover what the body can do, teach for every direction z of a d-dimensional space, |z| =
sqrt(d), a policy pi(s, z) and how much it visits states: the discounted measure of s' after (s, a) is
F(s, a, z)^T B(s') times their density in the data. A batch has N steps i; s'_i follows s_i; one half of z are Gaussian
directions, the other B of states of the batch. Of two F_k the least counts, F' and B' are slow copies:

    m_ij   = gamma (1 - terminal_i) min_k F'_k(s'_i, pi(s'_i, z_i), z_i)^T B'(s'_j)
    L_FB   = sum_k [ 1/2 mean_{i != j} ( F_k(s_i, a_i, z_i)^T B(s'_j) - m_ij )^2 - mean_i F_k(s_i, a_i, z_i)^T B(s'_i) ]
    L_orth = mean_{i != j} ( B(s'_i)^T B(s'_j) )^2 - 2 mean_i |B(s'_i)|^2
    L_pi   = - mean min_k F_k(s, pi(s, z), z)^T z

Imitation needs no training (FB-IL, Pirotta et al. 2024; the second half of RLZero, arXiv 2412.05718, whose first makes
the video): z is the mean of B over a demonstration's records, scaled to sqrt(d), and the agent acts pi(s, z).

B is scaled to |B| = sqrt(d), so that it cannot vanish. Smaller than published: plain MLPs of (s, a, z), no embeddings
of (s, a) and (s, z) before them; batches of 256 and d = 32 with the preset `fb-small`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from agents.bc import last_action
from agents.dice import states_of
from agents.frame_stack import FrameStack
from worldmodels.nets import MLP
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics, TrainState, apply_gradient, gradient_of_parts, gradient_step


@dataclasses.dataclass(frozen=True)
class ForwardBackwardSettings:
    """Settings of learning; the defaults are the published ones, but for the discount and LayerNorm.

    Attributes:
      dimension: d.
      discount: gamma.
      orthonormality: weight of L_orth.
      target_rate: share of the networks that goes into their slow copies at every update.
      action_std, action_clip: of the noise on the policy's actions while it learns.
      hidden_size, hidden_layers: of F and B; ReLU, with LayerNorm.
    """

    dimension: int = 50
    discount: float = 0.98
    orthonormality: float = 1.0
    target_rate: float = 0.01
    action_std: float = 0.2
    action_clip: float = 0.3
    hidden_size: int = 1024
    hidden_layers: int = 2


def on_sphere(z: Array) -> Array:
    """[..., d] scaled to the norm sqrt(d)."""
    return z * jnp.sqrt(z.shape[-1]) / (jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-8)


class Representation(nnx.Module):
    """F_1, F_2: (s [..., S], a [..., A], z [..., d]) -> [..., d], and B: s' [..., S] -> [..., d] of norm sqrt(d)."""

    def __init__(
        self,
        state_size: int,
        action_size: int,
        dimension: int,
        *,
        hidden_size: int,
        hidden_layers: int,
        rngs: nnx.Rngs,
    ):
        sizes: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, norm="ln")
        in_size = state_size + action_size + dimension
        self.first = MLP(in_size, dimension, activation="relu", **sizes, rngs=rngs)
        self.second = MLP(in_size, dimension, activation="relu", **sizes, rngs=rngs)
        self.net = MLP(state_size, dimension, activation="relu", **sizes, rngs=rngs)

    def forward(self, state: Array, action: Array, z: Array) -> tuple[Array, Array]:
        """Returns F_1 and F_2."""
        inputs = jnp.concatenate([state, action, z], axis=-1)
        return self.first(inputs), self.second(inputs)

    def backward(self, state: Array) -> Array:
        """Returns B."""
        return on_sphere(self.net(state))


class PromptedPolicy(FrameStack):
    """Observations of F successive records and a direction z -> action in [-1, 1]; it remembers one, its `prompt`.

    Args:
      dimension: d.
      hidden_size, hidden_layers: of the MLP; ReLU. Others as of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        action_size: int,
        *,
        dimension: int,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
        **frames,
    ):
        super().__init__(sizes, rngs=rngs, **frames)
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        in_size = self.merger.out_size + dimension
        self.head = MLP(in_size, action_size, activation="relu", output_activation="tanh", **options)
        self.prompt = nnx.Variable(jnp.zeros(dimension))

    def act(self, observation: Mapping[str, Array], z: Array) -> Array:
        """{sensor: [..., F, d]}, oldest first, and z [..., d] -> [..., A]."""
        return self.head(jnp.concatenate([self.merged(observation), z], axis=-1))

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """Acts along the prompt, {sensor: [..., F, d]} -> [..., A]."""
        merged, prompt = self.merged(observation), jax.lax.stop_gradient(self.prompt[...])
        prompt = jnp.broadcast_to(prompt, (*merged.shape[:-1], prompt.shape[-1]))
        return self.head(jnp.concatenate([merged, prompt], axis=-1))

    def prompted(self, z: Array) -> PromptedPolicy:
        """Returns the same policy with the prompt z [d]."""
        policy = jax.tree.map(lambda x: x, self)
        policy.prompt[...] = z
        return policy


def representation_losses(
    state: Array,
    action: Array,
    next_state: Array,
    z: Array,
    target_measure: Array,
    settings: ForwardBackwardSettings,
) -> dict[str, Callable]:
    """{part of the loss of F and B: function of the `Representation`}; see the module.

    Args:
      state, next_state: [N, S]. action: [N, A]. z: [N, d].
      target_measure: [N, N] what F_k(s_i, a_i, z_i)^T B(s'_j) should be besides the step itself, stopped.
    """
    apart = 1.0 - jnp.eye(state.shape[0])
    share = apart / apart.sum()

    def measures(model):
        backward = model.backward(next_state)
        return [forward @ backward.T for forward in model.forward(state, action, z)]

    def successor(model):
        errors = [(measure - target_measure) ** 2 for measure in measures(model)]
        return jnp.asarray(sum(0.5 * (share * error).sum() for error in errors))

    def visit(model):
        return jnp.asarray(-sum(jnp.diagonal(measure).mean() for measure in measures(model)))

    def orthonormal(model):
        gram = model.backward(next_state) @ model.backward(next_state).T
        return settings.orthonormality * ((share * gram**2).sum() - 2.0 * jnp.diagonal(gram).mean())

    return {"successor": successor, "visit": visit, "orthonormal": orthonormal}


def noisy_action(action: Array, key: Array, settings: ForwardBackwardSettings) -> Array:
    """Adds clipped noise; within [-1, 1]."""
    noise = settings.action_std * jax.random.normal(key, action.shape)
    return jnp.clip(action + jnp.clip(noise, -settings.action_clip, settings.action_clip), -1.0, 1.0)


def policy_loss(
    policy: PromptedPolicy,
    model: Representation,
    observation: Mapping[str, Array],
    state: Array,
    z: Array,
    key: Array,
    *,
    settings: ForwardBackwardSettings,
) -> tuple[Array, Metrics]:
    """- mean min_k F_k(s, pi(s, z), z)^T z, of frames [N, F, ...], states [N, S] and directions [N, d]."""
    action = noisy_action(policy.act(observation, z), key, settings)
    values = [(forward * z).sum(axis=-1) for forward in model.forward(state, action, z)]
    loss = -jnp.minimum(*values).mean()
    return loss, {"loss": loss}


def directions(backward: Array, key: Array) -> Array:
    """[N, d] one half Gaussian directions, the other `backward` [N, d] of states in another order."""
    choice_key, noise_key, order_key = jax.random.split(key, 3)
    drawn = on_sphere(jax.random.normal(noise_key, backward.shape))
    seen = backward[jax.random.permutation(order_key, backward.shape[0])]
    mixed = jax.random.bernoulli(choice_key, 0.5, (backward.shape[0], 1))
    return jnp.where(mixed, seen, drawn)


class ForwardBackwardState(struct.PyTreeNode):
    """Everything that changes.

    Attributes:
      model, policy: TrainStates of `Representation` and `PromptedPolicy`. target: slow copy of the first.
      key: scalar PRNG key of the batches, never changed. step: [] int32 updates made.
    """

    model: TrainState
    target: Representation
    policy: TrainState
    key: Array
    step: Array


def create_forward_backward(
    policy: PromptedPolicy,
    state_size: int,
    action_size: int,
    settings: ForwardBackwardSettings,
    optimizer: optax.GradientTransformation,
    key: Array,
) -> ForwardBackwardState:
    """Returns the state before the first update; `key` is consumed, `state_size` is S."""
    keys = jax.random.split(key, 4)
    sizes: dict[str, Any] = dict(hidden_size=settings.hidden_size, hidden_layers=settings.hidden_layers)
    model = Representation(state_size, action_size, settings.dimension, **sizes, rngs=nnx.Rngs(keys[0]))
    return ForwardBackwardState(
        model=TrainState.create(model, optimizer, keys[1]),
        target=jax.tree.map(jnp.copy, model),
        policy=TrainState.create(policy, optimizer, keys[2]),
        key=keys[3],
        step=jnp.zeros((), jnp.int32),
    )


def make_forward_backward_update(
    view: FrameStack, settings: ForwardBackwardSettings, optimizer: optax.GradientTransformation
) -> Callable:
    """Returns `update(state, body) -> (state, metrics)`: F and B, then the policy, then the slow copies.

    Args:
      view: what makes states of frames; it does not learn.
    """

    def update(state: ForwardBackwardState, body: SequenceBatch):
        before, after = states_of(view, body)
        action = last_action(body, "A forward-backward representation")
        frames, next_frames = (
            {name: value[:, first : first + view.num_frames] for name, value in body.observation.items()}
            for first in (0, 1)
        )
        z_key, noise_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        model, target, policy = state.model.model, state.target, state.policy.model
        z = jax.lax.stop_gradient(directions(model.backward(after), z_key))
        next_action = noisy_action(policy.act(next_frames, z), noise_key, settings)
        backward = target.backward(after)
        measure = jnp.minimum(*(f @ backward.T for f in target.forward(after, next_action, z)))
        kept = settings.discount * (1.0 - body.is_terminal[:, -1:])
        goal = jax.lax.stop_gradient(kept * measure)
        parts = representation_losses(before, action, after, z, goal, settings)
        grads, learnt = gradient_of_parts(parts, model)
        trained = apply_gradient(optimizer, state.model, grads)
        acting, acted, _ = gradient_step(
            lambda policy, key: policy_loss(policy, trained.model, frames, before, z, key, settings=settings),
            optimizer,
            state.policy,
        )
        groups = {"model": learnt, "policy": acted}
        metrics = {f"{group}/{name}": x for group, found in groups.items() for name, x in found.items()}
        target = optax.incremental_update(trained.model, target, settings.target_rate)
        return state.replace(model=trained, target=target, policy=acting, step=state.step + 1), metrics

    return update


def prompt_of(model: Representation, view: FrameStack, shown: SequenceBatch) -> Array:
    """Windows [N, F + 1, ...] of demonstrations -> [d], the mean of B over the states they lead to, scaled."""
    _, after = states_of(view, shown)
    return on_sphere(model.backward(after).mean(axis=0))
