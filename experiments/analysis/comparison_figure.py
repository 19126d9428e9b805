"""One figure that compares methods: interquartile means, and how probable it is that one beats another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.analysis import intervals
from experiments.drawing.style import DASHED, MUTED, WIDTH, describe, method_styles, styled
from experiments.analysis.intervals import Scores


@styled
def comparison_figure(
    scores: Mapping[str, Sequence[Scores]],
    *,
    reference: str = "AIME",
    published: Mapping[str, tuple[float, float]] | None = None,
    random: float | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Left: seeds, interquartile mean and its interval in % of the expert. Right: P(reference beats the method).

    Published figures stand below ours as a grey diamond, with their standard deviation.

    Args:
      scores: {method: one `[N][E]` per task, in % of the expert}, from the top.
      reference: method that the others are compared with; without it there is no right panel.
      published: {method: (mean, std)} in % of the expert.
      random: the random policy in % of the expert, drawn as a line if it is known.
      note: small print below the figure.
    """
    if not scores:
        raise ValueError("comparison_figure got no methods; pass at least one.")
    published = published or {}
    figure = Figure(figsize=(WIDTH, 0.42 * len(scores) + 1.5), layout="constrained")
    if reference in scores and len(scores) > 1:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2.2, 1])
    else:
        left, right = figure.subplots(), None
    styles = method_styles(scores)
    for row, (method, strata) in enumerate(scores.items()):
        _draw_method(left, row, strata, published.get(method), styles[method].colour)
    for level, name in ((100.0, "expert"), (random, "random")):
        if level is not None:
            left.axvline(level, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
            place = dict(xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=7)
            left.annotate(name, (level, 1), **place)
    left.set_yticks(range(len(scores)), list(scores))
    left.set_ylim(len(scores) - 0.4, -0.6)
    left.set_xlim(left=min(0.0, left.get_xlim()[0]))
    left.set_xlabel("IQM over seeds, % of expert")
    left.grid(axis="x")
    left.grid(visible=False, axis="y")
    if right is not None:
        _draw_improvements(right, scores, reference, styles)
    _legend(left, bool(published))
    describe(figure, title, note)
    return figure


def _draw_method(
    axes, row: int, strata: Sequence[Scores], published: tuple[float, float] | None, colour: str
) -> None:
    """Seeds as faint dots, the IQM and its interval; the published figure a little below."""
    values = np.concatenate([intervals.seed_scores(scores) for scores in strata])
    interval = intervals.stratified_bootstrap_interval(strata, "iqm")
    axes.plot(values, np.full(len(values), row), "o", color=colour, alpha=0.3, markersize=3.5, zorder=2)
    bounds = [interval.low, interval.high]
    axes.plot(bounds, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
    axes.plot(intervals.interquartile_mean(values), row, "D", color=colour, markersize=5.5, zorder=4)
    if published is not None:
        mean, std = published
        below = row + 0.28
        axes.plot([mean - std, mean + std], [below, below], color=MUTED, linewidth=0.8)
        axes.plot(mean, below, "D", color="white", markeredgecolor=MUTED, markersize=4.5, zorder=3)


def _draw_improvements(axes, scores: Mapping[str, Sequence[Scores]], reference: str, styles) -> None:
    """Probability that the reference beats each method, with its interval."""
    for row, (method, strata) in enumerate(scores.items()):
        if method == reference:
            continue
        better = intervals.probability_of_improvement(scores[reference], strata)
        colour = styles[method].colour
        axes.plot([better.interval.low, better.interval.high], [row, row], color=colour, linewidth=2.2)
        axes.plot(better.probability, row, "D", color=colour, markersize=5.5)
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xlabel(f"P({reference} better)")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def _legend(axes, published: bool) -> None:
    handles = [
        Line2D([], [], color=MUTED, marker="D", linewidth=2.2, markersize=5, label="IQM, 95% interval")
    ]
    if published:
        handles.append(
            Line2D([], [], color=MUTED, marker="D", markerfacecolor="white", linewidth=0.8, markersize=4.5,
                   label="published, std over episodes")
        )  # fmt: skip
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.06), ncols=2)
