"""What a reader of a report must know about its runs: other experts, seeds that are there twice, tasks left out."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.analysis.aggregates import Normalisation
from experiments.analysis.scores import RunScores
from experiments.analysis.sweep_results import Results


def notes(results: Results, normalisations: Sequence[Normalisation]) -> list[str]:
    """A sentence for everything of the kind; none for runs that belong together.

    Args:
      normalisations: those that the report shows.
    """
    found = [different_experts(results, task) for task in results.tasks]
    found += repeated_seeds(results)
    for normalisation in normalisations:
        found += left_out(results, normalisation)
    return [text for text in found if text]


def different_experts(results: Results, task: str) -> str:
    """Says that the runs of a task were shown different experts; "" if they were not."""
    experts = results.experts(task)
    if len(experts) < 2:
        return ""
    listed = ", ".join(f"{value:.1f}" for value in experts)
    return (
        f"{task}: the runs have different experts (returns {listed}), and each is measured by its own; one that "
        "records none is not normalised."
    )


def repeated_seeds(results: Results) -> list[str]:
    """Says which seeds of a task and method come from several directories, all of which count."""
    directories: dict[tuple, list[str]] = {}
    for cell in results.cells:
        for run in cell.runs:
            for seed in _seeds(run):
                directories.setdefault((cell.task, cell.name, seed), []).append(str(run.path))
    texts: dict[tuple, list[int]] = {}
    for (task, name, seed), paths in directories.items():
        if len(paths) > 1:
            texts.setdefault((task, name, tuple(paths)), []).append(seed)
    return [
        f"{task}, {name}: seed {', '.join(map(str, seeds))} comes from {len(paths)} directories, which all count: "
        f"{', '.join(paths)}. Report them apart if they are not the same experiment."
        for (task, name, paths), seeds in texts.items()
    ]


def left_out(results: Results, normalisation: Normalisation) -> list[str]:
    """Says which tasks, or which runs of them, are not in the aggregates of a normalisation, and why."""
    texts = []
    for task in results.tasks:
        runs = [run for cell in results.of_task(task) for run in cell.runs]
        reasons = [normalisation.why_not(run) for run in runs]
        for reason in dict.fromkeys(filter(None, reasons)):
            count = reasons.count(reason)
            who = "" if count == len(runs) else f" {count} of {len(runs)} runs:"
            texts.append(f"{task}:{who} not in the aggregates in {normalisation.text}, because {reason}.")
    return texts


def _seeds(run: RunScores) -> list[int]:
    """Numbers of its seeds: the first one and those that follow; none where it is unknown."""
    first = run.labels.get("seed", "")
    return [int(first) + index for index in range(len(run.returns))] if first.isdigit() else []
