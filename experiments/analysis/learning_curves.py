"""Learning curves of a report, published ones behind them, and how steady they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from experiments.analysis import published_results, tables
from experiments.analysis.intervals import seed_scores
from experiments.analysis.scores import Cell, Results
from experiments.drawing.table import Table

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

SCALES = {"return": 1.0, "success_any": 100.0}  # of the scores
CLOCKS = {"env_step": "Simulator steps", "update": "Updates"}


def curves(results: Results, task: str) -> dict[tuple[str, str], Figure]:
    """Draws the learning curves of a task, published ones behind them; returns {(clock, score): figure}."""
    from experiments.analysis.figures import Curve

    drawn: dict[tuple[str, str], dict[str, Curve]] = {}
    for cell in results.of_task(task):
        clock = "env_step" if all(_advances(run.curve.get("env_step")) for run in cell.runs) else "update"
        for score, scale in SCALES.items():
            if (curve := _merged(cell, clock, score)) is None:
                continue
            x, values = curve
            drawn.setdefault((clock, score), {})[cell.name] = Curve(x, scale * values)
    return {key: curve_figure(results, task, *key, of_methods) for key, of_methods in drawn.items()}


def curve_figure(results: Results, task: str, clock: str, score: str, of_methods: Mapping) -> Figure:
    """Draws scores against a clock; methods that have no curve by it are level lines, published curves stand behind."""
    from experiments.analysis import figures

    others = [cell for cell in results.of_task(task) if cell.name not in of_methods]
    levels, finals = dict[str, float | None](), dict[str, list[list[float]] | None]()
    if score == "return":
        experts = results.experts(task)
        names = ["Expert"] if len(experts) == 1 else [f"Expert, {value:.0f}" for value in experts]
        levels |= {**dict(zip(names, experts, strict=True)), "Random": results.random_return(task)}
        finals = {cell.name: cell.returns for cell in others}
        note = "Thin lines: seeds. Band: 95% interval of the mean (Student's t), of three seeds or more."
        y_label = "Return"
    else:
        rates = {cell.name: cell.success("any") for cell in others}
        finals = {name: rate and tables.in_percent(rate) for name, rate in rates.items()}
        note, y_label = "Thin lines: seeds.", "Episodes with success, %"
    levels |= {name: float(np.mean(seed_scores(final))) for name, final in finals.items() if final}
    online = [cell for cell in results.of_task(task) if cell.name in of_methods and clock == "env_step"]
    found = [published_results.online_curve(c.env, c.method, c.reward, c.dataset) for c in online]
    published = {curve.label: curve for curve in found if curve and curve.score == score}
    notes = dict.fromkeys([note, *map(published_results.online_caption, published.values())])
    return figures.learning_curves(
        of_methods,
        title=task,
        x_label=CLOCKS[clock],
        y_label=y_label,
        references={name: level for name, level in levels.items() if level is not None},
        behind={name: figures.Curve(c.steps, list(c.scores.values())) for name, c in published.items()},
        note="\n".join(notes),
        bands=score == "return",
    )


def steadiness_table(results: Results) -> Table | None:
    """Builds a row per method that learns in the environment: how much its score changes between evaluations.

    A method that ends high may have been there by chance; one that is steady is where its last evaluation says.
    """
    rows, numbers, several = [], [], len(results.tasks) > 1
    for cell in results.cells:
        curves_of = {score: _merged(cell, "env_step", score) for score in ("success_any", "return")}
        score, curve = next(((name, found) for name, found in curves_of.items() if found), ("", None))
        if curve is None or not all(_advances(run.curve.get("env_step")) for run in cell.runs):
            continue
        values = curve[1]
        change, best, last = steadiness(SCALES[score] * values)
        unit = "% success" if score == "success_any" else "return"
        found = [tables.rounded(value) for value in (change, best, last)]
        rows.append([*([cell.task] if several else []), cell.name, unit, *found])
        numbers.append(
            {"task": cell.task, "method": cell.name, "score": score, "change": change, "best": best}
            | {"last": last, "evaluations": values.shape[1]}
        )
    if not rows:
        return None
    headings = [*(["Task"] if several else []), "Method", "Score", "Change", "Best", "Last"]
    caption = (
        "Change: mean absolute difference of consecutive evaluations. Best, last: of the evaluations while learning. "
        "Means over seeds."
    )
    return Table(headings, rows, caption, "Steadiness while learning", numbers)


def steadiness(values: np.ndarray) -> tuple[float, float, float]:
    """Computes mean absolute change, best and last of curves [N, P], each the mean over the seeds.

    NaN, where a seed was not evaluated, is left out: its change is that between the evaluations that there are.
    """
    known = [row[~np.isnan(row)] for row in values]
    return (
        float(np.mean([np.mean(np.abs(np.diff(row))) for row in known if len(row) > 1])),
        float(np.mean([row.max() for row in known])),
        float(np.mean([row[-1] for row in known])),
    )


def _advances(clock: np.ndarray | None) -> bool:
    return clock is not None and bool(np.any(clock > 0))


def _merged(cell: Cell, clock: str, score: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns positions [P] and scores [N, P] of the seeds of all runs; NaN where a run was not evaluated."""
    found = [run.curve for run in cell.runs if {clock, score} <= run.curve.keys()]
    x = sorted({float(value) for curve in found for value in curve[clock]})
    if len(x) < 2:
        return None
    rows = []
    for curve in found:
        for seed in np.asarray(curve[score]).T:
            row = dict(zip(map(float, curve[clock]), seed, strict=True))
            rows.append([row.get(position, np.nan) for position in x])
    return np.array(x), np.array(rows)
