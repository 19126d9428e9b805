"""Surrogate rewards: how well an agent's frames agree with the demonstrations.

A world model learns a head that predicts the reward, and the policy seeks it in imagination (`aime/online.py`). A new
reward is a subclass of `SurrogateReward`, named as `my.module:Name`. reward[t] scores observation[t], the frame that
prev_action[t] produced, as a true reward does.

    viper        likelihood of the frame under a model of the demonstrations alone      Escontrela et al. 2023; AIME-v2
    ot           share of the frame in the transport of the episode to a demonstration  Haldar et al. 2022; AIME-NoB
    temporal_ot  the same, between frames at about the same time                        Fu et al. 2024
    orca         how far a demonstration has been followed in order                     Huey et al. 2025
    ail          logit of a discriminator that learns with the policy                   Ho & Ermon 2016; AIME-NoB
    difo         how much better a diffusion model of the demonstrations denoises a step    Huang et al. 2024
    true         the environment's own reward: an oracle to compare with
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from agents import progress
from aime.adversarial import DIFO, Adversarial
from aime.surrogate_reward import RewardInputs, SurrogateReward
from worldmodels.losses import per_step_evidence
from worldmodels.registry import Registry, check_options
from worldmodels.structures import Array, SequenceBatch
from worldmodels.world_model import WorldModel

# VIPER --------------------------------------------------------------------------------------------------------------


def symlog(x: Array) -> Array:
    """Returns sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def viper_reward(likelihood_model: WorldModel, batch: SequenceBatch, *, use_symlog: bool = True) -> Array:
    """Returns symlog(log p(o_t | s_t) - KL_t), [B, T] nats, along the deterministic posterior (AIME-v2).

    It is 0 at the first record of an episode, which no action has earned. o_t are the sensors and, as published,
    whether the episode has terminated. The true reward has no part in it, even if the likelihood model predicts it.
    """
    evidence = per_step_evidence(likelihood_model, batch.replace(reward=None))
    reward = symlog(evidence) if use_symlog else evidence
    return reward * (1.0 - batch.is_first)


class Viper(SurrogateReward):
    """Likelihood under an action-free world model of the demonstrations, which does not change.

    Args:
      use_symlog: False takes the likelihood itself.

    Raises:
      ValueError: no likelihood model, or one with actions, or of sensors that the episodes do not have.
    """

    head = "viper_reward"

    def __init__(self, inputs: RewardInputs, *, use_symlog: bool = True):
        self.sensors = scored_sensors(inputs)
        self._model = inputs.likelihood_model
        self._use_symlog = use_symlog

    def score(self, state, model, episode):
        """Scores as `viper_reward`; does not depend on the world model."""
        del model
        return _viper_reward(self._model, episode, use_symlog=self._use_symlog)[0], state


_viper_reward = jax.jit(viper_reward, static_argnames="use_symlog")


def scored_sensors(inputs: RewardInputs) -> tuple[str, ...]:
    """Returns the sensors that the likelihood model scores; raises a ValueError if the episodes lack one."""
    model = inputs.likelihood_model
    if model is None:
        raise ValueError(
            "The reward 'viper' needs a model of the demonstrations: pretrain one with "
            "--config=pretrain:viper and pass --config.reward.model=DIR."
        )
    if model.action_size:
        raise ValueError(
            f"The reward model takes actions of size {model.action_size}, but demonstrations have none; "
            "pretrain it with action_free=True."
        )
    used = [name for name in dict.fromkeys((*model.inputs, *model.targets)) if name != TrueReward.head]
    known = {name: inputs.likelihood_sizes[name] for name in used if name in inputs.likelihood_sizes}
    check_scored("reward model", known, inputs)
    return tuple(known)


def check_scored(what: str, known: Mapping[str, int | Sequence[int]], inputs: RewardInputs) -> None:
    """Raises a ValueError if the episodes that are scored lack a sensor that something knows, or have another size."""
    missing = [name for name in known if name not in inputs.sizes]
    if missing:
        raise ValueError(
            f"The {what} knows {', '.join(missing)}, which this run does not have; it has "
            f"{', '.join(sorted(inputs.sizes))}. Train it in the set-up of this run."
        )
    for name, size in known.items():
        if not np.array_equal(size, inputs.sizes[name]):
            raise ValueError(
                f"The {what} was built for {name} of size {_size(size)}, this run has "
                f"{_size(inputs.sizes[name])}. Train it on the demonstrations of this run."
            )


def _size(size: int | Sequence[int]) -> str:
    return "x".join(map(str, np.ravel(size)))


# Matching of whole episodes -----------------------------------------------------------------------------------------


