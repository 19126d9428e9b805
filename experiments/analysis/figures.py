"""Figures of scores: learning curves, bars against published figures, score against a setting.

Every function takes plain numbers, returns a `Figure`, and draws each seed next to the mean: an average
without its seeds hides what readers most want to know. `plot_style.save_figure` writes them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.analysis import intervals
from experiments.analysis.tables import MethodScores
from experiments.data.evaluation import by_expert
from experiments.drawing.style import (
    DASHED,
    INK,
    MUTED,
    WIDTH,
    MethodStyle,
    describe,
    label_lines,
    lighter,
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

    x: Sequence[float]
    seeds: Sequence[Sequence[float]] | np.ndarray


@dataclass(frozen=True)
class Points:
    """Scores of one method at a few settings, e.g. amounts of data.

    Attributes:
      x: [P] settings.
      seeds: `[P][N]` scores of the seeds at each setting; numbers of seeds may differ.
    """

    x: Sequence[float]
    seeds: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Bar:
    """One method in a bar chart.

    Attributes:
      label: below the bar; a line break is allowed.
      seeds: [N] scores of the seeds, drawn as dots.
      low, high: interval of the mean; None for no whisker.
      published, published_std: what the paper reports, drawn grey and hatched; None for none.
      group: bars of one group stand together above its name.
      method: decides the colour; the label if empty.
    """

    label: str
    seeds: Sequence[float]
    low: float | None = None
    high: float | None = None
    published: float | None = None
    published_std: float | None = None
    group: str = ""
    method: str = ""


@styled
def learning_curves(
    curves: Mapping[str, Curve],
    *,
    title: str = "",
    x_label: str = "Updates",
    y_label: str = PERCENT,
    references: Mapping[str, float] | None = None,
    note: str = "",
    bands: bool = True,
) -> Figure:
    """Scores during training: seeds as faint lines, their mean, and the 95% Student t band over seeds.

    Methods share one axis unless their numbers of updates differ by more than a factor of three; then each
    gets a panel with its own x axis and the common y axis.

    Args:
      curves: {method: Curve}, drawn in order.
      references: {name: level} of horizontal lines, e.g. {"Expert": 100.0, "Random": 8.6}.
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
    bounds = [b for c in curves.values() for column in np.transpose(c.seeds) for b in _interval(column)]
    panels[0].set_ylim(_limits(levels, bounds if bands else ()))
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
            label_lines(row[-1], labels, gap=0.062 if len(rows) == 1 else 0.09)
    for axes in panels[-len(rows[0]) :]:  # those with nothing below
        axes.set_xlabel(x_label)
    describe(figure, title, note)
    return figure


@styled
def comparison_bars(
    bars: Sequence[Bar], *, title: str = "", y_label: str = PERCENT, note: str = ""
) -> Figure:
    """Ours against the published figures for the same cell: a dot per seed, whiskers for intervals.

    Published bars are grey and hatched, next to ours; their whisker is a thin line.

    Args:
      bars: in order; neighbours with the same `group` stand together.
      note: small print: what whiskers are, and the source of the published figures.
    """
    if not bars:
        raise ValueError("comparison_bars got no bars; pass at least one Bar.")
    places, groups, width = _places(bars)
    figure = Figure(figsize=(max(WIDTH, 0.72 * width + 0.8), 3.6), layout="constrained")
    axes = figure.subplots()
    levels = [v for bar in bars for v in (*bar.seeds, bar.published) if v is not None]
    levels += [bar.published + bar.published_std for bar in bars if bar.published_std is not None]
    bounds = [v for bar in bars for v in (bar.low, bar.high) if v is not None]
    axes.set_ylim(_limits(levels, bounds, head_room=0.07))
    axes.set_ylabel(y_label)
    axes.axhline(100.0, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    styles = method_styles(dict.fromkeys(bar.method or bar.label for bar in bars))
    for bar, place in zip(bars, places, strict=True):
        _draw_bar(axes, bar, place, styles[bar.method or bar.label].colour)
    centres = [
        place + (0.22 if bar.published is not None else 0.0) for bar, place in zip(bars, places, strict=True)
    ]
    axes.set_xticks(centres, [bar.label for bar in bars])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, width - 0.3)
    _draw_groups(axes, groups)
    if any(bar.published is not None for bar in bars):
        ours = Patch(facecolor=lighter(MUTED), edgecolor=MUTED, label="ours, one dot per seed")
        theirs = Patch(facecolor="#efefef", edgecolor="#8c8c8c", hatch="////", label="published")
        axes.legend(handles=[ours, theirs], loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2)
    describe(figure, title, note)
    return figure


