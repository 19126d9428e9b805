"""Tables over tasks: aggregates, every cell with the published figure beside it, success by three rules."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.analysis import intervals, published_results
from experiments.analysis.aggregates import Aggregate, Normalisation, Pair
from experiments.analysis.intervals import Interval
from experiments.analysis.scores import SUCCESS_RULES
from experiments.analysis.sweep_results import Cell, Results
from experiments.analysis.tables import EM_DASH, latex, markdown
from worldmodels.files import write_atomically

_SUITE_OF_CURVES = {"metaworld": "metaworld"}  # others are of the DeepMind Control suite


@dataclass(frozen=True)
class TextTable:
    """A table as readers see it, and its numbers.

    Attributes:
      name: of its files. title: on the page. headings: [C]. cells: `[R][C]` text.
      numbers: a dict per row of the CSV, which may have more rows and columns.
      caption: what the numbers are.
    """

    name: str
    title: str
    headings: Sequence[str]
    cells: Sequence[Sequence[str]]
    numbers: Sequence[Mapping[str, object]]
    caption: str

    def write(self, folder: str | os.PathLike) -> list[Path]:
        """Writes NAME.csv, NAME.md and NAME.tex, each atomically."""
        stem = Path(folder) / self.name
        text = f"{markdown(self.headings, self.cells)}\n{self.caption}\n"
        return [
            write_atomically(stem.with_suffix(".csv"), to_csv(self.numbers)),
            write_atomically(stem.with_suffix(".md"), text),
            write_atomically(stem.with_suffix(".tex"), latex(self.headings, self.cells, self.caption)),
        ]


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """All columns that any row has; empty where a row has none."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    )
    return buffer.getvalue()


