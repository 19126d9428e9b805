"""Surrogate rewards: how well what an agent saw agrees with the demonstrations, in place of a reward that nobody gives.

A world model learns a head that predicts the reward, and the policy seeks it in imagination (`aime/online.py`). One
interface, `SurrogateReward`; a new reward is a class and a line in `REWARDS`. reward[t] scores observation[t], the
frame that prev_action[t] produced, as a true reward would.

    viper   likelihood of the frame under a model of the demonstrations alone      Escontrela et al. 2023; AIME-v2
    ot      share of the frame in the transport of the episode to a demonstration  Haldar et al. 2022; AIME-NoB
    ail     logit of a discriminator that learns beside the policy                 Ho & Ermon 2016; AIME-NoB
    true    the environment's own reward: an oracle to compare with
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from agents.discriminator import Discriminator, adversarial_reward, discriminator_loss
from agents.optimal_transport import EPSILON, NUM_ITERATIONS, best_transport_rewards
from worldmodels.losses import per_step_evidence
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics, TrainState, make_optimizer, make_update
from worldmodels.world_model import WorldModel


@dataclasses.dataclass(frozen=True)
class RewardInputs:
    """What a reward may be made of.

    Attributes:
      demonstrations: whole episodes, [K, M]; short ones are padded with their last record.
      demonstration_weights: [K, M] 1 / length within an episode, 0 in its padding.
      embed_size: E, of the world model's embedding.
      likelihood_model: action-free world model of the demonstrations, or None.
      sizes: {sensor: d, or (y, x) of images} of what the episodes that are scored have.
      likelihood_sizes: the same of what the likelihood model reads and predicts.
    """

    demonstrations: SequenceBatch
    demonstration_weights: Array
    embed_size: int
    likelihood_model: WorldModel | None = None
    sizes: Mapping[str, int | Sequence[int]] = dataclasses.field(default_factory=dict)
    likelihood_sizes: Mapping[str, int | Sequence[int]] = dataclasses.field(default_factory=dict)


class SurrogateReward:
    """What every reward has.

    Attributes:
      head: name of the decoder that learns it, and of the record that keeps it beside the sensors.
      stored: True: `score` computes it once, when an episode ends, and it is kept with the episode; pretraining data
        have none, and are masked. False: `relabel` computes it anew for the whole batch of every model update.
      sensors: what `score` looks at beside the sensors that the world model reads.
    """

    head: str
    stored: bool = True
    sensors: tuple[str, ...] = ()

    @classmethod
    def create(cls, inputs: RewardInputs, **options) -> SurrogateReward:
        """The reward for a run."""
        raise NotImplementedError

    def initial_state(self, key: Array):
        """What the reward remembers or learns; a pytree, part of the checkpoint."""
        del key
        return ()

    def score(self, state, model: WorldModel, episode: SequenceBatch) -> tuple[Array, object]:
        """Rewards [T] of a whole episode, [1, T], and the next state."""
        raise NotImplementedError

    def relabel(
        self, state, model: WorldModel, batch: SequenceBatch, demonstration: SequenceBatch
    ) -> tuple[object, SequenceBatch, Metrics]:
        """The batch with its rewards, before it trains the model; inside jit. Stored rewards leave it as it is."""
        del model, demonstration
        return state, batch, {}


# VIPER --------------------------------------------------------------------------------------------------------------


def symlog(x: Array) -> Array:
    """sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def viper_reward(likelihood_model: WorldModel, batch: SequenceBatch, *, use_symlog: bool = True) -> Array:
    """[B, T] symlog(log p(o_t | s_t) - KL_t) along the deterministic posterior; 0 at the first record of an episode.

    The first frame warms the state up; nothing was done to earn it (AIME-v2). o_t are the sensors and, as published,
    whether the episode has terminated. The true reward is no part of it, even if the likelihood model predicts it:
    imitation is not told.
    """
    evidence = per_step_evidence(likelihood_model, batch.replace(reward=None))
    reward = symlog(evidence) if use_symlog else evidence
    return reward * (1.0 - batch.is_first)


