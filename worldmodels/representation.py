"""What teaches a latent state without decoding observations, and what then takes the place of log p(o_t | s_t).

With N records of a batch, features f_n, embeddings e_n = Enc(o_n) of the same record, and the stopped gradient sg:

    barlow    x = W f, y = sg(e), both standardised over the batch, C = x'y / N:
              sum_i (C_ii - 1)^2 + 0.0005 sum_{i != j} C_ij^2                   R2-Dreamer, arXiv 2603.18202
    infonce   x = W f, y = sg(e):  -log exp(x_n y_n) / sum_m exp(x_n y_m)       there too, as a baseline
    sigreg    z = P e without a stop, kept standard normal by SIGReg:
              -log N(z; W f, std^2) + SIGReg(z)                 LeJEPA, arXiv 2511.08544; LeWM, 2603.19312

AIME asks a frozen model how well a state explains an observation, as far as the state can change it. An embedding is a
function of its observation, so that

    log p(o | s) = log p(e | s) + log p(o | e, s)

and what the embedding leaves out of the observation is taken not to depend on the state: the last term is a constant of
the demonstration, and drops out. So

    sigreg    log p(e | s) = log N(z; W f, std^2) is what the model is trained by. No change of units pleases it: SIGReg
              keeps z standard normal. E log p(z | s) + H(z), with H(z) then fixed, bounds I(o; s) from below.
    barlow    looks at correlations, which have no units. At its optimum C = 1: dimensions are decorrelated, and each
              e_i is as linear in x_i as it can be. A Gaussian with such moments is
              log p(e | s) = sum_i log N(e_i; g_i x_i + b_i, std_i^2), whose g, b and std follow by maximum
              likelihood, from stopped x and e: they shape nothing.
    infonce   By Bayes log p(o | s) = log p(o) + log p(s | o) / p(s). The best critic of InfoNCE is
              x y = log p(o | s) / p(o) + c(s), and the mean over the batch estimates exp c(s) (van den Oord et al.,
              arXiv 1807.03748):  log p(o_n | s_n) = log p(o_n) + x_n y_n - log mean_m exp(x_n y_m).
              The first term is a constant again; the rest is at most log N. The other records of the batch are
              what an observation is told from: in AIME's phase 2 those of demonstrations.

None of the sources imitates; these evidences are derived here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.distributions import Distribution, normal
from worldmodels.nets import Linear, linear
from worldmodels.registry import Registry
from worldmodels.sequences import sum_time_mean_batch
from worldmodels.structures import Array

KNOTS = 17  # of SIGReg's integral over 0 .. 3


class Representation(nnx.Module):
    """Interface: a module `(feature_size, embed_size, *, rngs, ...)`."""

    def loss(
        self, features: Array, embed: Array, mask: Array, key: Array | None
    ) -> tuple[Array, dict[str, Array]]:
        """Returns what teaches state and encoder, summed over time and averaged over the batch, and metrics.

        Args:
          features: [B, T, F]. embed: [B, T, E], with gradient.
          mask: [B, T] 0 in the padding after a termination.
          key: PRNG key of random projections; None takes the same ones always.
        """
        raise NotImplementedError

    def log_prob(self, features: Array, embed: Array, mask: Array) -> Array:
        """[B, T] log p(o_t | s_t) in nats, up to constants of the observations; arguments as of `loss`."""
        raise NotImplementedError


class Barlow(Representation):
    """Redundancy reduction between features and embeddings. The encoder learns through the posterior alone.

    Args:
      scale: of the loss of a batch; it counts once per record, as likelihoods do.
      redundancy: weight of what is not on the diagonal.
      min_std: of the evidence's Gaussian, in units of the embedding, so that no dimension outweighs the others.
    """

    def __init__(
        self,
        feature_size: int,
        embed_size: int,
        *,
        scale: float = 0.05,
        redundancy: float = 5e-4,
        min_std: float = 0.1,
        rngs: nnx.Rngs,
    ):
        self.scale, self.redundancy, self.min_std = scale, redundancy, min_std
        self.projection = Linear(feature_size, embed_size, use_bias=False, rngs=rngs)
        self.gain, self.offset = nnx.Param(jnp.ones(embed_size)), nnx.Param(jnp.zeros(embed_size))
        self.log_std = nnx.Param(jnp.zeros(embed_size))

    def loss(self, features, embed, mask, key):
        del key
        x, y = self.projection(features), jax.lax.stop_gradient(embed)
        correlation = cross_correlation(rows(x), rows(y), mask.reshape(-1))
        invariance, redundancy = barlow_terms(correlation)
        loss = self.scale * sum_time_mean_batch(mask) * (invariance + self.redundancy * redundancy)
        nll = -self._embedding(jax.lax.stop_gradient(x)).log_prob(y).sum(axis=-1)
        metrics = {"barlow_invariance": invariance, "barlow_redundancy": redundancy}
        return loss + sum_time_mean_batch(nll * mask), metrics

    def log_prob(self, features, embed, mask):
        del mask
        return self._embedding(self.projection(features)).log_prob(embed).sum(axis=-1)

    def _embedding(self, x: Array) -> Distribution:
        gain, offset, log_std = (
            jnp.broadcast_to(p[...], x.shape) for p in (self.gain, self.offset, self.log_std)
        )
        return normal(gain * x + offset, jnp.maximum(jnp.exp(log_std), self.min_std))


class InfoNCE(Representation):
    """Each state tells its own observation from the others of the batch. The encoder learns through the posterior.

    Args:
      scale: of the loss.
    """

    def __init__(self, feature_size: int, embed_size: int, *, scale: float = 1.0, rngs: nnx.Rngs):
        self.scale = scale
        self.projection = Linear(feature_size, embed_size, use_bias=False, rngs=rngs)

    def loss(self, features, embed, mask, key):
        del key
        bound = self.log_prob(features, jax.lax.stop_gradient(embed), mask)
        loss = -self.scale * sum_time_mean_batch(bound * mask)
        return loss, {"infonce": -jnp.sum(bound * mask) / jnp.sum(mask)}

    def log_prob(self, features, embed, mask):
        x = rows(self.projection(features))
        return contrast(x, rows(embed), mask.reshape(-1)).reshape(mask.shape)


class SIGReg(Representation):
    """Maximum likelihood of embeddings whose distribution is kept standard normal; nothing is stopped.

    The source adds `weight` of SIGReg to a *mean* squared error. The likelihood is the sum of D squares over 2 std^2,
    so that SIGReg is multiplied by D / (2 std^2), once per record.

    Args:
      size: D of z; None: E.
      std: of the Gaussian, in units of z, whose own std is 1.
      weight: of SIGReg.
      num_projections: random directions along which z is compared with a normal distribution, anew in every loss.
    """

    def __init__(
        self,
        feature_size: int,
        embed_size: int,
        *,
        size: int | None = None,
        std: float = 1.0,
        weight: float = 0.09,
        num_projections: int = 1024,
        rngs: nnx.Rngs,
    ):
        self.size = embed_size if size is None else size
        self.std, self.weight, self.num_projections = std, weight, num_projections
        self.projection = linear(embed_size, self.size, rngs=rngs)
        self.prediction = linear(feature_size, self.size, rngs=rngs)

    def loss(self, features, embed, mask, key):
        key = jax.random.key(0) if key is None else jax.random.fold_in(key, 1)
        z = self.projection(embed).astype(jnp.float32)
        directions = jax.random.normal(key, (self.size, self.num_projections))
        directions = directions / jnp.linalg.norm(directions, axis=0, keepdims=True)
        distance = jax.vmap(sigreg, in_axes=(1, None, 1))(z, directions, mask)  # [T]
        nll = sum_time_mean_batch(-self.log_prob(features, embed, mask) * mask)
        weight = self.weight * self.size / (2.0 * self.std**2)
        return nll + weight * distance.sum(), {"sigreg": distance.mean()}

    def log_prob(self, features, embed, mask):
        del mask
        mean = self.prediction(features)
        dist = normal(mean, jnp.full(mean.shape, self.std))
        return dist.log_prob(self.projection(embed).astype(jnp.float32)).sum(axis=-1)


REPRESENTATIONS = Registry(
    "representation", {"barlow": Barlow, "infonce": InfoNCE, "sigreg": SIGReg}, base=Representation
)


def rows(values: Array) -> Array:
    """[B, T, d] -> [B * T, d] float32."""
    return values.reshape(-1, values.shape[-1]).astype(jnp.float32)


def cross_correlation(x: Array, y: Array, weight: Array) -> Array:
    """[N, E] x 2 and weights [N] of the rows -> [E, E] correlation C_ij of x_i with y_j."""
    weight = (weight / weight.sum())[:, None]

    def standardised(values):
        centred = values - (weight * values).sum(axis=0, keepdims=True)
        # Inside the root, so that a dimension which does not vary has a gradient, of zero.
        return centred / (jnp.sqrt((weight * centred**2).sum(axis=0, keepdims=True) + 1e-16))

    return (weight * standardised(x)).T @ standardised(y)


def barlow_terms(correlation: Array) -> tuple[Array, Array]:
    """[E, E] -> sum_i (C_ii - 1)^2 and sum_{i != j} C_ij^2."""
    diagonal = jnp.diagonal(correlation)
    return jnp.sum((diagonal - 1.0) ** 2), jnp.sum(correlation**2) - jnp.sum(diagonal**2)


def contrast(x: Array, y: Array, weight: Array) -> Array:
    """x_n y_n - log mean_m exp(x_n y_m), [N, E] x 2 -> [N] nats; `weight` [N] is 0 for rows that are no example."""
    scores = jnp.where(jnp.broadcast_to(weight[None] > 0, (len(x), len(y))), x @ y.T, -jnp.inf)
    return jnp.sum(x * y, axis=-1) - jax.nn.logsumexp(scores, axis=-1) + jnp.log(jnp.sum(weight > 0))


def sigreg(z: Array, directions: Array, weight: Array) -> Array:
    """Distance of samples from a standard normal distribution by their characteristic functions along directions.

    N times the integral over t in [-3, 3], weighted by a normal density without its constant, of the squared distance
    of characteristic functions (Epps and Pulley), by the trapezoid rule. Standard normal samples have 1.05 on average
    for any N and D; samples at 0 have 0.402 N.

    Args:
      z: [N, D]. directions: [D, M] of unit norm. weight: [N] of the samples, 1 or 0.
    """
    t, step = jnp.linspace(0.0, 3.0, KNOTS, retstep=True)
    normal_function = jnp.exp(-(t**2) / 2.0)
    integral = jnp.full(KNOTS, 2.0 * step).at[jnp.array([0, -1])].set(step) * normal_function
    number = jnp.maximum(weight.sum(), 1.0)
    angle = t[:, None, None] * (z @ directions)[None]  # [K, N, M]
    share = (weight / number)[None, :, None]
    real = (share * jnp.cos(angle)).sum(axis=1) - normal_function[:, None]
    imaginary = (share * jnp.sin(angle)).sum(axis=1)
    return number * (integral[:, None] * (real**2 + imaginary**2)).sum(axis=0).mean()
