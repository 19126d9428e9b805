"""What a world model foresees from actions alone, against what happened, and the evidence that it gives sequences."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.drawing.style import DASHED, INK, MUTED, WIDTH, describe, lighter, styled

_MODEL = "#0072b2"
_BASELINE = "#d55e00"
_CONTEXT = "#f1f1f1"
_MAX_PANELS = 12


@styled
def open_loop(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    context: int,
    names: Sequence[str],
    seconds_per_step: float | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draws truth and prediction of the first dimensions in one window; the growth of the error over all of both.

    Args:
      truth: [N, T, D] observations of N windows.
      prediction: [N, T, D] decoded means: with observations up to record `context - 1`, then from actions.
      context: number of records the model was shown, 1 to T - 1.
      names: [D] of the dimensions.
      seconds_per_step: labels the time axis in seconds; None labels it in steps.
      note: small print below the figure.

    Raises:
      ValueError: shapes that do not match, or a context outside of the window.
    """
    truth, prediction = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    _check(truth, prediction, context, len(names))
    shown = range(min(len(names), _MAX_PANELS))
    time = (np.arange(truth.shape[1]) - (context - 1)) * (seconds_per_step or 1.0)
    rows = math.ceil(len(shown) / 4)
    figure = Figure(figsize=(WIDTH, 1.15 * rows + 2.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.15 * rows + 0.3, 1.9]).flat
    panels = upper.subplots(rows, min(4, len(shown)), sharex=True, squeeze=False)
    for axes, index in zip(panels.flat, shown, strict=False):
        _draw_dimension(axes, time, truth[0, :, index], prediction[0, :, index], context)
        axes.set_title(names[index], fontsize=8, fontweight="normal", pad=3)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    _legend(upper, panels.flat[0])
    _draw_error(lower.subplots(), time, truth, prediction, None, context)
    lower.axes[0].set_xlabel("Seconds" if seconds_per_step else "Steps", labelpad=2)
    describe(figure, title, note)
    return figure


