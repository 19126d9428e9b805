"""Latent distributions from features: what priors and posteriors of all dynamics end in.

A head computes its first linear map in shares (`project`), so that what does not depend on the recurrence is projected
once for the whole sequence, and makes the distribution of their sum (`finish`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.distributions import ESTIMATORS, Categorical, Gaussian
from worldmodels.nets import MLP
from worldmodels.structures import Array


class SeparateGaussianHead(nnx.Module):
    """Gaussian from two MLPs, mean and std = softplus + min_std (`rssm`)."""

    def __init__(self, in_size, stoch_size, *, hidden_size, hidden_layers, norm, min_std, rngs: nnx.Rngs):
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, norm=norm)
        self.mean_net = MLP(in_size, stoch_size, rngs=rngs, **options)
        self.std_net = MLP(in_size, stoch_size, output_activation="softplus", rngs=rngs, **options)
        self.min_std = min_std

    def project(self, x: Array, start: int) -> Array:
        """Both first layers' shares of inputs from `start` on, side by side."""
        return jnp.concatenate([self.mean_net.project(x, start), self.std_net.project(x, start)], axis=-1)

    def finish(self, hidden: Array) -> Gaussian:
        """Returns the distribution from the summed shares, [..., 2 * hidden]."""
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
        """Returns the first layer's share of inputs from `start` on."""
        return self.net.project(x, start)

    def _output(self, hidden: Array) -> Array:
        return self.net.finish(hidden).astype(jnp.float32)


class SigmoidGaussianHead(JointHead):
    """Gaussian with std = 2 sigmoid(raw / 2) + min_std."""

    def __init__(self, in_size, stoch_size, *, hidden_size, norm, min_std, rngs: nnx.Rngs):
        super().__init__(in_size, 2 * stoch_size, hidden_size=hidden_size, norm=norm, rngs=rngs)
        self.min_std = min_std

    def finish(self, hidden: Array) -> Gaussian:
        """Returns the distribution from the summed shares, [..., hidden]."""
        mean, raw = jnp.split(self._output(hidden), 2, axis=-1)
        return Gaussian(mean, 2.0 * jax.nn.sigmoid(raw / 2.0) + self.min_std)


class CategoricalHead(JointHead):
    """N categoricals of C classes, of which a share `unimix` has even odds."""

    def __init__(
        self, in_size, stoch_size, *, num_classes, estimator, unimix, hidden_size, norm, rngs: nnx.Rngs
    ):
        super().__init__(in_size, stoch_size, hidden_size=hidden_size, norm=norm, rngs=rngs)
        self.num_classes, self.estimator, self.unimix = num_classes, estimator, unimix

    def finish(self, hidden: Array) -> Categorical:
        """Returns the distribution from the summed shares, [..., hidden]."""
        logits = self._output(hidden)
        logits = logits.reshape(*logits.shape[:-1], -1, self.num_classes)
        if self.unimix:
            odds = (1.0 - self.unimix) * jax.nn.softmax(logits) + self.unimix / self.num_classes
            logits = jnp.log(odds)
        return Categorical(logits, estimator=self.estimator)


def rssmo_head(
    in_size: int,
    stoch_size: int,
    *,
    num_classes: int | None,
    estimator: str,
    unimix: float,
    hidden_size: int,
    norm: str | None,
    min_std: float,
    rngs: nnx.Rngs,
) -> SigmoidGaussianHead | CategoricalHead:
    """Makes the head of `rssmo`: a Gaussian of `stoch_size` dimensions, or as many categoricals of `num_classes`."""
    options: dict[str, Any] = dict(hidden_size=hidden_size, norm=norm, rngs=rngs)
    if num_classes is None:
        return SigmoidGaussianHead(in_size, stoch_size, min_std=min_std, **options)
    options |= dict(num_classes=num_classes, estimator=estimator, unimix=unimix)
    return CategoricalHead(in_size, stoch_size * num_classes, **options)


def check_estimator(estimator: str) -> None:
    """Raises a ValueError for an estimator that `Categorical` does not have."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"Unknown estimator {estimator!r}. Known: {', '.join(ESTIMATORS)}.")
