"""The evidence of sequences under a world model, record by record."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.drawing.style import INK, WIDTH, describe, lighter, styled

_BAND = "#0072b2"
_COLUMNS = 3


@styled
def evidence(
    log_prob: Mapping[str, np.ndarray],
    kl: np.ndarray,
    *,
    example: int = 0,
    seconds_per_step: float | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """The evidence lower bound and what it is made of: median and 80% of all windows, and one window.

    Args:
      log_prob: {target: [N, T]} log p(o_t | s_t) in nats.
      kl: [N, T] KL(q || p) in nats.
      example: the window that is drawn as a line of its own.
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
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(WIDTH, 1.9 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, min(_COLUMNS, len(panels)), sharex=True, squeeze=False)
    time = np.arange(kl.shape[1]) * (seconds_per_step or 1.0)
    for axes, (name, values) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, time, values, example)
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


def _draw(axes: Axes, time: np.ndarray, values: np.ndarray, example: int) -> None:
    with np.errstate(invalid="ignore"):  # a model that diverges gives infinities
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    axes.fill_between(
        time, low, high, color=lighter(_BAND, 0.7), linewidth=0, label=f"80% of {len(values)} windows"
    )
    axes.plot(time, middle, color=_BAND, label="median")
    axes.plot(time, values[example], color=INK, linewidth=0.9, label="one window")
    axes.tick_params(labelsize=7, pad=2)
    axes.locator_params(axis="y", nbins=5)
    axes.set_xlim(time[0], time[-1])
