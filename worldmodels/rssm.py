"""The recurrent state-space model, the dynamics of all published models.

    h_t = GRU(g([z_{t-1}, a_{t-1}]), h_{t-1})      deter
    p(z_t | h_t)                                   prior
    q(z_t | h_t, e_t)                              posterior, e_t = Enc(o_t)

Two published families are the same model from other parts: `rssm` (AIME v1: plain GRU, two
MLPs per distribution, softplus std) and `rssmo` (Dreamer-like: input layer, layer-norm GRU, one MLP per
distribution, std = 2 sigmoid(raw / 2) + min_std). `rssmo-v1` is `rssmo` with the plain GRU.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx

from worldmodels.dynamics import LatentHead, MemoryDynamics
from worldmodels.latent_heads import SeparateGaussianHead, check_estimator, rssmo_head
from worldmodels.nets import MLP, GRUCell, LayerNormGRUCell
from worldmodels.structures import Array, LatentState


class RSSM(MemoryDynamics):
    """Recurrent state-space model over embeddings.

    Args:
      embed_size: E, size of the observation embedding.
      action_size: A; 0 for an action-free model.
      family: "rssmo" (AIME-v2), "rssmo-v1" (plain GRU), or "rssm" (AIME v1).
      deter_size: D. stoch_size: S, or the number of categoricals if `num_classes` is given.
      num_classes: None for a Gaussian latent, else classes per categorical (`rssmo-discrete`).
      hidden_size: width of the heads; hidden_layers: their depth (`rssm` only, `rssmo` has one).
      estimator: of the gradient of a categorical sample, see `Categorical`.
      unimix: share of even odds in every categorical; DreamerV3: 0.01.
      norm: "ln", "rms" or None, in the hidden layers of input layer and heads.
      min_std: floor of both latent stds.
    """

    def __init__(
        self,
        embed_size: int,
        action_size: int,
        *,
        family: str = "rssmo",
        deter_size: int = 512,
        stoch_size: int = 30,
        num_classes: int | None = None,
        estimator: str = "straight_through",
        unimix: float = 0.0,
        hidden_size: int = 512,
        hidden_layers: int = 2,
        norm: str | None = "ln",
        min_std: float = 0.1,
        rngs: nnx.Rngs,
    ):
        if family not in ("rssm", "rssmo", "rssmo-v1"):
            raise ValueError(f"Unknown RSSM family {family!r}. Known: rssm, rssmo, rssmo-v1.")
        if family == "rssm" and num_classes is not None:
            raise ValueError("The family 'rssm' has a Gaussian latent; use 'rssmo' with num_classes.")
        check_estimator(estimator)
        flat_stoch = stoch_size * (num_classes or 1)
        self.deter_size, self.stoch_size, self.action_size = deter_size, flat_stoch, action_size
        in_size = flat_stoch + action_size
        layer: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=1, activation="swish", norm=norm)
        self.pre_memory = MLP(in_size, None, rngs=rngs, **layer) if family != "rssm" else None
        in_size = in_size if self.pre_memory is None else hidden_size
        cell = LayerNormGRUCell if family == "rssmo" else GRUCell
        self.memory_cell = cell(in_size, deter_size, rngs=rngs)
        heads: dict[str, Any] = dict(hidden_size=hidden_size, norm=norm, min_std=min_std, rngs=rngs)

        def make_head(in_size: int) -> LatentHead:
            if family == "rssm":
                return SeparateGaussianHead(in_size, stoch_size, hidden_layers=hidden_layers, **heads)
            categorical: dict[str, Any] = dict(num_classes=num_classes, estimator=estimator, unimix=unimix)
            return rssmo_head(in_size, stoch_size, **categorical, **heads)

        self.prior_head = make_head(deter_size)
        self.posterior_head = make_head(deter_size + embed_size)
        self.num_classes = num_classes

    def advance(self, state: LatentState, prev_action: Array) -> Array:
        """Returns h_t [..., D] from the previous state and the action [..., A] that left it."""
        x = jnp.concatenate([state.stoch, prev_action], axis=-1)
        x = self.pre_memory(x) if self.pre_memory is not None else x
        return self.memory_cell(x, state.deter)

    def project_embed(self, embed: Array) -> Array:
        """Computes the share of embeddings [..., E] in the first map of the posterior."""
        return self.posterior_head.project(embed, self.deter_size)

    def observe(self, state: LatentState, prev_action: Array, projected_embed: Array, noise: Array | None):
        """Takes a step with an observation: returns (state_t, q(z_t | h_t, e_t))."""
        deter = self.advance(state, prev_action)
        posterior = self.posterior_head.finish(self.posterior_head.project(deter, 0) + projected_embed)
        return LatentState(deter, posterior.sample(noise)), posterior

    def posterior_step(self, state: LatentState, prev_action: Array, embed: Array, key: Array | None = None):
        """Takes a step with an observation [..., E], as actors do: returns (state_t, q(z_t | h_t, e_t))."""
        deter = self.advance(state, prev_action)
        # In one product: halves of the weights, as in `observe`, would be copied out at every acting step.
        inputs = jnp.concatenate([deter, embed], axis=-1)
        posterior = self.posterior_head.finish(self.posterior_head.project(inputs, 0))
        return LatentState(deter, posterior.sample(self.noise(key, *deter.shape[:-1]))), posterior
