"""The interface of surrogate rewards, with which `aime/online.py` trains; `aime/rewards.py` has the project's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from worldmodels.encoders import FrameEncoder
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel


@dataclasses.dataclass(frozen=True)
class RewardInputs:
    """Data and models that a reward may use.

    Attributes:
      demonstrations: whole episodes, [K, M]; short ones are padded with their last record.
      demonstration_weights: [K, M] float32, 1 / length within an episode, 0 in its padding.
      embed_size: E, of the world model's embedding.
      likelihood_model: action-free world model of the demonstrations, or None.
      sizes: {sensor: d, or (y, x) of images} of the episodes that are scored.
      likelihood_sizes: {sensor: d, or (y, x)} that the likelihood model reads and predicts.
      encoder: of frames, in the place of the world model's, or None.
      encoder_sizes: {sensor: d, or (y, x)} that it reads.
    """

    demonstrations: SequenceBatch
    demonstration_weights: Array
    embed_size: int
    likelihood_model: WorldModel | None = None
    sizes: Mapping[str, int | Sequence[int]] = dataclasses.field(default_factory=dict)
    likelihood_sizes: Mapping[str, int | Sequence[int]] = dataclasses.field(default_factory=dict)
    encoder: FrameEncoder | None = None
    encoder_sizes: Mapping[str, int | Sequence[int]] = dataclasses.field(default_factory=dict)


class SurrogateReward:
    """The interface of a reward; the constructor takes `RewardInputs`, and options as keywords.

    Attributes:
      head: name of the decoder that learns it, and of the record that keeps it with the sensors.
      stored: True: `score` computes it once, when an episode ends, and it is kept with the episode; pretraining data
        have none and are masked. False: `relabel` computes it anew for the whole batch of every online update.
      sensors: sensors that `score` reads and the world model does not.
    """

    head: str
    stored: bool = True
    sensors: tuple[str, ...] = ()

    def __init__(self, inputs: RewardInputs):
        del inputs

    def initial_state(self, key: Array):
        """Returns what the reward remembers or learns; a pytree, part of the checkpoint."""
        del key
        return ()

    def score(self, state, model: WorldModel, episode: SequenceBatch) -> tuple[Array, object]:
        """Returns the rewards [T] of a whole episode, [1, T], and the next state."""
        raise NotImplementedError

    def relabel(
        self, state, model: WorldModel, batch: SequenceBatch, demonstration: SequenceBatch
    ) -> tuple[object, SequenceBatch, Metrics]:
        """Returns the next state, the batch with its rewards before it trains the model, and metrics; inside jit.

        Called unless rewards are `stored`.

        Args:
          batch: [B, T] of pretraining data and own episodes.
          demonstration: [B, T] without actions; windows of its own, drawn uniformly as those of `batch` are.
        """
        raise NotImplementedError
