"""Figures of scores: learning curves, score against a setting, true against surrogate returns.

Every function takes plain numbers and returns a `Figure` with each seed next to the mean: an average alone
hides how much seeds differ. `drawing.style.save_figure` writes them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from experiments.analysis import intervals
from experiments.drawing.style import (
    DASHED,
    LINES,
    MUTED,
    WIDTH,
    MethodStyle,
    describe,
    label_lines,
    method_styles,
    styled,
)

PERCENT = "Return, % of expert"
# Methods whose numbers of updates differ by more than this factor get panels of their own.
_SHARE_AXIS_UP_TO = 3.0


@dataclass(frozen=True)
class Curve:
    """Scores of one method during training.

    Attributes:
      x: [P] positions, e.g. updates.
      seeds: [N, P] score of each seed; NaN where a seed was not evaluated.
    """

    x: intervals.Numbers
    seeds: Sequence[Sequence[float]] | np.ndarray


@dataclass(frozen=True)
class Points:
    """Scores of one method at a few settings, e.g. amounts of data.

    Attributes:
      x: [P] settings.
      seeds: `[P][N]` scores of the seeds at each setting; numbers of seeds may differ.
    """

    x: intervals.Numbers
    seeds: Sequence[Sequence[float]]


@styled
def learning_curves(
    curves: Mapping[str, Curve],
    *,
    title: str = "",
    x_label: str = "Updates",
    y_label: str = PERCENT,
    references: Mapping[str, float] | None = None,
    behind: Mapping[str, Curve] | None = None,
    note: str = "",
    bands: bool = True,
) -> Figure:
    """Draws scores during training: seeds as faint lines, their mean, and the 95% Student t band over seeds.

    Methods share one axis unless their numbers of updates differ by more than a factor of three; then each
    gets a panel with its own x axis and the common y axis.

    Args:
      curves: {method: Curve}, drawn in order.
      references: {name: level} of horizontal lines, e.g. {"Expert": 100.0, "Random": 8.6}.
      behind: {name: Curve} of others, in grey up to where ours end: mean and range of their seeds.
      note: small print below the figure.
      bands: False for shares of successes, which no t band fits: it leaves 0 to 100%.
    """
    _refuse_empty(curves, "learning_curves")
    references = dict(references or {})
    ends = [max(curve.x) for curve in curves.values()]
    separate = max(ends) > _SHARE_AXIS_UP_TO * min(ends)
    figure, rows = _panels(len(curves) if separate else 1)
    panels = [axes for row in rows for axes in row]
    styles = method_styles(curves)
    for index, (method, curve) in enumerate(curves.items()):
        axes = panels[index if separate else 0]
        _draw_curve(axes, curve, styles[method], crowded=len(curves) > 3 and not separate, band=bands)
        if separate:
            axes.set_title(method, color=styles[method].colour, fontsize=8.5)
    levels = [*references.values(), *(v for c in curves.values() for v in np.ravel(c.seeds))]
    seen = {
        axes: _draw_behind(axes, behind or {}, end)
        for axes, end in zip(panels, ends if separate else [max(ends)], strict=True)
    }
    levels += [v for theirs in seen.values() for c in theirs.values() for v in np.ravel(c.seeds)]
    bounds = [b for c in curves.values() for column in np.transpose(c.seeds) for b in _interval(column)]
    panels[0].set_ylim(limits(levels, bounds if bands else ()))
    for axes in panels:
        axes.margins(x=0.025)
        for level in references.values():
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    labels = [(level, name, MUTED) for name, level in references.items()]
    if not separate:
        labels += [(_last(c), method, styles[method].colour) for method, c in curves.items()]
    for row in rows:
        row[0].set_ylabel(y_label)
        if len(row) == len(rows[0]):  # a shorter row has no margin to write in
            theirs = [(_last(c), name, MUTED) for name, c in seen[row[-1]].items()]
            label_lines(row[-1], labels + theirs, gap=0.062 if len(rows) == 1 else 0.09)
    for axes in panels[-len(rows[0]) :]:  # those with nothing below
        axes.set_xlabel(x_label)
    describe(figure, title, note)
    return figure


@styled
def score_curve(
    series: Mapping[str, Points],
    *,
    x_label: str,
    title: str = "",
) -> Figure:
    """Draws scores against a positive setting (data, model size, updates).

    Seeds are dots; their mean has the whiskers of Student's t where there are three or more.

    Args:
      series: {method: Points}, drawn in order.
    """
    _refuse_empty(series, "score_curve")
    figure = Figure(figsize=(0.8 * WIDTH, 3.3), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    styles = method_styles(series)
    for index, (method, points) in enumerate(series.items()):
        _draw_points(axes, points, styles[method], index - (len(series) - 1) / 2)
    levels = [v for points in series.values() for values in points.seeds for v in values]
    bounds = [b for points in series.values() for values in points.seeds for b in _interval(values)]
    axes.set_ylim(limits(levels, bounds))
    _setting_ticks(axes, sorted({float(x) for points in series.values() for x in points.x}))
    axes.set_xlabel(x_label)
    axes.set_ylabel(PERCENT)
    ends = [(float(np.mean(points.seeds[-1])), name, styles[name].colour) for name, points in series.items()]
    label_lines(axes, ends)
    describe(figure, title)
    return figure


@styled
def true_against_surrogate(
    returns: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    surrogate: str,
    title: str = "",
) -> Figure:
    """Draws a scatter plot, one colour per kind of data, with the rank correlation over all of them.

    Args:
      returns: {kind of data: (true returns [N], surrogate returns [N])}.
      surrogate: name of the surrogate reward.
    """
    if not returns:
        raise ValueError("true_against_surrogate got no returns; pass at least one kind of data.")
    figure = Figure(figsize=(WIDTH * 0.62, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, style in method_styles(returns).items():
        true, scored = returns[name]
        axes.scatter(
            true, scored, s=14, color=style.colour, alpha=0.7, linewidth=0, label=f"{name} ({len(true)})"
        )
    axes.set_xlabel("True return")
    axes.set_ylabel(f"Return by {surrogate}")
    axes.margins(0.06)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    of_all = [np.concatenate([np.asarray(pair[i], float) for pair in returns.values()]) for i in (0, 1)]
    rank = rank_correlation(of_all[0], of_all[1])
    describe(figure, title, f"Rank correlation {rank:.2f} over {len(of_all[0])} episodes.")
    return figure


def rank_correlation(true: intervals.Numbers, scored: intervals.Numbers) -> float:
    """Computes Spearman's rank correlation; NaN where one of them does not vary."""
    if len(true) < 2 or np.ptp(true) == 0 or np.ptp(scored) == 0:
        return float("nan")
    return float(stats.spearmanr(true, scored).statistic)


