"""Surrogate rewards that learn with the policy: by a discriminator of embeddings, or by a diffusion model of steps.

They are updated before every model update and then reward the whole batch, pretraining data included; they read stopped
embeddings, so that they do not shape the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.diffusion_discriminator import Denoiser, diffusion_losses, diffusion_reward
from agents.discriminator import Discriminator, adversarial_reward, discriminator_loss
from aime.surrogate_reward import RewardInputs, SurrogateReward
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import (
    Metrics,
    TrainState,
    apply_gradient,
    gradient_of_parts,
    make_optimizer,
    make_update,
)

Relabelled = tuple[TrainState, SequenceBatch, Metrics]


class Adversarial(SurrogateReward):
    """Logit of a discriminator between embeddings of demonstrations and of the model's batches.

    Args:
      hidden_size, hidden_layers: of the discriminator.
      learning_rate, grad_clip: of its Adam.
      penalty_scale: weight of the gradient penalty.
    """

    head = "ail_reward"
    stored = False

    def __init__(
        self,
        inputs: RewardInputs,
        *,
        hidden_size: int = 1024,
        hidden_layers: int = 3,
        learning_rate: float = 1e-4,
        grad_clip: float = 100.0,
        penalty_scale: float = 10.0,
    ):
        self._sizes: dict[str, Any] = dict(in_size=inputs.embed_size)
        self._sizes |= dict(hidden_size=hidden_size, hidden_layers=hidden_layers)
        self._optimizer: optax.GradientTransformation = make_optimizer(learning_rate, grad_clip)
        self._penalty_scale = penalty_scale

    def initial_state(self, key):
        """Returns the TrainState of a fresh discriminator."""
        init_key, key = jax.random.split(key)
        return TrainState.create(Discriminator(**self._sizes, rngs=nnx.Rngs(init_key)), self._optimizer, key)

    def score(self, state, model, episode):
        """Returns the present discriminator's rewards, for reports."""
        return adversarial_reward(state.model(model.encode(episode.observation)[0])), state

    @property
    def relabel(self):
        """Updates the discriminator, then rewards the batch with it."""
        return _adversarial_relabel(self.head, self._optimizer, self._penalty_scale)


@functools.lru_cache(maxsize=16)  # updates share their programs where they relabel by one function
def _adversarial_relabel(
    head: str, optimizer: optax.GradientTransformation, penalty_scale: float
) -> Callable[..., Relabelled]:
    def loss(discriminator, demonstrated, own, key):
        return discriminator_loss(discriminator, demonstrated, own, key, penalty_scale=penalty_scale)

    update = make_update(loss, optimizer)

    def relabel(state, model, batch, demonstration):
        own, shown = (jax.lax.stop_gradient(model.encode(x.observation)) for x in (batch, demonstration))
        state, metrics = update(state, *(x.reshape(-1, x.shape[-1]) for x in (shown, own)))
        reward = adversarial_reward(state.model(own))
        return state, batch.replace(observation=batch.observation | {head: reward[..., None]}), metrics

    return relabel


class DIFO(SurrogateReward):
    """Softplus of the logit of a diffusion model of embeddings, see `agents.diffusion_discriminator`.

    It learns and rewards as `Adversarial`, by steps (e_{t-1}, e_t): the first record of a window has no reward, and is
    masked. Published are min-max normalised states and one demonstration per agent's step; embeddings are as they are.

    Args:
      scale, bce_scale: of the module's loss; bce_scale 0.01 to 0.1 in the published settings.
      hidden_size, hidden_layers: of the denoiser.
      learning_rate, grad_clip: of its Adam.
    """

    head = "difo_reward"
    stored = False

    def __init__(
        self,
        inputs: RewardInputs,
        *,
        scale: float = 10.0,
        bce_scale: float = 0.1,
        hidden_size: int = 1024,
        hidden_layers: int = 3,
        learning_rate: float = 1e-4,
        grad_clip: float = 100.0,
    ):
        self._sizes: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers)
        self._size, self._scale, self._bce_scale = inputs.embed_size, scale, bce_scale
        self._optimizer: optax.GradientTransformation = make_optimizer(learning_rate, grad_clip)

    def initial_state(self, key):
        """Returns the TrainState of a fresh denoiser."""
        init_key, key = jax.random.split(key)
        denoiser = Denoiser(self._size, **self._sizes, rngs=nnx.Rngs(init_key))
        return TrainState.create(denoiser, self._optimizer, key)

    def score(self, state, model, episode):
        """Returns the present rewards, 0 for the first record, for reports."""
        embed = model.encode(episode.observation)
        return _step_rewards(state.model, embed, jax.random.key(0), self._scale)[0], state

    @property
    def relabel(self):
        """Updates the denoiser, then rewards the batch with it."""
        return _diffusion_relabel(self.head, self._optimizer, self._scale, self._bce_scale)


@functools.lru_cache(maxsize=16)
def _diffusion_relabel(
    head: str, optimizer: optax.GradientTransformation, scale: float, bce_scale: float
) -> Callable[..., Relabelled]:
    def relabel(state, model, batch, demonstration):
        own, shown = (jax.lax.stop_gradient(model.encode(x.observation)) for x in (batch, demonstration))
        loss_key, key = jax.random.split(jax.random.fold_in(state.key, state.step))
        losses = diffusion_losses(steps_of(shown), steps_of(own), loss_key, scale=scale, bce_scale=bce_scale)
        grads, metrics = gradient_of_parts(losses, state.model)
        state = apply_gradient(optimizer, state, grads)
        reward = _step_rewards(state.model, own, key, scale)
        mask = jnp.ones_like(reward).at[:, 0].set(0.0)
        batch = batch.replace(
            observation=batch.observation | {head: reward[..., None]}, masks=batch.masks | {head: mask}
        )
        return state, batch, metrics | {"reward": reward[:, 1:].mean()}

    return relabel


def _step_rewards(denoiser: Denoiser, embed: Array, key: Array, scale: float) -> Array:
    """[B, T, E] -> [B, T], 0 at the first record."""
    reward = diffusion_reward(denoiser, embed[:, :-1], embed[:, 1:], key, scale=scale)
    return jnp.pad(reward, ((0, 0), (1, 0)))


def steps_of(embed: Array) -> tuple[Array, Array]:
    """[B, T, E] -> the embeddings before and after each step, [B (T - 1), E] each."""
    return embed[:, :-1].reshape(-1, embed.shape[-1]), embed[:, 1:].reshape(-1, embed.shape[-1])