@styled
def error_growth(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    context: int,
    seconds_per_step: float | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draws how the error of predicted images grows, where there are too many dimensions to draw each.

    Args:
      truth, prediction: [N, T, ...] as for `open_loop`; the error is divided by the std of all pixels around their mean
        image, so that 1 is the error of that image.
      context, seconds_per_step, title, note: as for `open_loop`.
    """
    truth, prediction = (
        np.asarray(values, np.float32).reshape(*np.shape(values)[:2], -1) for values in (truth, prediction)
    )
    _check(truth, prediction, context, truth.shape[-1])
    scale = float(np.sqrt(truth.var(axis=(0, 1)).mean())) or 1.0
    time = (np.arange(truth.shape[1]) - (context - 1)) * (seconds_per_step or 1.0)
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    _draw_error(axes, time, truth, prediction, scale, context)
    axes.set_xlabel("Seconds" if seconds_per_step else "Steps", labelpad=2)
    describe(figure, title, note)
    return figure


@styled
def evidence(
    log_prob: Mapping[str, ArrayLike],
    kl: ArrayLike,
    *,
    seconds_per_step: float | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draws the evidence lower bound and its parts: median and 80% of all windows, and the first one.

    Args:
      log_prob: {target: [N, T]} log p(o_t | s_t) in nats.
      kl: [N, T] KL(q || p) in nats.
      seconds_per_step: labels the time axis in seconds; None labels it in steps.
      title, note: above and below.
    """
    parts = {name: np.asarray(values) for name, values in log_prob.items()}
    kl = np.asarray(kl)
    shapes = {values.shape for values in (*parts.values(), kl)}
    if len(shapes) != 1 or kl.ndim != 2:
        raise ValueError(f"evidence needs arrays [N, T] of one shape, got {sorted(map(list, shapes))}.")
    panels = {"ELBO": sum(parts.values()) - kl, "KL(posterior ‖ prior)": kl}
    panels |= {f"log p({name} | state)": values for name, values in parts.items()}
    rows = math.ceil(len(panels) / 3)
    figure = Figure(figsize=(WIDTH, 1.9 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, min(3, len(panels)), sharex=True, squeeze=False)
    time = np.arange(kl.shape[1]) * (seconds_per_step or 1.0)
    for axes, (name, values) in zip(grid.flat, panels.items(), strict=False):
        _draw_evidence(axes, time, values)
        axes.set_title(name, fontsize=8.5)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("Seconds" if seconds_per_step else "Steps", labelpad=2)
    for axes in grid[:, 0]:
        axes.set_ylabel("Nats per record")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, borderaxespad=0.1)
    describe(figure, title, note)
    return figure


def horizon_error(
    truth: np.ndarray, prediction: np.ndarray, scale: float | np.ndarray | None = None
) -> np.ndarray:
    """Computes the root mean square error over dimensions, each divided by its scale.

    Args:
      truth, prediction: [N, T, D].
      scale: of all, or [D]; by default the std of `truth` per dimension, so that 1 is the error of a constant guess.

    Returns:
      [N, T].
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if scale is None:
        spread = truth.std(axis=(0, 1))
        scale = np.where(spread > 0, spread, 1.0)
    return np.sqrt(np.mean(((prediction - truth) / scale) ** 2, axis=-1))


def _check(truth: np.ndarray, prediction: np.ndarray, context: int, num_names: int) -> None:
    if truth.ndim != 3 or truth.shape != prediction.shape or num_names != truth.shape[-1]:
        raise ValueError(
            f"open_loop needs truth and prediction [N, T, D] and D names, got {list(truth.shape)}, "
            f"{list(prediction.shape)} and {num_names} names."
        )
    if not 1 <= context < truth.shape[1]:
        raise ValueError(f"open_loop needs a context from 1 to {truth.shape[1] - 1}, got {context}.")


def _draw_dimension(
    axes: Axes, time: np.ndarray, truth: np.ndarray, prediction: np.ndarray, context: int
) -> None:
    _shade_context(axes, time, context)
    axes.plot(time, truth, color=INK, linewidth=1.1, label="what happened")
    axes.plot(time, prediction, color=_MODEL, linewidth=1.3, linestyle=(0, (3, 1.2)), label="world model")
    axes.grid(visible=False)
    axes.tick_params(labelsize=7, pad=2)
    axes.locator_params(axis="y", nbins=4)


def _shade_context(axes: Axes, time: np.ndarray, context: int) -> None:
    axes.set_xlim(time[0], time[-1])
    axes.axvspan(time[0], time[context - 1], color=_CONTEXT, linewidth=0, zorder=0)
    axes.axvline(time[context - 1], color=MUTED, linewidth=0.8, linestyle=DASHED, zorder=1)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, handlelength=2.4, borderaxespad=0.1)


def _draw_error(
    axes: Axes,
    time: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    scale: float | None,
    context: int,
) -> None:
    """Draws the error over all windows, median and middle 80%, and that of the guess that nothing moves any more."""
    error = horizon_error(truth, prediction, scale)
    still = np.broadcast_to(truth[:, context - 1 : context], truth.shape)
    still_error = np.median(horizon_error(truth, still, scale), axis=0)
    with np.errstate(invalid="ignore"):  # a model that diverges predicts infinities
        low, middle, high = np.quantile(error, [0.1, 0.5, 0.9], axis=0)
    _shade_context(axes, time, context)
    axes.fill_between(time, low, high, color=_MODEL, alpha=0.15, linewidth=0)
    axes.plot(time, middle, color=_MODEL, label=f"world model, median and 80% of {len(truth)} windows")
    future = slice(context - 1, None)
    axes.plot(
        time[future],
        still_error[future],
        color=_BASELINE,
        linewidth=1.3,
        linestyle="--",
        label="last seen record",
    )
    drawn = np.concatenate([high, still_error[future]])
    axes.set_ylim(0, 1.2 * max(drawn[np.isfinite(drawn)], default=1.0) or 1.0)
    axes.set_ylabel("Error / std of data")
    axes.set_title("How the error grows", fontsize=8.5, pad=6)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1)
    for x, text, side in ((0.0, "shown ", "right"), (0.0, " open loop", "left")):
        axes.text(
            x, 0.97, text, ha=side, va="top", fontsize=7, color=MUTED, transform=axes.get_xaxis_transform()
        )


def _draw_evidence(axes: Axes, time: np.ndarray, values: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):  # a model that diverges gives infinities
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    axes.fill_between(
        time, low, high, color=lighter(_MODEL, 0.7), linewidth=0, label=f"80% of {len(values)} windows"
    )
    axes.plot(time, middle, color=_MODEL, label="median")
    axes.plot(time, values[0], color=INK, linewidth=0.9, label="one window")
    axes.tick_params(labelsize=7, pad=2)
    axes.locator_params(axis="y", nbins=5)
    axes.set_xlim(time[0], time[-1])