def aggregate_table(
    aggregates: Mapping[str, Aggregate], normalisation: Normalisation, results: Results
) -> TextTable:
    """A row per method: mean, median and IQM over all tasks, with their intervals."""
    names = {"mean": "Mean", "median": "Median", "iqm": "IQM"}
    headings = [
        "Method",
        *(text for name in names.values() for text in (name, "95% interval")),
        "Tasks",
        "Seeds",
    ]
    cells, numbers = [], []
    for method, found in aggregates.items():
        row, text = {"method": method}, [method]
        for name in names:
            value, interval = found.values[name], found.intervals[name]
            text += [f"{value:.1f}", between(interval)]
            row |= {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        cells.append([*text, str(found.num_tasks), str(found.num_seeds)])
        numbers.append(row | {"num_tasks": found.num_tasks, "num_seeds": found.num_seeds})
    caption = (
        f"In {normalisation.text}, each seed the mean of its episodes. Mean and median over tasks, of each task's mean "
        "over seeds; IQM over the seeds of all tasks (Agarwal et al. 2021). Intervals: stratified bootstrap over seeds "
        "within tasks, and episodes within seeds."
    )
    caption += _experts_differ(results)
    return TextTable(
        f"aggregate_{normalisation.key}",
        f"Over all tasks, {normalisation.text}",
        headings,
        cells,
        numbers,
        caption,
    )


def cell_table(results: Results, normalisation: Normalisation) -> TextTable:
    """A row per task, a column per method: mean ± half the 95% interval; published figures in columns beside ours."""
    published = {cell.name: _published(cell) for cell in results.cells}
    beside = [
        name for name, value in published.items() if value is not None and normalisation.key == "by_expert"
    ]
    columns = [(name, False) for name in results.methods]
    columns = [
        c
        for name, _ in columns
        for c in ([(name, False), (name, True)] if name in beside else [(name, False)])
    ]
    headings = ["Task", *(f"{name}, published" if theirs else name for name, theirs in columns)]
    cells, numbers = [], []
    for task in results.tasks:
        row = [task]
        for name, theirs in columns:
            cell = results.cell(task, name)
            if theirs:
                value = None if cell is None else _published(cell)
                row.append(EM_DASH if value is None else f"{value:.1f}")
                continue
            scores = None if cell is None else normalisation.of_cell(cell)
            row.append(EM_DASH if scores is None else with_interval(scores))
            if scores is not None:
                numbers.append(_numbers(cell, scores))
        cells.append(row)
    caption = (
        f"{normalisation.text[:1].upper()}{normalisation.text[1:]}: mean over seeds ± half of its 95% interval "
        "(number of seeds), Student's t up to nine seeds; with one seed over its episodes."
    )
    caption += _experts_differ(results)
    if beside:
        caption += f" {published_results.source().caption}"
    return TextTable(
        f"cells_{normalisation.key}", f"Every task, {normalisation.text}", headings, cells, numbers, caption
    )


def return_table(results: Results) -> TextTable:
    """Raw returns: a row per task, a column per method, with the random policy and the expert."""
    headings = ["Task", "Random", *results.methods, "Expert"]
    cells, numbers = [], []
    for task in results.tasks:
        random, experts = results.random_return(task), results.experts(task)
        row = [task, EM_DASH if random is None else f"{random:.1f}"]
        for name in results.methods:
            cell = results.cell(task, name)
            row.append(EM_DASH if cell is None else with_interval(cell.returns))
            if cell is not None:
                expert = results.expert_return(task)
                numbers.append(_numbers(cell, cell.returns) | {"random": random, "expert": expert})
        cells.append([*row, ", ".join(f"{expert:.1f}" for expert in experts) or EM_DASH])
    caption = "Undiscounted returns: mean over seeds ± half of its 95% interval (number of seeds)."
    caption += _experts_differ(results)
    return TextTable("returns", "Returns", headings, cells, numbers, caption)


def success_table(results: Results) -> TextTable | None:
    """Success rates in % by the three rules that papers use: a row per task and method; None where there are none."""
    cells, numbers = [], []
    for cell in results.cells:
        rates = {rule: cell.success(rule) for rule in SUCCESS_RULES}
        if all(value is None for value in rates.values()):
            continue
        percent = {
            rule: None if value is None else [(100 * np.asarray(seed)).tolist() for seed in value]
            for rule, value in rates.items()
        }
        texts = [EM_DASH if value is None else with_interval(value) for value in percent.values()]
        cells.append([cell.task, cell.name, *texts])
        means = {
            f"success_{rule}": float(intervals.seed_scores(v).mean()) for rule, v in percent.items() if v
        }
        numbers.append({"task": cell.task, "method": cell.name, **means})
    if not cells:
        return None
    rules = "; ".join(f"{rule}: {text}" for rule, text in SUCCESS_RULES.items())
    headings = ["Task", "Method", *(f"Success {rule}" for rule in SUCCESS_RULES)]
    return TextTable(
        "success", "Success rates by three rules", headings, cells, numbers, f"% of episodes. {rules}."
    )


def improvement_table(pairs: Mapping[tuple[str, str], Pair], normalisation: Normalisation) -> TextTable:
    """A row per pair of methods and direction: how often a seed of the one beats one of the other."""
    headings = ["Method", "Over", "Probability", "95% interval", "Tasks"]
    cells, numbers = [], []
    for (ours, theirs), pair in pairs.items():
        better = pair.improvement
        low, high = better.interval.low, better.interval.high
        text = [f"{better.probability:.2f}", f"{low:.2f} to {high:.2f}"]
        cells.append([ours, theirs, *text, str(pair.num_tasks)])
        row = {"method": ours, "over": theirs, "probability": better.probability, "low": low, "high": high}
        numbers.append(row | {"num_tasks": pair.num_tasks})
    caption = (
        "Probability that a seed of the method scores higher than one of the other, ties half, averaged over the tasks "
        f"that both have in {normalisation.text} (Agarwal et al. 2021). Intervals: stratified bootstrap."
    )
    return TextTable("improvement", "Probability of improvement", headings, cells, numbers, caption)


def seed_rows(results: Results, normalisations: Sequence[Normalisation]) -> list[dict[str, object]]:
    """Everything as one long table: a row per seed of every run, for the reader's own analysis."""
    rows = []
    for cell in results.cells:
        for run in cell.runs:
            for index, episodes in enumerate(run.returns):
                row = {"task": cell.task, "method": cell.method, "dataset": cell.dataset, "setup": cell.setup}
                row |= {"run": str(run.path), "seed": run.labels.get("seed", ""), "index": index}
                row |= {"episodes": len(episodes), "return": float(np.mean(episodes))}
                row["expert"] = run.expert
                for normalisation in normalisations:
                    scores = normalisation.apply(run)
                    row[normalisation.key] = None if scores is None else float(np.mean(scores[index]))
                row |= {f"success_{rule}": float(np.mean(v[index])) for rule, v in run.success.items()}
                rows.append(row | {"diverged": index in run.diverged})
    return rows


def with_interval(scores: intervals.Scores) -> str:
    """ "87.3 ± 4.1 (5)": mean, half of its 95% interval, and the number of seeds."""
    summary = intervals.summarise(scores)
    half = (summary.interval.high - summary.interval.low) / 2
    spread = "" if np.isnan(half) else f" ± {half:.1f}"
    return f"{summary.mean:.1f}{spread} ({summary.num_seeds})"


def between(interval: Interval) -> str:
    """ "81.0 to 92.4"."""
    return EM_DASH if np.isnan(interval.low) else f"{interval.low:.1f} to {interval.high:.1f}"


def published_curve(cell: Cell) -> Mapping[int, float]:
    """{simulator steps: published mean} of the method on the task, raw; empty where nothing was published."""
    suite = _SUITE_OF_CURVES.get(cell.env.partition("-")[0], "dmc")
    task = cell.env.removeprefix("metaworld-")
    try:
        curve = published_results.online_curve(
            suite, task, cell.method, cell.dataset if suite == "metaworld" else ""
        )
    except ValueError:
        return {}
    return {step: point.mean for step, point in curve.items()}


def _experts_differ(results: Results) -> str:
    """Names the tasks whose runs were shown different experts, for captions."""
    tasks = [task for task in results.tasks if len(results.experts(task)) > 1]
    return (
        f" Runs of {', '.join(tasks)} have different experts; each is measured by its own." if tasks else ""
    )


def _published(cell: Cell) -> float | None:
    """What AIME (NeurIPS 2023) reports for this cell, in % of the expert."""
    found = published_results.cells_of(cell.env, cell.dataset, cell.setup).get(cell.method)
    return None if found is None else found.mean


def _numbers(cell: Cell, scores: intervals.Scores) -> dict[str, object]:
    summary = intervals.summarise(scores)
    return {
        "task": cell.task,
        "method": cell.name,
        "mean": summary.mean,
        "median": summary.median,
        "iqm": summary.iqm,
        "low": summary.interval.low,
        "high": summary.interval.high,
        "interval": summary.interval.kind,
        "num_seeds": summary.num_seeds,
        "num_episodes": summary.num_episodes,
        "published": _published(cell),
    }
