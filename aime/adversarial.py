"""Surrogate rewards that learn with the policy: by a discriminator of embeddings, or by a diffusion model of steps.

They are updated before every model update and then reward the whole batch, pretraining data included; they read stopped
embeddings, so that they do not shape the model.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.diffusion_discriminator import Denoiser, diffusion_losses, diffusion_reward
from agents.discriminator import Discriminator, adversarial_reward, discriminator_loss
from aime.surrogate_reward import RewardInputs, SurrogateReward
from worldmodels.structures import Array
from worldmodels.training import TrainState, apply_gradient, gradient_of_parts, make_optimizer, make_update


class Learning(SurrogateReward):
    """A reward that remembers nothing but its options: two with the same ones are equal, and share programs.

    A subclass of one of them may depend on more; such a reward is equal to itself alone.

    Attributes:
      options: hashable, all that it depends on.
    """

    stored = False
    options: tuple

    def __eq__(self, other):
        alike = type(self) is type(other) and Learning in type(self).__bases__
        return self is other or (alike and self.options == other.options)

    def __hash__(self):
        return hash(self.options)


class Adversarial(Learning):
    """Logit of a discriminator between embeddings of demonstrations and of the model's batches.

    Args:
      hidden_size, hidden_layers: of the discriminator.
      learning_rate, grad_clip: of its Adam.
      penalty_scale: weight of the gradient penalty.
    """

    head = "ail_reward"

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
        self.options = (
            *(inputs.embed_size, hidden_size, hidden_layers),
            *(learning_rate, grad_clip, penalty_scale),
        )
        self._sizes: dict[str, Any] = dict(in_size=inputs.embed_size)
        self._sizes |= dict(hidden_size=hidden_size, hidden_layers=hidden_layers)
        self._optimizer: optax.GradientTransformation = make_optimizer(learning_rate, grad_clip)

        def loss(discriminator, demonstrated, own, key):
            return discriminator_loss(discriminator, demonstrated, own, key, penalty_scale=penalty_scale)

        self._update = make_update(loss, self._optimizer)

    def initial_state(self, key):
        """Returns the TrainState of a fresh discriminator."""
        init_key, key = jax.random.split(key)
        return TrainState.create(Discriminator(**self._sizes, rngs=nnx.Rngs(init_key)), self._optimizer, key)

    def score(self, state, model, episode):
        """Returns the present discriminator's rewards, for reports."""
        return adversarial_reward(state.model(model.encode(episode.observation)[0])), state

    def relabel(self, state, model, batch, demonstration):
        """Updates the discriminator, then rewards the batch with it."""
        own, shown = (jax.lax.stop_gradient(model.encode(x.observation)) for x in (batch, demonstration))
        state, metrics = self._update(state, *(x.reshape(-1, x.shape[-1]) for x in (shown, own)))
        reward = adversarial_reward(state.model(own))
        return state, batch.replace(observation=batch.observation | {self.head: reward[..., None]}), metrics


class DIFO(Learning):
    """Softplus of the logit of a diffusion model of embeddings, see `agents.diffusion_discriminator`.

    It learns and rewards as `Adversarial`, by steps (e_{t-1}, e_t): the first record of a window has no reward, and is
    masked. Published are min-max normalised states and one demonstration per agent's step; embeddings are as they are.

    Args:
      scale, bce_scale: of the module's loss; bce_scale 0.01 to 0.1 in the published settings.
      hidden_size, hidden_layers: of the denoiser.
      learning_rate, grad_clip: of its Adam.
    """

    head = "difo_reward"

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
        self.options = (
            *(inputs.embed_size, hidden_size, hidden_layers),
            *(scale, bce_scale, learning_rate, grad_clip),
        )
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
        return self._rewards(state.model, model.encode(episode.observation), jax.random.key(0))[0], state

    def relabel(self, state, model, batch, demonstration):
        """Updates the denoiser, then rewards the batch with it."""
        own, shown = (jax.lax.stop_gradient(model.encode(x.observation)) for x in (batch, demonstration))
        loss_key, key = jax.random.split(jax.random.fold_in(state.key, state.step))
        scales = dict(scale=self._scale, bce_scale=self._bce_scale)
        grads, metrics = gradient_of_parts(
            diffusion_losses(steps_of(shown), steps_of(own), loss_key, **scales), state.model
        )
        state = apply_gradient(self._optimizer, state, grads)
        reward = self._rewards(state.model, own, key)
        mask = jnp.ones_like(reward).at[:, 0].set(0.0)
        batch = batch.replace(
            observation=batch.observation | {self.head: reward[..., None]},
            masks=batch.masks | {self.head: mask},
        )
        return state, batch, metrics | {"reward": reward[:, 1:].mean()}

    def _rewards(self, denoiser, embed: Array, key: Array) -> Array:
        """[B, T, E] -> [B, T], 0 at the first record."""
        reward = diffusion_reward(denoiser, embed[:, :-1], embed[:, 1:], key, scale=self._scale)
        return jnp.pad(reward, ((0, 0), (1, 0)))


def steps_of(embed: Array) -> tuple[Array, Array]:
    """[B, T, E] -> the embeddings before and after each step, [B (T - 1), E] each."""
    return embed[:, :-1].reshape(-1, embed.shape[-1]), embed[:, 1:].reshape(-1, embed.shape[-1])
