"""Figures with a row per method: aggregates over tasks, methods on one task, probabilities; performance profiles."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.analysis import intervals
from experiments.analysis.aggregates import Aggregate
from experiments.analysis.figures import limits
from experiments.analysis.intervals import Improvement, Interval, Scores
from experiments.analysis.labels import AIME
from experiments.drawing.style import DASHED, MUTED, WIDTH, describe, label_lines, method_styles, styled

_TITLES = {"iqm": "IQM", "median": "Median", "mean": "Mean"}


@styled
def aggregate_intervals(aggregates: Mapping[str, Aggregate], *, x_label: str, note: str = "") -> Figure:
    """Draws a panel per statistic with a row per method: the value, and its 95% interval as a bar.

    Args:
      aggregates: {method: Aggregate}, first at the top.
    """
    if not aggregates:
        raise ValueError("aggregate_intervals got no methods; pass at least one.")
    figure = Figure(figsize=(WIDTH, 0.28 * len(aggregates) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(_TITLES), sharey=True, sharex=True)
    styles = method_styles(aggregates)
    for axes, (statistic, heading) in zip(panels, _TITLES.items(), strict=True):
        axes.set_title(heading, fontsize=8.5)
        for row, (name, found) in enumerate(aggregates.items()):
            _draw_bar(axes, row, found.values[statistic], found.intervals[statistic], styles[name].colour)
        axes.set_xlabel(x_label)
        _name_rows(axes, list(aggregates))
    describe(figure, note=note)
    return figure


@styled
def performance_profiles(
    profiles: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    thresholds: np.ndarray,
    *,
    x_label: str,
) -> Figure:
    """Draws the share of seeds with a score above a threshold, against the threshold; higher is better.

    Args:
      profiles: {method: (share, low, high)}, [K] each, of `aggregates.performance_profile`.
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
    return figure


@styled
def improvement_intervals(improvements: Mapping[tuple[str, str], Improvement]) -> Figure:
    """Draws the probability that a seed of the left method beats one of the right, a row per pair."""
    if not improvements:
        raise ValueError("improvement_intervals got no pairs; pass at least two methods.")
    figure = Figure(figsize=(0.85 * WIDTH, 0.26 * len(improvements) + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=DASHED)
    styles = method_styles(dict.fromkeys(ours for ours, _ in improvements))
    for row, ((ours, _), value) in enumerate(improvements.items()):
        _draw_bar(axes, row, value.probability, value.interval, styles[ours].colour)
    _name_rows(axes, [f"{ours}  over  {theirs}" for ours, theirs in improvements])
    axes.set_xlim(0, 1)
    axes.set_xlabel("Probability of improvement")
    return figure


def thresholds_for(scores: Sequence[float]) -> np.ndarray:
    """Returns [K] thresholds from zero, or the lowest score, to a little above the highest."""
    low, high = min(0.0, *scores), max(*scores, 1.0)
    return np.linspace(low, high + 0.02 * (high - low), 201)


@styled
def comparison_figure(
    scores: Mapping[str, Scores],
    *,
    published: Mapping[str, tuple[float, float]] | None = None,
    random: float | None = None,
    unit: str = "% of expert",
    note: str = "",
) -> Figure:
    """Draws the methods of one task: means and seeds, by default in % of the expert; at the right P(AIME is better).

    Published figures stand below ours as a grey diamond, with their standard deviation. Without AIME, or with single
    seeds, there is no right panel.

    Args:
      scores: {method: `[N][E]` in `unit`}, from the top.
      published: {method: (mean, std)} in `unit`.
      random: the random policy in `unit`, drawn as a line if it is known.
      note: small print below the figure.
    """
    if not scores:
        raise ValueError("comparison_figure got no methods; pass at least one.")
    published = published or {}
    figure = Figure(figsize=(WIDTH, 0.42 * len(scores) + 1.5), layout="constrained")
    better = intervals.improvements(scores, AIME)
    if better:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2.2, 1])
    else:
        left, right = figure.subplots(), None
    styles = method_styles(scores)
    for row, (method, of_method) in enumerate(scores.items()):
        _draw_method(left, row, of_method, published.get(method), styles[method].colour)
    for level, name in ((100.0, "expert"), (random, "random")):
        if level is not None:
            left.axvline(level, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
            place = dict(xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=7)
            left.annotate(name, (level, 1), **place)
    _name_rows(left, list(scores))
    seeds = [value for of in scores.values() for value in intervals.seed_scores(of)]
    found = map(intervals.confidence_interval, scores.values())
    ends = [end for interval in found for end in (interval.low, interval.high)]
    ends += [end for mean, std in published.values() for end in (mean - std, mean + std)]
    left.set_xlim(limits([*seeds, 100.0, *([] if random is None else [random])], ends))
    left.set_xlabel(f"Mean over seeds, {unit}")
    if right is not None:
        _draw_improvements(right, list(scores), better, styles)
    _legend(left, bool(published))
    describe(figure, note=note)
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names the rows from the top and leaves vertical grid lines only."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _draw_bar(axes: Axes, row: int, value: float, interval: Interval, colour: str) -> None:
    """Draws an interval as a bar, with a line at the value."""
    width = interval.high - interval.low
    axes.barh(row, width, 0.55, left=interval.low, color=colour, alpha=0.35, linewidth=0)
    axes.plot([value, value], [row - 0.3, row + 0.3], color=colour, linewidth=2)


def _draw_method(
    axes: Axes, row: int, scores: Scores, published: tuple[float, float] | None, colour: str
) -> None:
    """Draws seeds as faint dots, the mean and its interval as in the table; the published figure a little below."""
    values = intervals.seed_scores(scores)
    interval = intervals.confidence_interval(scores)
    axes.plot(values, np.full(len(values), row), "o", color=colour, alpha=0.3, markersize=3.5, zorder=2)
    bounds = [interval.low, interval.high]
    axes.plot(bounds, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
    axes.plot(np.mean(values), row, "D", color=colour, markersize=5.5, zorder=4)
    if published is not None:
        mean, std = published
        below = row + 0.28
        axes.plot([mean - std, mean + std], [below, below], color=MUTED, linewidth=0.8)
        axes.plot(mean, below, "D", color="white", markeredgecolor=MUTED, markersize=4.5, zorder=3)


def _draw_improvements(
    axes: Axes, methods: Sequence[str], better: Mapping[str, intervals.Improvement], styles
) -> None:
    """Draws the probability that AIME beats each method, with its interval, in the row of the method."""
    for method, found in better.items():
        row, colour = methods.index(method), styles[method].colour
        axes.plot([found.interval.low, found.interval.high], [row, row], color=colour, linewidth=2.2)
        axes.plot(found.probability, row, "D", color=colour, markersize=5.5)
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xlabel(f"P({AIME} better)")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _legend(axes: Axes, published: bool) -> None:
    diamond = functools.partial(Line2D, [], [], color=MUTED, marker="D")
    handles = [diamond(linewidth=2.2, markersize=5, label="mean, 95% interval")]
    if published:
        text = "published, std over episodes"
        handles.append(diamond(markerfacecolor="white", linewidth=0.8, markersize=4.5, label=text))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.06), ncols=2)
