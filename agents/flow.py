"""Flow-matching policies: chunks of actions that noise flows to, executed while they are still flowing.

    x_s = (1 - s) e + s a,  e ~ N(0, 1)        from noise (s = 0) to H actions (s = 1)
    dx / ds = a - e = (a - x_s) / (1 - s)      the velocity along this line

The network says the clean actions, g(x_s, s, features) = E[a | x_s, features], and with them the velocity
(g - x_s) / (1 - s): flow matching on straight lines (Lipman et al. 2023, arXiv 2210.02747, with sigma_min = 0). Where a
regression comes to the mean of all actions, a flow comes to one of them.

Streaming Diffusion Policy (Høeg et al. 2024, arXiv 2406.04806): a buffer has the next H actions, the later the noisier.
At every step all of them take the same few Euler steps on what is seen now, the first becomes clean and is done, and
noise follows at the end. An action so flows through H observations. Here there are N = H n levels of noise, s = k / N;
action i of the buffer is at level (H - 1 - i) n, and n Euler steps lead to that of the action before it.

Deviations: flow matching instead of DDPM with 100 levels; every action of the buffer has a level of its own, where
there eight share one and are done before the next is noised; the error is that of clean actions, which weighs that of
the velocity by (1 - s)^2 and has no pole at s = 1; an episode begins with a whole chunk from noise, not from zeros; an
MLP, without a moving average of its weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct

from agents.actors import ActorState, filter_step, initial_actor_state
from agents.bc import known_actions, next_actions
from agents.bco import inferred_actions
from agents.frame_stack import FrameStack, FrameStackNet, policy_frames
from agents.frame_stack_actor import FrameStackActor, push
from agents.mbbc import following_actions
from worldmodels.nets import MLP, as_rows
from worldmodels.sequences import masked_mean
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel

WHOLE_SHARE = 0.2  # of the windows are those whose actions are all at one level (Streaming Diffusion Policy)


class FlowHead(nnx.Module):
    """Features -> H actions, by a flow from noise.

    Args:
      in_size: E.
      action_size: A.
      chunk: H.
      euler_steps: of an action on its way, at least; rounded up to a multiple of H.
      hidden_size, hidden_layers: of the MLP; ELU.
      rngs: initialisation.

    Raises:
      ValueError: no steps.
    """

    def __init__(
        self,
        in_size: int,
        action_size: int,
        *,
        chunk: int,
        euler_steps: int = 8,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
    ):
        if euler_steps < 1:
            raise ValueError(
                f"A flow of {euler_steps} steps comes to no action; give euler_steps of at least 1."
            )
        self.chunk, self.action_size = chunk, action_size
        self.steps_per_action = -(-euler_steps // chunk)
        self.num_levels = chunk * self.steps_per_action
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        size = chunk * action_size
        self.net = MLP(in_size + size + chunk, size, output_activation="tanh", **options)

    @property
    def buffer_levels(self) -> Array:
        """[1, H] int32 levels of the actions in the buffer, the first the cleanest."""
        return jnp.arange(self.chunk - 1, -1, -1)[None] * self.steps_per_action

    def clean(self, features: Array, noisy: Array, level: Array) -> Array:
        """Says the actions [N, H, A] in [-1, 1] of features [N, E], from noisy ones at levels [N, H]."""
        rows = (features, noisy.reshape(len(noisy), -1), level / self.num_levels)
        return self.net(jnp.concatenate(rows, axis=-1)).reshape(noisy.shape)

    def flow(self, features: Array, noisy: Array, level: Array, num_steps: int | Array) -> Array:
        """Takes Euler steps of 1 / N from levels [1, H]; returns [N, H, A]."""

        def step(number, x):
            at = jnp.broadcast_to(level + number, x.shape[:2])
            return x + (self.clean(features, x, at) - x) / (self.num_levels - at)[..., None]

        return jax.lax.fori_loop(0, num_steps, step, noisy)

    def __call__(self, features: Array) -> Array:
        """[N, E] -> [N, H * A], where the flow comes to from the middle of the noise."""
        noisy = jnp.zeros((len(features), self.chunk, self.action_size))
        chunk = self.flow(features, noisy, 0 * self.buffer_levels, self.num_levels)
        return chunk.reshape(len(features), -1)


class FlowNet(FrameStack):
    """Observations of F successive records -> H actions, by a flow.

    Args:
      sizes: as of `FrameStack`.
      action_size, chunk, euler_steps, hidden_size, hidden_layers: of the `FlowHead`.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        action_size: int,
        *,
        chunk: int,
        euler_steps: int,
        hidden_size: int,
        hidden_layers: int,
        rngs: nnx.Rngs,
        **frames,
    ):
        super().__init__(sizes, rngs=rngs, **frames)
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        options |= dict(chunk=chunk, euler_steps=euler_steps)
        self.head = FlowHead(self.merger.out_size, action_size, **options)

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [B, F, d] or [B, F, y, x, 3]}, oldest first -> [B, H * A], as of `FlowHead`."""
        return self.head(self.merged(observation))


# Learning ------------------------------------------------------------------------------------------------------------


def mixed(noise: Array, action: Array, share: Array) -> Array:
    """Returns the point on the way from noise to actions, both [N, H, A], at shares [N, H] of it."""
    return noise + share[..., None] * (action - noise)


def draw_levels(head: FlowHead, number: int, key: Array) -> Array:
    """[number, H] int32: those of the buffer on its way to the next action, or one level for all actions."""
    streams_key, buffer_key, whole_key = jax.random.split(key, 3)
    is_whole = jax.random.uniform(streams_key, (number, 1)) < WHOLE_SHARE
    offset = jax.random.randint(buffer_key, (number, 1), 0, head.steps_per_action)
    whole = jax.random.randint(whole_key, (number, 1), 0, head.num_levels)
    return jnp.where(is_whole, whole, head.buffer_levels + offset)


def flow_loss(
    head: FlowHead, features: Array, target: Array, known: Array, key: Array
) -> tuple[Array, Metrics]:
    """Mean squared error of the clean actions that the network says of noisy ones.

    Args:
      features: [N, E].
      target: [N, H * A] in [-1, 1].
      known: [N, H * A], 0 for actions that do not count, else 1.
      key: of levels and noise.
    """
    level_key, noise_key = jax.random.split(key)
    action = target.reshape(len(target), head.chunk, head.action_size)
    level = draw_levels(head, len(target), level_key)
    noise = jax.random.normal(noise_key, action.shape)
    found = head.clean(features, mixed(noise, action, level / head.num_levels), level)
    loss = masked_mean((found - action) ** 2, known.reshape(action.shape))
    return loss, {"loss": loss}


def bc_flow_loss(policy: FlowNet, batch: SequenceBatch, key: Array) -> tuple[Array, Metrics]:
    """Returns `flow_loss` of the true actions; windows as of `agents.bc.bc_loss`."""
    features = policy.merged(policy_frames(batch.observation, policy.num_frames))
    target = next_actions(batch, policy.num_frames)
    return flow_loss(policy.head, features, target, known_actions(batch, policy.num_frames, target), key)


def bco_flow_loss(
    policy: FlowNet, batch: SequenceBatch, idm: FrameStackNet, key: Array
) -> tuple[Array, Metrics]:
    """Returns `flow_loss` of the actions that the frozen IDM infers; windows as of `agents.bco.bco_loss`."""
    features = policy.merged(policy_frames(batch.observation, policy.num_frames))
    target = inferred_actions(idm, batch, policy.num_frames)
    return flow_loss(policy.head, features, target, known_actions(batch, policy.num_frames, target), key)


def mbbc_flow_loss(
    head: FlowHead, batch: SequenceBatch, model: WorldModel, key: Array
) -> tuple[Array, Metrics]:
    """Returns `flow_loss` of the true actions over the state of the frozen model; as `agents.mbbc.mbbc_loss`."""
    model_key, flow_key = jax.random.split(key)
    features, target, known = map(as_rows, following_actions(batch, model, model_key, head.chunk))
    return flow_loss(head, features, target, known, flow_key)


def mbbc_flow_error(
    head: FlowHead, batch: SequenceBatch, model: WorldModel, key: Array
) -> tuple[Array, Metrics]:
    """Mean squared error to the true actions of those that come from no noise."""
    features, target, known = map(as_rows, following_actions(batch, model, key, head.chunk))
    error = masked_mean((head(features) - target) ** 2, known)
    return error, {"loss": error}


# Acting --------------------------------------------------------------------------------------------------------------


class Stream(struct.PyTreeNode):
    """Actions that are still flowing.

    Attributes:
      buffer: [N, H, A] the next actions.
      key: PRNG key of the next step.
    """

    buffer: Array
    key: Array


def initial_stream(head: FlowHead, num_envs: int, key: Array) -> Stream:
    """Before the first observation of `num_envs` episodes."""
    return Stream(jnp.zeros((num_envs, head.chunk, head.action_size)), key)


def stream(head: FlowHead, features: Array, state: Stream, is_first: Array) -> tuple[Array, Stream]:
    """One step: features [N, E] -> actions [N, A] in [-1, 1]; a chunk from noise where `is_first` [N]."""
    noise_key, key = jax.random.split(state.key)
    num_envs, chunk, action_size = state.buffer.shape
    noise = jax.random.normal(noise_key, (num_envs, chunk + 1, action_size))
    newest, level = noise[:, :-1], head.buffer_levels
    # Nothing is computed for it where no episode begins.
    whole = head.flow(features, newest, 0 * level, head.num_levels * is_first.any())
    begun = mixed(newest, whole, jnp.broadcast_to(level / head.num_levels, newest.shape[:2]))
    buffer = jnp.where(is_first[:, None, None], begun, state.buffer)
    buffer = head.flow(features, buffer, level, head.steps_per_action)
    return buffer[:, 0], Stream(jnp.concatenate([buffer[:, 1:], noise[:, -1:]], axis=1), key)


class FlowActor(FrameStackActor):
    """Streams the actions of a policy of frames.

    Args:
      policy, num_seeds: see `FrameStackActor`.
      key: PRNG key, consumed; all seeds draw the same noise, as each would alone.
    """

    def __init__(self, policy: FlowNet, key: Array, *, num_seeds: int | None = None):
        super().__init__(policy, num_seeds=num_seeds)
        self._drawing = (key,)

    @staticmethod
    def _begin(policy, observation, *drawing):
        frames = FrameStackActor._begin(policy, observation)
        return frames, initial_stream(policy.head, len(next(iter(frames.values()))), *drawing)

    @staticmethod
    def _step(policy, memory, observation, is_first):
        frames = push(memory[0], observation, is_first)
        action, flowing = stream(policy.head, policy.merged(frames), memory[1], is_first)
        return action, (frames, flowing)


@dataclasses.dataclass(frozen=True)
class FlowFilter:
    """Filters with a world model and streams actions over its state: the `acting` of an `agents.actors.ModelActor`."""

    def initial(self, modules: tuple, num_envs: int, key: Array) -> tuple[ActorState, Stream]:
        """Returns the memory before the first observation."""
        model, head = modules
        state_key, stream_key = jax.random.split(key)
        return initial_actor_state(model, num_envs, state_key), initial_stream(head, num_envs, stream_key)

    def step(
        self, modules: tuple, state: tuple[ActorState, Stream], observation, is_first, executed
    ) -> tuple[Array, tuple[ActorState, Stream]]:
        """Takes in an observation; returns actions [N, A] and the memory."""
        model, head = modules
        memory, flowing = state
        latent, _, key = filter_step(model, memory, observation, is_first, executed)
        action, flowing = stream(head, latent.features, flowing, is_first > 0)
        return action, (ActorState(latent=latent, prev_action=action, key=key), flowing)
