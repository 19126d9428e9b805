"""What is refused of policies that decide on several actions at once (`agents.chunks`) or by a flow (`agents.flow`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.models import architectures
from worldmodels.data.episodes import Episode


def check_decisions(config: Mapping, label: str, decides: bool) -> None:
    """Raises a ValueError of a wrong option, as `architectures.decisions`, or of one that the method cannot follow.

    Args:
      config: of experiments/configs/baseline.py.
      label, decides: as of `Baseline`.
    """
    if architectures.decisions(config) and not decides:
        raise ValueError(
            f"{label} decides on one action at a time, and by no flow; pass --config.chunk=1 --config.head=gaussian, "
            "or take the method bc, bco or mbbc."
        )


def check_lengths(config: Mapping, episodes: Sequence[Episode], num_frames: int = 1) -> None:
    """Raises a ValueError of a chunk that is longer than every episode, after the frames that a policy reads."""
    chunk, longest = config.get("chunk", 1), max(episode.num_records for episode in episodes)
    if chunk > 1 and num_frames + chunk > longest:
        raise ValueError(
            f"A chunk of {chunk} actions needs a demonstration of {num_frames + chunk} records or more, and the "
            f"longest has {longest}; pass a smaller --config.chunk, at most {max(longest - num_frames, 1)}."
        )
