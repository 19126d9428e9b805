"""Figures over tasks: aggregates with their intervals, performance profiles, probabilities of improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.drawing.style import DASHED, MUTED, WIDTH, describe, label_lines, method_styles, styled
from experiments.analysis.intervals import Improvement
from experiments.analysis.aggregates import Aggregate

_TITLES = {"iqm": "IQM", "median": "Median", "mean": "Mean"}


@styled
def aggregate_intervals(
    aggregates: Mapping[str, Aggregate], *, x_label: str, title: str = "", note: str = ""
) -> Figure:
    """A panel per statistic, a row per method: the value, and its 95% interval as a bar.

    Args:
      aggregates: {method: Aggregate}, first at the top.
    """
    if not aggregates:
        raise ValueError("aggregate_intervals got no methods; pass at least one.")
    names = list(aggregates)
    figure = Figure(figsize=(WIDTH, 0.28 * len(names) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(_TITLES), sharey=True, sharex=True)
    styles = method_styles(names)
    for axes, (statistic, heading) in zip(panels, _TITLES.items(), strict=True):
        axes.set_title(heading, fontsize=8.5)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        for row, name in enumerate(names):
            value, interval = aggregates[name].values[statistic], aggregates[name].intervals[statistic]
            colour = styles[name].colour
            axes.barh(
                row,
                interval.high - interval.low,
                0.55,
                left=interval.low,
                color=colour,
                alpha=0.35,
                linewidth=0,
            )
            axes.plot([value, value], [row - 0.3, row + 0.3], color=colour, linewidth=2)
        axes.set_xlabel(x_label)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    describe(figure, title, note)
    return figure


@styled
def performance_profiles(
    profiles: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    thresholds: np.ndarray,
    *,
    x_label: str,
    title: str = "",
    note: str = "",
) -> Figure:
    """Share of seeds with a score above a threshold, against the threshold; higher is better everywhere.

    Args:
      profiles: {method: (share, low, high)}, [K] each, of `sweep_statistics.performance_profile`.
      thresholds: [K].
    """
    if not profiles:
        raise ValueError("performance_profiles got no methods; pass at least one.")
    figure = Figure(figsize=(0.85 * WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    styles = method_styles(profiles)
    for name, (share, low, high) in profiles.items():
        colour = styles[name].colour
        axes.fill_between(thresholds, low, high, color=colour, alpha=0.12, linewidth=0, step="post")
        axes.step(thresholds, share, styles[name].line, where="post", color=colour, zorder=3)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.set_xlabel(x_label)
    axes.set_ylabel("Share of seeds above")
    middle = len(thresholds) // 2
    label_lines(
        axes, [(float(s[-1] + 1e-3 * s[middle]), n, styles[n].colour) for n, (s, _, _) in profiles.items()]
    )
    describe(figure, title, note)
    return figure


@styled
def improvement_intervals(
    improvements: Mapping[tuple[str, str], Improvement], *, title: str = "", note: str = ""
) -> Figure:
    """Probability that a seed of the left method beats one of the right, a row per pair, with its 95% interval."""
    if not improvements:
        raise ValueError("improvement_intervals got no pairs; pass at least two methods.")
    figure = Figure(figsize=(0.85 * WIDTH, 0.26 * len(improvements) + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=DASHED)
    styles = method_styles(dict.fromkeys(ours for ours, _ in improvements))
    for row, ((ours, _), value) in enumerate(improvements.items()):
        colour, interval = styles[ours].colour, value.interval
        axes.barh(
            row, interval.high - interval.low, 0.55, left=interval.low, color=colour, alpha=0.35, linewidth=0
        )
        axes.plot([value.probability] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2)
    axes.set_yticks(range(len(improvements)), [f"{ours}  over  {theirs}" for ours, theirs in improvements])
    axes.set_ylim(len(improvements) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Probability of improvement")
    describe(figure, title, note)
    return figure


def thresholds_for(scores: Sequence[float], count: int = 201) -> np.ndarray:
    """[K] thresholds from zero, or the lowest score, to a little above the highest."""
    low, high = min(0.0, *scores), max(*scores, 1.0)
    return np.linspace(low, high + 0.02 * (high - low), count)