class Viper(SurrogateReward):
    """Likelihood under an action-free world model of the demonstrations, which stays as it is."""

    head = "viper_reward"

    def __init__(self, likelihood_model: WorldModel, sensors: Sequence[str] = (), *, use_symlog: bool = True):
        self._model, self.sensors = likelihood_model, tuple(sensors)
        self._reward = jax.jit(lambda model, batch: viper_reward(model, batch, use_symlog=use_symlog)[0])

    @classmethod
    def create(cls, inputs: RewardInputs, **options) -> Viper:
        """Needs a likelihood model of the sensors that the episodes have; one that is not there would not be scored."""
        model = inputs.likelihood_model
        if model is None:
            raise ValueError(
                "The reward 'viper' needs a model of the demonstrations: pretrain one with "
                "experiments/configs/pretrain.py:viper and pass --config.reward.model=DIR."
            )
        if model.action_size:
            raise ValueError(
                f"The reward model takes actions of size {model.action_size}, but demonstrations have none; "
                "pretrain it with action_free=True."
            )
        used = [name for name in dict.fromkeys((*model.inputs, *model.targets)) if name != TrueReward.head]
        known = {name: inputs.likelihood_sizes[name] for name in used if name in inputs.likelihood_sizes}
        missing = [name for name in known if name not in inputs.sizes]
        if missing:
            raise ValueError(
                f"The reward model knows {', '.join(missing)}, which this run does not have; it has "
                f"{', '.join(sorted(inputs.sizes))}. Train it in the set-up of this run."
            )
        for name, size in known.items():
            if not np.array_equal(size, inputs.sizes[name]):
                raise ValueError(
                    f"The reward model was built for {name} of size {_size(size)}, this run has "
                    f"{_size(inputs.sizes[name])}. Train it on the demonstrations of this run."
                )
        return cls(model, tuple(known), **options)

    def score(self, state, model, episode):
        """See `viper_reward`; does not depend on the world model."""
        del model
        return self._reward(self._model, episode), state


def _size(size: int | Sequence[int]) -> str:
    return "x".join(map(str, np.ravel(size)))


# Optimal transport --------------------------------------------------------------------------------------------------


@struct.dataclass
class TransportState:
    """[] factor of the rewards; 0 until the first episode has set it."""

    scale: Array


class OptimalTransport(SurrogateReward):
    """Minus the cost of moving each frame to the demonstration that the whole episode is closest to.

    Cosine costs between the world model's embeddings as they are when the episode ends.

    Args:
      mean_reward: the first episode sets the scale so that |mean reward| is this.
      num_components: embeddings are projected to so many principal components of the demonstrations'; None: not.
      epsilon, num_iterations: of Sinkhorn.
    """

    head = "ot_reward"

    def __init__(
        self,
        inputs: RewardInputs,
        *,
        mean_reward: float = 4.0,
        num_components: int | None = None,
        epsilon: float = EPSILON,
        num_iterations: int = NUM_ITERATIONS,
    ):
        self._demonstrations = inputs.demonstrations.observation, inputs.demonstration_weights

        def score(scale, model, episode, demonstrations):
            observation, weights = demonstrations
            own, shown = model.encode(episode.observation)[0], model.encode(observation)
            if num_components is not None:
                own, shown = principal_components(own, shown, num_components)
            options = dict(epsilon=epsilon, num_iterations=num_iterations)
            reward, _ = best_transport_rewards(own, shown, column_weights=weights, **options)
            first = mean_reward / jnp.maximum(jnp.abs(reward.mean()), 1e-12)
            scale = jnp.where(scale > 0, scale, first)
            return scale * reward, scale

        self._score = jax.jit(score)

    @classmethod
    def create(cls, inputs: RewardInputs, **options) -> OptimalTransport:
        """Keeps the demonstrations."""
        return cls(inputs, **options)

    def initial_state(self, key):
        """No scale yet."""
        del key
        return TransportState(jnp.zeros(()))

    def score(self, state, model, episode):
        """See the class."""
        reward, scale = self._score(state.scale, model, episode, self._demonstrations)
        return reward, TransportState(scale)