def _refuse_empty(series: Mapping, name: str) -> None:
    if not series or any(not len(s.x) or not len(s.seeds) for s in series.values()):
        raise ValueError(f"{name} needs at least one method, each with at least one point and one seed.")


def _panels(count: int) -> tuple[Figure, list[list[Axes]]]:
    """Makes a figure and its panels, row by row, with a common y axis; the last row may be shorter."""
    rows = 1 if count <= 4 else math.ceil(count / 3)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(WIDTH, 3.2 if rows == 1 else 2.1 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for unused in grid.flat[count:]:
        unused.remove()
    return figure, [
        list(grid.flat[start : min(start + columns, count)]) for start in range(0, count, columns)
    ]


def limits(levels: intervals.Numbers, bounds: Sequence[float] = ()) -> tuple[float, float]:
    """Returns limits of an axis that start at zero, or below the smallest negative value, with room above the largest.

    Args:
      levels: values that must be seen.
      bounds: ends of intervals, seen as long as they widen the axis by at most a quarter at each end: the
        interval of two seeds would flatten everything else.
    """
    levels = np.asarray(levels, np.float64)
    levels = levels[np.isfinite(levels)]
    low, high = min([0.0, *levels]), max([0.0, *levels])
    reach = 0.25 * ((high - low) or 1.0)
    seen = [low, high, *np.clip(bounds, low - reach, high + reach)]
    low, high = min(seen), max(seen)
    room = 0.04 * ((high - low) or 1.0)
    return low - room * (low < 0), high + room


def _last(curve: Curve) -> float:
    """Returns the mean over seeds where the curve ends."""
    means = np.nanmean(np.asarray(curve.seeds, np.float64), axis=0)
    return float(means[np.isfinite(means)][-1])


def _interval(values: intervals.Numbers) -> list[float]:
    """Returns bounds of the mean of the finite values, or nothing where there are fewer than three.

    That of two fills the figure and says nothing.
    """
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if len(finite) < 3:
        return []
    interval = intervals.student_t_interval(finite)
    return [interval.low, interval.high]


def _draw_curve(axes: Axes, curve: Curve, style: MethodStyle, crowded: bool, band: bool) -> None:
    x, seeds = np.asarray(curve.x, np.float64), np.asarray(curve.seeds, np.float64)
    order = np.argsort(x)
    x, seeds = x[order], seeds[:, order]
    for seed in seeds:
        axes.plot(x, seed, color=style.colour, linewidth=0.8, alpha=0.3 if crowded else 0.45, zorder=2)
    if band:
        bounds = np.array([_interval(column) or [np.nan, np.nan] for column in seeds.T])
        alpha = 0.07 if crowded else 0.13
        axes.fill_between(x, bounds[:, 0], bounds[:, 1], color=style.colour, alpha=alpha, linewidth=0)
    marker = style.marker if len(x) <= 12 else ""
    axes.plot(x, np.nanmean(seeds, axis=0), style.line, color=style.colour, marker=marker, zorder=3)


def _draw_behind(axes: Axes, curves: Mapping[str, Curve], end: float) -> dict[str, Curve]:
    """Draws curves in grey up to `end`, between two of their points too; returns what is seen of them."""
    seen = {}
    for index, (name, curve) in enumerate(curves.items()):
        x = np.asarray(curve.x, np.float64)
        last = min(end, x[-1])
        x = np.append(x[x < last], last)
        seeds = np.array([np.interp(x, curve.x, seed) for seed in curve.seeds])
        axes.fill_between(x, seeds.min(0), seeds.max(0), color=MUTED, alpha=0.12, linewidth=0, zorder=1)
        axes.plot(x, seeds.mean(0), LINES[index % len(LINES)], color=MUTED, linewidth=1.3, zorder=1)
        seen[name] = Curve(x, seeds)
    return seen


def _draw_points(axes: Axes, points: Points, style: MethodStyle, offset: float) -> None:
    x = np.asarray(points.x, np.float64)
    x = x * np.exp(0.008 * offset * (np.log(x.max() / x.min()) or 1.0))
    means = [float(np.mean(values)) for values in points.seeds]
    for position, values in zip(x, points.seeds, strict=True):
        axes.scatter(
            [position] * len(values), values, 16, color=style.colour, alpha=0.6, linewidths=0, zorder=2
        )
        bounds = _interval(values)
        if bounds:
            axes.plot([position] * 2, bounds, color=style.colour, linewidth=1.1, zorder=3)
    axes.plot(x, means, style.line, color=style.colour, marker=style.marker, zorder=4)


def _setting_ticks(axes: Axes, settings: Sequence[float]) -> None:
    """Puts ticks at the settings themselves where there is room for them."""
    if len(settings) > 8:
        return
    axes.set_xticks(settings, [_short(x) for x in settings])
    axes.minorticks_off()
    if len(settings) > 1:
        room = (settings[-1] / settings[0]) ** 0.06
        axes.set_xlim(settings[0] / room, settings[-1] * room)


def _short(value: float) -> str:
    """Shortens 70000 to "70k" and 1500000 to "1.5M"."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}"
