"""The recurrent state-space model: `initial, prior_step, posterior_step, filter, rollout, imagine`.

    h_t = GRU(g([z_{t-1}, a_{t-1}]), h_{t-1})      deter
    p(z_t | h_t)                                   prior
    q(z_t | h_t, e_t)                              posterior, e_t = Enc(o_t)

Two published families are the same model from other parts: `rssm` (AIME v1: plain GRU, two
MLPs per distribution, softplus std) and `rssmo` (Dreamer-like: input layer, layer-norm GRU, one MLP per
distribution, std = 2 sigmoid(raw / 2) + min_std). `rssmo-v1` is `rssmo` with the plain GRU.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx, struct

from worldmodels.distributions import ESTIMATORS, Categorical, Gaussian
from worldmodels.nets import MLP, GRUCell, LayerNormGRUCell
from worldmodels.sequences import scan_time
from worldmodels.structures import Array, FilterOutput, RSSMState


class SeparateGaussianHead(nnx.Module):
    """Gaussian from two MLPs, mean and std = softplus + min_std (`rssm`)."""

    def __init__(self, in_size, stoch_size, *, hidden_size, hidden_layers, norm, min_std, rngs: nnx.Rngs):
        options = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, norm=norm)
        self.mean_net = MLP(in_size, stoch_size, rngs=rngs, **options)
        self.std_net = MLP(in_size, stoch_size, output_activation="softplus", rngs=rngs, **options)
        self.min_std = min_std

    def project(self, x: Array, start: int) -> Array:
        """Both first layers' shares of inputs from `start` on, side by side."""
        return jnp.concatenate([self.mean_net.project(x, start), self.std_net.project(x, start)], axis=-1)

    def finish(self, hidden: Array) -> Gaussian:
        """The distribution from the summed shares, [..., 2 * hidden]."""
        mean, std = jnp.split(hidden, 2, axis=-1)
        mean = self.mean_net.finish(mean)
        std = self.std_net.finish(std)
        return Gaussian(mean.astype(jnp.float32), std.astype(jnp.float32) + self.min_std)


class JointHead(nnx.Module):
    """One MLP with one normalised hidden layer, its output read as a distribution (`rssmo`)."""

    def __init__(self, in_size, out_size, *, hidden_size, norm, rngs: nnx.Rngs):
        self.net = MLP(
            in_size,
            out_size,
            hidden_size=hidden_size,
            hidden_layers=1,
            activation="swish",
            norm=norm,
            rngs=rngs,
        )

    def project(self, x: Array, start: int) -> Array:
        """The first layer's share of inputs from `start` on."""
        return self.net.project(x, start)

    def _output(self, hidden: Array) -> Array:
        return self.net.finish(hidden).astype(jnp.float32)


class SigmoidGaussianHead(JointHead):
    """Gaussian with std = 2 sigmoid(raw / 2) + min_std."""

    def __init__(self, in_size, stoch_size, *, hidden_size, norm, min_std, rngs: nnx.Rngs):
        super().__init__(in_size, 2 * stoch_size, hidden_size=hidden_size, norm=norm, rngs=rngs)
        self.min_std = min_std

    def finish(self, hidden: Array) -> Gaussian:
        """The distribution from the summed shares, [..., hidden]."""
        mean, raw = jnp.split(self._output(hidden), 2, axis=-1)
        return Gaussian(mean, 2.0 * jax.nn.sigmoid(raw / 2.0) + self.min_std)


class CategoricalHead(JointHead):
    """N categoricals of C classes."""

    def __init__(self, in_size, stoch_size, *, num_classes, estimator, hidden_size, norm, rngs: nnx.Rngs):
        super().__init__(in_size, stoch_size, hidden_size=hidden_size, norm=norm, rngs=rngs)
        self.num_classes, self.estimator = num_classes, estimator

    def finish(self, hidden: Array) -> Categorical:
        """The distribution from the summed shares, [..., hidden]."""
        logits = self._output(hidden)
        logits = logits.reshape(*logits.shape[:-1], -1, self.num_classes)
        return Categorical(logits, estimator=self.estimator)


@struct.dataclass
class ImagineOutput:
    """What a policy did in imagination.

    Attributes:
      states: s_0 .. s_H, leaves [N, H + 1, ...].
      actions: [N, H, A]; actions[:, t] leads from s_t to s_{t+1}.
      policy: the distributions that the actions came from, leaves [N, H, A].
    """

    states: RSSMState
    actions: Array
    policy: object