def bars_of(scores: Sequence[MethodScores], *, expert: float) -> list[Bar]:
    """Bars in % of the expert from the rows of a results table.

    Rows are grouped by their number of demonstrations where it differs; what follows a comma in a method's
    name is left out of the label then, as the group says it.

    Args:
      scores: as for `tables.results_table`.
      expert: mean return of the expert, above 0.
    """
    several = len({s.num_demonstrations for s in scores} - {None}) > 1
    bars = []
    for score in scores:
        summary = intervals.summarise(score.returns)
        low, high = (by_expert(v, expert) for v in (summary.interval.low, summary.interval.high))
        count = score.num_demonstrations
        grouped = several and count is not None
        bars.append(
            Bar(
                label=score.method.split(",")[0] if grouped else score.method,
                seeds=by_expert(summary.seed_scores, expert).tolist(),
                low=None if math.isnan(low) else float(low),
                high=None if math.isnan(high) else float(high),
                published=score.published,
                published_std=score.published_std,
                group=f"{count} demonstration{'s' * (count != 1)}" if grouped else "",
                method=score.method.split(",")[0],
            )
        )
    return bars


@styled
def score_curve(
    series: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str = PERCENT,
    title: str = "",
    log_x: bool = True,
    references: Mapping[str, float] | None = None,
    note: str = "",
) -> Figure:
    """Score against a setting (amount of data, model size, updates): seeds as dots, mean, Student t whiskers.

    Args:
      series: {method: Points}, drawn in order.
      log_x: logarithmic x axis; needs positive settings.
      references: {name: level} of horizontal lines.
      note: small print below the figure.
    """
    _refuse_empty(series, "score_curve")
    references = dict(references or {})
    figure = Figure(figsize=(0.8 * WIDTH, 3.3), layout="constrained")
    axes = figure.subplots()
    if log_x:
        axes.set_xscale("log")
    styles = method_styles(series)
    for index, (method, points) in enumerate(series.items()):
        offset = index - (len(series) - 1) / 2
        _draw_points(axes, points, styles[method], offset, log_x)
    for level in references.values():
        axes.axhline(level, color=MUTED, linewidth=1, linestyle=DASHED, zorder=1)
    levels = [v for points in series.values() for values in points.seeds for v in values]
    bounds = [b for points in series.values() for values in points.seeds for b in _interval(values)]
    axes.set_ylim(_limits([*levels, *references.values()], bounds))
    _setting_ticks(axes, sorted({float(x) for points in series.values() for x in points.x}), log_x)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    ends = [(float(np.mean(points.seeds[-1])), name, styles[name].colour) for name, points in series.items()]
    label_lines(axes, [*ends, *((level, name, MUTED) for name, level in references.items())])
    describe(figure, title, note)
    return figure


def _refuse_empty(series: Mapping, name: str) -> None:
    if not series or any(not len(s.x) or not len(s.seeds) for s in series.values()):
        raise ValueError(f"{name} needs at least one method, each with at least one point and one seed.")


