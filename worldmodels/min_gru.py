"""A gated linear recurrence as the memory of a world model: `filter` of a whole sequence at once.

    x_t = g([z_{t-1}, a_{t-1}])
    k_t = sigmoid(W_k x_t + b_k)
    h_t = k_t * h_{t-1} + (1 - k_t) * (W_c x_t + b_c)      deter
    p(z_t | h_t)                                             prior
    q(z_t | e_t)                                             posterior, e_t = Enc(o_t)

The gates do not read the memory (minGRU, arXiv 2410.01201; the RG-LRU of arXiv 2402.19427 is a close relative), so that
h_t is linear in h_{t-1} and h_1 .. h_T are one associative scan of depth log2 T. That needs all x_t beforehand, hence
all z_t: the posterior reads the observation alone, unlike the RSSM's.

In parallel: `filter`, where the actions are given, which is the pretraining of a model. Step by step: action inference,
where a_{t-1} is the policy's at s_{t-1}; `rollout` and `imagine`, where z_t is drawn from p(z_t | h_t); acting.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.dynamics import MemoryDynamics
from worldmodels.latent_heads import check_estimator, rssmo_head
from worldmodels.nets import MLP, linear
from worldmodels.structures import Array, FilterOutput, LatentState

LONGEST_MEMORY = 50.0  # records after which the slowest unit has forgotten 1 - 1/e, before training


class MinGRU(MemoryDynamics):
    """Gated linear recurrence over embeddings; the input layer and the latent heads are those of `rssmo`.

    Args:
      embed_size: E, size of the observation embedding.
      action_size: A; 0 for an action-free model.
      deter_size: D. stoch_size: S, or the number of categoricals if `num_classes` is given.
      num_classes: None for a Gaussian latent, else classes per categorical.
      estimator: of the gradient of a categorical sample, see `Categorical`.
      unimix: share of even odds in every categorical; DreamerV3: 0.01.
      hidden_size: width of the input layer and of the heads.
      norm: "ln", "rms" or None, in the hidden layers.
      min_std: floor of both latent stds.
    """

    def __init__(
        self,
        embed_size: int,
        action_size: int,
        *,
        deter_size: int = 512,
        stoch_size: int = 30,
        num_classes: int | None = None,
        estimator: str = "straight_through",
        unimix: float = 0.0,
        hidden_size: int = 512,
        norm: str | None = "ln",
        min_std: float = 0.1,
        rngs: nnx.Rngs,
    ):
        check_estimator(estimator)
        self.action_size, self.num_classes = action_size, num_classes
        self.deter_size, self.stoch_size = deter_size, stoch_size * (num_classes or 1)
        layer: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=1, activation="swish", norm=norm)
        self.input_layer = MLP(self.stoch_size + action_size, None, rngs=rngs, **layer)
        self.gate_layer = linear(hidden_size, deter_size, rngs=rngs)
        self.candidate_layer = linear(hidden_size, deter_size, rngs=rngs)
        # Units start with time constants spread from one record to the longest: sigmoid(bias) = exp(-1 / records).
        records = jnp.geomspace(1.0, LONGEST_MEMORY, deter_size)
        self.gate_layer.bias[...] = -jnp.log(jnp.expm1(1.0 / records))
        heads: dict[str, Any] = dict(
            num_classes=num_classes, estimator=estimator, unimix=unimix, hidden_size=hidden_size, norm=norm
        )
        heads |= dict(min_std=min_std, rngs=rngs)
        self.prior_head = rssmo_head(deter_size, stoch_size, **heads)
        self.posterior_head = rssmo_head(embed_size, stoch_size, **heads)

    def gates(self, stoch: Array, prev_action: Array) -> tuple[Array, Array]:
        """Returns k_t and (1 - k_t) * candidate, both [..., D] float32."""
        x = self.input_layer(jnp.concatenate([stoch, prev_action], axis=-1))
        keep = jax.nn.sigmoid(self.gate_layer(x).astype(jnp.float32))
        return keep, (1.0 - keep) * self.candidate_layer(x).astype(jnp.float32)

    def advance(self, state: LatentState, prev_action: Array) -> Array:
        """Returns h_t [..., D]."""
        keep, new = self.gates(state.stoch, prev_action)
        return keep * state.deter + new

    def project_embed(self, embed: Array) -> Array:
        """Computes the first map of the posterior, [..., E] -> [..., hidden_size]."""
        return self.posterior_head.project(embed, 0)

    def observe(self, state: LatentState, prev_action: Array, projected_embed: Array, noise: Array | None):
        """Takes a step with an observation: returns (state_t, q(z_t | e_t))."""
        posterior = self.posterior_head.finish(projected_embed)
        return LatentState(self.advance(state, prev_action), posterior.sample(noise)), posterior

    def filter(
        self,
        embed: Array,
        prev_action: Array,
        is_first: Array,
        key: Array | None = None,
        initial: LatentState | None = None,
    ) -> FilterOutput:
        """Infers the states of a batch of sequences in parallel; arguments and result as of `Dynamics.filter`."""
        initial = initial if initial is not None else self.initial(embed.shape[0])
        posterior = self.posterior_head.finish(self.project_embed(embed))
        stoch = posterior.sample(self.noise(key, *embed.shape[:2]))
        before = jnp.concatenate([initial.stoch[:, None], stoch[:, :-1]], axis=1)
        remembers = (1.0 - is_first)[..., None]
        keep, new = self.gates(before * remembers, prev_action)
        deter = linear_recurrence(keep * remembers, new, initial.deter)
        states = LatentState(deter, stoch)
        return FilterOutput(states=states, prior=self.prior(states), posterior=posterior)


def linear_recurrence(keep: Array, new: Array, initial: Array) -> Array:
    """Solves h_t = keep_t * h_{t-1} + new_t for all t in parallel.

    Two successive steps are one, and the rule is associative: h -> k_2 (k_1 h + n_1) + n_2 keeps k_1 k_2 and adds
    k_2 n_1 + n_2.

    Args:
      keep, new: [B, T, D].
      initial: [B, D], h_0.

    Returns:
      h_1 .. h_T, [B, T, D].
    """

    def compose(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    kept, made = jax.lax.associative_scan(compose, (keep, new), axis=1)
    return kept * initial[:, None] + made