class RSSM(nnx.Module):
    """Recurrent state-space model over embeddings.

    Args:
      embed_size: E, size of the observation embedding.
      action_size: A; 0 for an action-free model.
      family: "rssmo" (AIME-v2), "rssmo-v1" (plain GRU), or "rssm" (AIME v1).
      deter_size: D. stoch_size: S, or the number of categoricals if `num_classes` is given.
      num_classes: None for a Gaussian latent, else classes per categorical (`rssmo-discrete`).
      hidden_size: width of the heads; hidden_layers: their depth (`rssm` only, `rssmo` has one).
      estimator: of the gradient of a categorical sample, see `Categorical`.
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
        if estimator not in ESTIMATORS:
            raise ValueError(f"Unknown estimator {estimator!r}. Known: {', '.join(ESTIMATORS)}.")
        flat_stoch = stoch_size * (num_classes or 1)
        self.deter_size, self.stoch_size, self.action_size = deter_size, flat_stoch, action_size
        in_size = flat_stoch + action_size
        layer = dict(hidden_size=hidden_size, hidden_layers=1, activation="swish", norm=norm)
        self.pre_memory = MLP(in_size, None, rngs=rngs, **layer) if family != "rssm" else None
        in_size = in_size if self.pre_memory is None else hidden_size
        cell = LayerNormGRUCell if family == "rssmo" else GRUCell
        self.memory_cell = cell(in_size, deter_size, rngs=rngs)
        if family == "rssm":
            head = SeparateGaussianHead
            options = dict(hidden_layers=hidden_layers, norm=norm, min_std=min_std)
        elif num_classes is None:
            head, options = SigmoidGaussianHead, dict(norm=norm, min_std=min_std)
        else:
            head, options = CategoricalHead, dict(norm=norm, num_classes=num_classes, estimator=estimator)
        out_size = stoch_size if num_classes is None else flat_stoch
        self.prior_head = head(deter_size, out_size, hidden_size=hidden_size, rngs=rngs, **options)
        self.posterior_head = head(
            deter_size + embed_size, out_size, hidden_size=hidden_size, rngs=rngs, **options
        )
        self.num_classes = num_classes

    @property
    def feature_size(self) -> int:
        """D + S, the size of `RSSMState.features`."""
        return self.deter_size + self.stoch_size

    def initial(self, *batch_shape: int) -> RSSMState:
        """The state before the first observation: zeros, not learned."""
        return RSSMState(
            jnp.zeros((*batch_shape, self.deter_size)), jnp.zeros((*batch_shape, self.stoch_size))
        )

    def noise(self, key: Array | None, *batch_shape: int) -> Array | None:
        """Noise that turns latent parameters [*batch_shape, ...] into a sample; None (the mode) if `key` is None."""
        if key is None:
            return None
        if self.num_classes is None:
            return jax.random.normal(key, (*batch_shape, self.stoch_size))
        num = self.stoch_size // self.num_classes
        return jax.random.gumbel(key, (*batch_shape, num, self.num_classes))

    def advance(self, state: RSSMState, prev_action: Array) -> Array:
        """h_t [..., D] from the previous state and the action [..., A] that left it."""
        x = jnp.concatenate([state.stoch, prev_action], axis=-1)
        x = self.pre_memory(x) if self.pre_memory is not None else x
        return self.memory_cell(x, state.deter)

    def prior(self, deter: Array):
        """p(z_t | h_t), leaves [..., S]."""
        return self.prior_head.finish(self.prior_head.project(deter, 0))

    def project_embed(self, embed: Array) -> Array:
        """What the posterior needs of the embedding [..., E]; computed for the whole sequence at once."""
        return self.posterior_head.project(embed, self.deter_size)

    def posterior(self, deter: Array, projected_embed: Array):
        """q(z_t | h_t, e_t), leaves [..., S]; the embedding comes through `project_embed`."""
        return self.posterior_head.finish(self.posterior_head.project(deter, 0) + projected_embed)

    def observe(self, state: RSSMState, prev_action: Array, projected_embed: Array, noise: Array | None):
        """One step with an observation: (state_t, q(z_t | h_t, e_t)). The scan body of every filter."""
        deter = self.advance(state, prev_action)
        posterior = self.posterior(deter, projected_embed)
        return RSSMState(deter, posterior.sample(noise)), posterior

    def prior_step(self, state: RSSMState, prev_action: Array, key: Array | None = None):
        """Advances one step without looking: z_t ~ p(z_t | h_t). Returns (state, prior)."""
        deter = self.advance(state, prev_action)
        prior = self.prior(deter)
        return RSSMState(deter, prior.sample(self.noise(key, *deter.shape[:-1]))), prior

    def posterior_step(self, state: RSSMState, prev_action: Array, embed: Array, key: Array | None = None):
        """Advances one step with an observation: z_t ~ q(z_t | h_t, e_t). Returns (state, prior, posterior)."""
        deter = self.advance(state, prev_action)
        # In one product: halves of the weights, as in `observe`, would be copied out at every acting step.
        inputs = jnp.concatenate([deter, embed], axis=-1)
        posterior = self.posterior_head.finish(self.posterior_head.project(inputs, 0))
        stoch = posterior.sample(self.noise(key, *deter.shape[:-1]))
        return RSSMState(deter, stoch), self.prior(deter), posterior

    def filter(
        self,
        embed: Array,
        prev_action: Array,
        is_first: Array,
        key: Array | None = None,
        initial: RSSMState | None = None,
    ) -> FilterOutput:
        """Infers the states of a batch of sequences.

        Args:
          embed: [B, T, E] observation embeddings.
          prev_action: [B, T, A] action that led to each observation.
          is_first: [B, T] where to forget the past.
          key: PRNG key, consumed; None takes the mode of every posterior.
          initial: state before the first record, leaves [B, ...]; zeros by default.

        Returns:
          Leaves [B, T, ...].
        """
        batch_shape = embed.shape[:2]
        initial = initial if initial is not None else self.initial(batch_shape[0])

        def step(state, xs):
            action, projected, first, noise = xs
            state, posterior = self.observe(forget(state, first), action, projected, noise)
            return state, (state, posterior)

        xs = (prev_action, self.project_embed(embed), is_first, self.noise(key, *batch_shape))
        _, (states, posterior) = scan_time(step, initial, xs)
        return FilterOutput(states=states, prior=self.prior(states.deter), posterior=posterior)

    def rollout(self, state: RSSMState, actions: Array, key: Array | None = None) -> RSSMState:
        """Predicts the states that given actions lead to, without looking (open loop).

        Args:
          state: where to start, leaves [B, ...].
          actions: [B, H, A].
          key: PRNG key, consumed; None takes the mode of every prior.

        Returns:
          States after each action, leaves [B, H, ...].
        """

        def step(state, xs):
            action, noise = xs
            deter = self.advance(state, action)
            state = RSSMState(deter, self.prior(deter).sample(noise))
            return state, state

        return scan_time(step, state, (actions, self.noise(key, *actions.shape[:2])))[1]

    def imagine(
        self, state: RSSMState, policy: Callable, horizon: int, key: Array | None = None
    ) -> ImagineOutput:
        """Lets a policy act in the model (Dreamer). The policy reads stopped features, as published.

        Args:
          state: where to start, leaves [N, ...].
          policy: features [N, F] -> action distribution with `sample(noise)`.
          horizon: H, number of actions.
          key: PRNG key, consumed; None takes modes of actions and priors.
        """
        action_key, latent_key = (None, None) if key is None else jax.random.split(key)
        shape = (state.deter.shape[0], horizon)
        action_noise = None if key is None else jax.random.normal(action_key, (*shape, self.action_size))

        def step(state, xs):
            noise, latent_noise = xs
            dist = policy(jax.lax.stop_gradient(state.features))
            action = dist.sample(noise)
            deter = self.advance(state, action)
            state = RSSMState(deter, self.prior(deter).sample(latent_noise))
            return state, (state, action, dist)

        xs = (action_noise, self.noise(latent_key, *shape))
        _, (states, actions, dist) = scan_time(step, state, xs, length=horizon)
        states = jax.tree.map(lambda x, xs: jnp.concatenate([x[:, None], xs], axis=1), state, states)
        return ImagineOutput(states=states, actions=actions, policy=dist)


def forget(state: RSSMState, is_first: Array) -> RSSMState:
    """The state with rows zeroed where an episode starts; `is_first` [B]."""
    keep = (1.0 - is_first)[..., None]
    return RSSMState(state.deter * keep, state.stoch * keep)