def _panels(count: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure and its panels, row by row, with a common y axis; the last row may be shorter."""
    rows = 1 if count <= 4 else math.ceil(count / 3)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(WIDTH, 3.2 if rows == 1 else 2.1 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for unused in grid.flat[count:]:
        unused.remove()
    return figure, [
        list(grid.flat[start : min(start + columns, count)]) for start in range(0, count, columns)
    ]


def _limits(
    levels: Sequence[float], bounds: Sequence[float] = (), head_room: float = 0.04
) -> tuple[float, float]:
    """y limits that start at zero, or below the smallest negative value, with room above the largest.

    Args:
      levels: values that must be seen.
      bounds: ends of intervals, seen as long as they widen the axis by at most a quarter at each end: the
        interval of two seeds would flatten everything else.
      head_room: share of the height that stays free above.
    """
    levels = np.asarray(levels, np.float64)
    levels = levels[np.isfinite(levels)]
    low, high = min([0.0, *levels]), max([0.0, *levels])
    reach = 0.25 * ((high - low) or 1.0)
    seen = [low, high, *np.clip(bounds, low - reach, high + reach)]
    low, high = min(seen), max(seen)
    room = head_room * ((high - low) or 1.0)
    return low - room * (low < 0), high + room


def _last(curve: Curve) -> float:
    """The mean over seeds where the curve ends."""
    means = np.nanmean(np.asarray(curve.seeds, np.float64), axis=0)
    return float(means[np.isfinite(means)][-1])


def _interval(values: Sequence[float]) -> list[float]:
    """Bounds of the mean of the finite values, or nothing where there are fewer than two."""
    values = np.asarray(values, np.float64)
    interval = intervals.student_t_interval(values[np.isfinite(values)])
    return [] if math.isnan(interval.low) else [interval.low, interval.high]


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


def _places(bars: Sequence[Bar]) -> tuple[list[float], list[tuple[str, float, float]], float]:
    """x of each bar, (name, left, right) of each group, and the width of it all."""
    places, groups, x = [], [], 0.0
    for index, bar in enumerate(bars):
        if index and bar.group != bars[index - 1].group:
            x += 0.45
        right = x + (0.44 if bar.published is not None else 0.0)
        if groups and groups[-1][0] == bar.group and index and bars[index - 1].group == bar.group:
            groups[-1] = (bar.group, groups[-1][1], right)
        else:
            groups.append((bar.group, x, right))
        places.append(x)
        x = right + 1.0
    return places, groups, x


def _draw_bar(axes: Axes, bar: Bar, place: float, colour: str) -> None:
    """One bar with its dots and whiskers, and the published one at its right."""
    single = bar.published is None
    width = 0.52 if single else 0.44
    average = float(np.mean(bar.seeds))
    axes.bar(place, average, width, color=lighter(colour), edgecolor=colour, linewidth=1.0, zorder=2)
    tops = [average, *bar.seeds]
    if bar.low is not None and bar.high is not None:
        axes.plot([place, place], [bar.low, bar.high], color=INK, linewidth=1.1, zorder=3)
        tops.append(bar.high)
    if len(bar.seeds) > 1:
        offsets = np.linspace(-0.3, 0.3, len(bar.seeds)) * width
        axes.scatter(
            place + offsets, bar.seeds, 13, color=colour, edgecolors="white", linewidths=0.6, zorder=4
        )
    _value(axes, place, max(tops), average, "bold")
    if single:
        return
    place += 0.44
    axes.bar(
        place,
        bar.published,
        0.44,
        color="#efefef",
        edgecolor="#8c8c8c",
        hatch="////",
        linewidth=0.8,
        zorder=2,
    )
    top = bar.published
    if bar.published_std is not None:
        low, top = bar.published - bar.published_std, bar.published + bar.published_std
        axes.plot([place, place], [low, top], color=MUTED, linewidth=0.8, zorder=3)
    _value(axes, place, top, bar.published, "normal")


def _value(axes: Axes, place: float, top: float, value: float, weight: str) -> None:
    """Writes a value above everything that is drawn for a bar."""
    axes.annotate(
        f"{value:.0f}",
        (place, max(top, 0.0)),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        fontweight=weight,
        color=INK if weight == "bold" else MUTED,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        zorder=5,
    )


def _draw_groups(axes: Axes, groups: Sequence[tuple[str, float, float]]) -> None:
    """A line and a name below the labels of each named group."""
    transform = axes.get_xaxis_transform()
    for name, left, right in groups:
        if name:
            axes.plot(
                [left - 0.35, right + 0.35],
                [-0.115] * 2,
                color="#9a9a9a",
                linewidth=0.8,
                transform=transform,
                clip_on=False,
            )
            axes.text(
                (left + right) / 2,
                -0.135,
                name,
                ha="center",
                va="top",
                transform=transform,
                fontsize=8,
                color=MUTED,
            )


def _draw_points(axes: Axes, points: Points, style: MethodStyle, offset: float, log_x: bool) -> None:
    x = np.asarray(points.x, np.float64)
    span = np.log(x.max() / x.min()) if log_x else np.ptp(x)
    shift = 0.008 * offset * (span or 1.0)
    x = x * np.exp(shift) if log_x else x + shift
    means = [float(np.mean(values)) for values in points.seeds]
    for position, values in zip(x, points.seeds, strict=True):
        axes.scatter(
            [position] * len(values), values, 12, color=style.colour, alpha=0.45, linewidths=0, zorder=2
        )
        bounds = _interval(values)
        if bounds:
            axes.plot([position] * 2, bounds, color=style.colour, linewidth=1.1, zorder=3)
    axes.plot(x, means, style.line, color=style.colour, marker=style.marker, zorder=4)


def _setting_ticks(axes: Axes, settings: Sequence[float], log_x: bool) -> None:
    """Ticks at the settings themselves where there is room for them."""
    if len(settings) > 8:
        return
    axes.set_xticks(settings, [_short(x) for x in settings])
    axes.minorticks_off()
    if log_x and len(settings) > 1:
        room = (settings[-1] / settings[0]) ** 0.06
        axes.set_xlim(settings[0] / room, settings[-1] * room)


def _short(value: float) -> str:
    """70000 -> "70k", 1500000 -> "1.5M"."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}"
