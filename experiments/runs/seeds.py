"""Runs that cannot share one program, because each plays on its own: seed after seed, each a run of its own."""

from __future__ import annotations

from collections.abc import Callable

from experiments.models.loading.directory import RunDirectory


def run_seeds(directory: RunDirectory, train_seed: Callable[[RunDirectory], dict]) -> list[dict]:
    """Runs `train_seed` for the seeds seed .. seed + num_seeds - 1 in `directory/seeds/0`, `1`, ...

    Seeds that are done return what they had returned; one that was interrupted continues.

    Args:
      directory: of all; its config has `seed` and `num_seeds`.
      train_seed: run directory of one seed, with its config -> result.
    """
    results = []
    for index in range(directory.config["num_seeds"]):
        config = directory.config | {"seed": directory.config["seed"] + index, "num_seeds": 1}
        with RunDirectory(seed_path(directory, index), config) as single:
            results.append(single.result or single.mark_done(train_seed(single)))
    return results


def seed_path(directory: RunDirectory, index: int):
    """Where seed `index` runs."""
    return directory / "seeds" / str(index)
