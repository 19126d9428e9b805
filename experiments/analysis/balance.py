"""What steers the policy of an online run, for its page: parts of the gradient, reward, imagined and realised returns.

From the rows that `online` writes: `train/policy/*` of every round, `analysis/*` of every evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.analysis import page as pages
from experiments.analysis.scores import Results
from experiments.drawing.style import DASHED, MUTED, WIDTH, describe, save_figure, styled
from experiments.runs.metrics import read_rows

DROWNED = 0.05  # of the step; a part with less is said to be drowned
MAX_RUNS = 6
_COLOURS = {"evidence": "#0072b2", "value": "#d55e00", "entropy": "#009e73"}
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_THIRDS = ("start", "middle", "end")
Rows = Sequence[Mapping]


def sections(results: Results, folder: Path) -> list[pages.Section]:
    """Draws the balance of the first online runs into `folder`; returns a picture and sentences for each."""
    found: list[pages.Section] = []
    for cell in results.cells:
        for run in cell.runs:
            evaluations = read_rows(run.path / "eval.jsonl")
            if not any("analysis/evidence_grad_norm" in row for row in evaluations):
                continue
            rows = [row for row in read_rows(run.path / "metrics.jsonl") if "train/policy/value_share" in row]
            number, title = len(found), f"What steers {cell.name} on {cell.task}"
            figure = balance_figure(rows, evaluations, title=run.path.name)
            path = save_figure(figure, folder / f"balance_{number}")[0]
            text = " ".join(sentences(rows, evaluations))
            found.append(pages.MediaSection(title, path, alt=title, caption=text))
            if len(found) == MAX_RUNS:
                return found
    return found


def sentences(rows: Rows, evaluations: Rows) -> list[str]:
    """Says in the second half of a run which parts of the gradient are drowned, and what imagination promises."""
    found = []
    norms = {part: _late(evaluations, f"analysis/{part}_grad_norm") or 0.0 for part in _COLOURS}
    total = sum(norms.values())
    shares = {"entropy": norms["entropy"] / total} if total else {}
    value = _late(rows, "train/policy/value_share")
    if value is not None:  # what the step has made of the norms, by clipping
        shares |= {"value": value, "evidence": 1.0 - value}
    for part, share in shares.items():
        if share < DROWNED:
            found.append(f"The {part} is drowned: {100 * share:.1f} % of the step.")
    clipped = _late(rows, "train/policy/clipped")
    if clipped is not None:
        found.append(f"{100 * clipped:.0f} % of the updates were clipped.")
    imagined, realised = (_late(evaluations, f"analysis/{name}_return") for name in ("imagined", "realised"))
    if imagined is not None and realised is not None:
        found.append(f"The policy imagines a surrogate return of {imagined:.2g} and earns {realised:.2g}.")
    return found


@styled
def balance_figure(rows: Rows, evaluations: Rows, *, title: str = "") -> Figure:
    """Draws four panels: norms of the parts, their shares, the reward along episodes, imagined and realised returns.

    Args:
      rows: of metrics.jsonl. evaluations: of eval.jsonl.
    """
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    norms, shares, reward, returns = figure.subplots(2, 2).flat
    train = {part: (rows, f"train/policy/{part}_grad_norm") for part in ("evidence", "value")}
    _lines(norms, "Norm of the gradient", train | {"entropy": (evaluations, "analysis/entropy_grad_norm")})
    norms.set_yscale("log")
    of_step = {"value": (rows, "train/policy/value_share"), "clipped": (rows, "train/policy/clipped")}
    _lines(shares, "Share of the step", of_step | {"cosine": (rows, "train/policy/evidence_value_cosine")})
    shares.axhline(DROWNED, color=MUTED, linewidth=1, linestyle=DASHED)
    along = {f"shown, {third}": (evaluations, f"analysis/reward_demonstration_{third}") for third in _THIRDS}
    along |= {f"own, {third}": (evaluations, f"analysis/reward_own_{third}") for third in _THIRDS}
    _lines(reward, "Surrogate reward along episodes", along)
    names = {"imagined": "imagined_return", "realised": "realised_return", "critic": "critic_mean"}
    _lines(returns, "Surrogate return", {n: (evaluations, f"analysis/{key}") for n, key in names.items()})
    for axes in (reward, returns):
        axes.set_xlabel("Simulator steps")
    describe(figure, title, "Norms before clipping; the value's share after it. Dashed: drowned below.")
    return figure


def _lines(axes: Axes, title: str, series: Mapping[str, tuple[Rows, str]]) -> None:
    """Draws lines with their names at their ends; those without values are left out."""
    taken = {_COLOURS[name] for name in series if name in _COLOURS}  # each part has its colour in every panel
    palette = [colour for colour in _PALETTE if colour not in taken]
    axes.set_title(title, fontsize=8.5)
    for number, (name, (rows, key)) in enumerate(series.items()):
        points = [(row["env_step"], value) for row in rows if (value := _value(row, key)) is not None]
        if points:
            colour = _COLOURS.get(name, palette[number])
            # With dots, for a single evaluation makes no line.
            axes.plot(*zip(*points, strict=True), "o-", color=colour, linewidth=1.3, markersize=3, label=name)
    if axes.lines:
        axes.legend(fontsize=7, ncols=2)
    axes.margins(x=0.025)


def _late(rows: Rows, key: str) -> float | None:
    """Averages the second half of a series; None without values."""
    values = [value for row in rows if (value := _value(row, key)) is not None]
    return float(np.mean(values[len(values) // 2 :])) if values else None


def _value(row: Mapping, key: str) -> float | None:
    """Returns a number, of several members their mean; None where it is not known."""
    value = row.get(key)
    values = [v for v in (value if isinstance(value, list) else [value]) if v is not None]
    return float(np.mean(values)) if values else None