class TransportState(struct.PyTreeNode):
    """State of `Matched`.

    Attributes:
      scale: [] float32, factor of the rewards; 0 until the first episode has set it.
    """

    scale: Array


class Matched(SurrogateReward):
    """Rewards of an episode by the demonstration that it matches best, of cosine distances (`agents.progress`).

    Args:
      mean_reward: |mean reward| of the first episode, which sets the scale; 4 is that of AIME-NoB. A sum of 10 over the
        episode, as TemporalOT and ORCA have it, is nothing to a head of unit variance.
      num_components: of the demonstrations' principal components, to which features are projected; None: all.
      embeddings: True: of the encoder of `RewardInputs`, without one of the world model at the end of the episode;
        False: the sensors that the world model reads, vectors.
      **options: of the matching.

    Attributes:
      matching: the dataclass of `agents.progress`.
    """

    matching: Callable[..., progress.Matching]

    def __init__(
        self,
        inputs: RewardInputs,
        *,
        mean_reward: float = 4.0,
        num_components: int | None = None,
        embeddings: bool = True,
        **options,
    ):
        check_options(self.matching, options, f"The surrogate reward {self.head!r}")
        self._demonstrations = inputs.demonstrations.observation, inputs.demonstration_weights
        self._encoder = inputs.encoder if embeddings else None
        if self._encoder is not None:
            check_scored("encoder", inputs.encoder_sizes, inputs)
            self.sensors = tuple(inputs.encoder_sizes)
        self._mean_reward = mean_reward
        self._rewards = _matched_rewards(self.matching(**options), num_components, embeddings)

    def initial_state(self, key):
        """Returns a state without a scale."""
        del key
        return TransportState(jnp.zeros(()))

    def score(self, state, model, episode):
        """Scores the episode; see the class."""
        encoder = model if self._encoder is None else self._encoder
        rewards = self._rewards(encoder, episode, self._demonstrations)
        if not state.scale > 0:
            scale = progress.reward_scale(rewards, self._mean_reward * len(rewards))
            state = TransportState(jnp.asarray(scale, jnp.float32))
        return state.scale * rewards, state


@functools.cache
def _matched_rewards(
    matching: progress.Matching, num_components: int | None, embeddings: bool
) -> Callable[..., Array]:
    """Returns a jitted function (encoder, episode, (demonstrations, weights)) -> rewards [T] without their scale."""

    def features(model, observation):
        if embeddings:
            return model.encode(observation)
        return jnp.concatenate([observation[name] for name in model.inputs], axis=-1)

    def rewards(model, episode, demonstrations):
        observation, weights = demonstrations
        own, shown = features(model, episode.observation)[0], features(model, observation)
        if num_components is not None:
            own, shown = principal_components(own, shown, num_components)
        return progress.best_rewards(own, shown, matching, column_weights=weights)[0]

    return jax.jit(rewards)


class OptimalTransport(Matched):
    """Minus the cost of moving each frame to the demonstration that the whole episode is closest to (AIME-NoB)."""

    head = "ot_reward"
    matching = progress.Transport


class TemporalOT(Matched):
    """The same between frames at about the same time (Fu et al. 2024)."""

    head = "temporal_ot_reward"
    matching = progress.TemporalOT


class ORCA(Matched):
    """Probability that the demonstration has been followed to here in order (Huey et al. 2025)."""

    head = "orca_reward"
    matching = progress.ORCA


def principal_components(own: Array, shown: Array, number: int) -> tuple[Array, Array]:
    """Projects [T, E] and [K, M, E] to the first principal components of the latter, [T, number], [K, M, number]."""
    flat = shown.reshape(-1, shown.shape[-1])
    mean = flat.mean(axis=0)
    _, _, directions = jnp.linalg.svd(flat - jnp.broadcast_to(mean, flat.shape), full_matrices=False)

    def project(x):
        return (x - jnp.broadcast_to(mean, x.shape)) @ directions[:number].T

    return project(own), project(shown)


# The true one -------------------------------------------------------------------------------------------------------


class TrueReward(SurrogateReward):
    """The environment's reward: the oracle, what imitation could reach if it knew it."""

    head = "reward"

    def score(self, state, model, episode):
        """Returns the recorded reward."""
        del model
        return episode.reward[0], state


REWARDS: Registry[type[SurrogateReward]] = Registry(
    "surrogate reward",
    {
        "viper": Viper,
        "ot": OptimalTransport,
        "temporal_ot": TemporalOT,
        "orca": ORCA,
        "ail": Adversarial,
        "difo": DIFO,
        "true": TrueReward,
    },
    base=SurrogateReward,
)