def principal_components(own: Array, shown: Array, number: int) -> tuple[Array, Array]:
    """[T, E] and [K, M, E] projected to the first principal components of the latter."""
    flat = shown.reshape(-1, shown.shape[-1])
    mean = flat.mean(axis=0)
    _, _, directions = jnp.linalg.svd(flat - jnp.broadcast_to(mean, flat.shape), full_matrices=False)

    def project(x):
        return (x - jnp.broadcast_to(mean, x.shape)) @ directions[:number].T

    return project(own), project(shown)


# Adversarial --------------------------------------------------------------------------------------------------------


class Adversarial(SurrogateReward):
    """Logit of a discriminator between embeddings of demonstrations and of the model's batches.

    One discriminator update before every model update; then the whole batch, pretraining data included, is rewarded
    by the discriminator as it is now. The embeddings are stopped: the discriminator does not shape the model.

    Args:
      embed_size: E.
      hidden_size, hidden_layers: of the discriminator.
      learning_rate, grad_clip: of its Adam.
      penalty_scale: weight of the gradient penalty.
    """

    head = "ail_reward"
    stored = False

    def __init__(
        self,
        embed_size: int,
        *,
        hidden_size: int = 1024,
        hidden_layers: int = 3,
        learning_rate: float = 1e-4,
        grad_clip: float = 100.0,
        penalty_scale: float = 10.0,
    ):
        self._sizes = dict(in_size=embed_size, hidden_size=hidden_size, hidden_layers=hidden_layers)
        self._optimizer: optax.GradientTransformation = make_optimizer(learning_rate, grad_clip)

        def loss(discriminator, demonstrated, own, key):
            return discriminator_loss(discriminator, demonstrated, own, key, penalty_scale=penalty_scale)

        self._update = make_update(loss, self._optimizer)

    @classmethod
    def create(cls, inputs: RewardInputs, **options) -> Adversarial:
        """For the embeddings of the run's world model."""
        return cls(inputs.embed_size, **options)

    def initial_state(self, key):
        """TrainState of a fresh discriminator."""
        init_key, key = jax.random.split(key)
        return TrainState.create(Discriminator(**self._sizes, rngs=nnx.Rngs(init_key)), self._optimizer, key)

    def score(self, state, model, episode):
        """What the discriminator says now, for reports."""
        return adversarial_reward(state.model(model.encode(episode.observation)[0])), state

    def relabel(self, state, model, batch, demonstration):
        """See the class."""
        own, shown = (jax.lax.stop_gradient(model.encode(x.observation)) for x in (batch, demonstration))
        state, metrics = self._update(state, *(x.reshape(-1, x.shape[-1]) for x in (shown, own)))
        reward = adversarial_reward(state.model(own))
        return state, batch.replace(observation=batch.observation | {self.head: reward[..., None]}), metrics


# The true one -------------------------------------------------------------------------------------------------------


class TrueReward(SurrogateReward):
    """The environment's reward, recorded anyway: what imitation could reach if it were told."""

    head = "reward"

    @classmethod
    def create(cls, inputs: RewardInputs, **options) -> TrueReward:
        """Needs nothing."""
        del inputs
        return cls(**options)

    def score(self, state, model, episode):
        """The recorded reward."""
        del model
        return episode.reward[0], state


REWARDS: Mapping[str, type[SurrogateReward]] = {
    "viper": Viper,
    "ot": OptimalTransport,
    "ail": Adversarial,
    "true": TrueReward,
}


def reward_class(name: str) -> type[SurrogateReward]:
    """The class registered as `name`; raises a ValueError that lists the known ones."""
    if name not in REWARDS:
        raise ValueError(f"Unknown surrogate reward {name!r}. Known: {', '.join(REWARDS)}, none.")
    return REWARDS[name]


def make_reward(name: str, inputs: RewardInputs, **options) -> SurrogateReward:
    """The reward registered as `name`."""
    return reward_class(name).create(inputs, **options)
