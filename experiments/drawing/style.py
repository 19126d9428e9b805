"""One look for all figures: colours that colour-blind readers can distinguish, small print that stays legible.

Figures are `matplotlib.figure.Figure` objects without pyplot: no global state, no display, nothing to close.
"""

import collections
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodels.files import write_atomically

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")

WIDTH = 6.75  # inches: a full text width.
INK = "#222222"
MUTED = "#6b6b6b"
GRID = "#e4e4e4"
DASHED = (0, (4, 3))

# Okabe and Ito, "Color universal design" (2008), without yellow, which is too light for lines on white.
_CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a5195")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
# The same method looks the same in every figure; a longer name belongs to the longest prefix in this list.
_METHODS: dict[str, int | str] = {
    "AIME": 0,
    "BCO": 1,
    "BC": 2,
    "MBBC": 3,
    "AIME-v2": 4,
    "AIME-v2 (AIL)": 5,
    "AIME-v2 (OT)": 6,
    "AIME-v2, no reward": 3,
    "AIME-NoB": 4,
    "AIME-NoB (AIL)": 5,
    "AIME-NoB (OT)": 6,
    "IIDM": 5,
    "Random": "#8c8c8c",
    "Expert": "#333333",
}
_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9a9a9a",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.7,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class MethodStyle:
    """Colour, marker and label of a method."""

    colour: str
    marker: str
    line: str


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """Chooses a style for each method: known methods keep their colour in every figure.

    "AIME" and "AIME, 1 demonstration" share a colour and differ by line and marker; unknown methods take the
    colours that are left.
    """
    names = {method: _known_name(method) for method in methods}
    taken = {_METHODS[name] for name in names.values() if name}
    left = itertools.cycle([c for index, c in enumerate(_CYCLE) if index not in taken] or _CYCLE)
    styles: dict[str, MethodStyle] = {}
    uses: collections.Counter[str] = collections.Counter()
    for index, (method, name) in enumerate(names.items()):
        chosen = _METHODS[name] if name else next(left)
        colour = _CYCLE[chosen] if isinstance(chosen, int) else chosen
        line = LINES[uses[colour] % len(LINES)]
        styles[method] = MethodStyle(colour, _MARKERS[index % len(_MARKERS)], line)
        uses[colour] += 1
    return styles


# `rc_context` does not put the backend back, and a notebook would show no more figures.
_SETTINGS = matplotlib.RcParams(
    {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"} | _RC
)


def styled(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Decorates a function that draws, so that it uses this style whatever the caller's settings are."""

    @functools.wraps(draw)
    def inside(*args: Given.args, **kwargs: Given.kwargs) -> Drawn:
        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return inside


@styled
def save_figure(figure: Figure, stem: str | os.PathLike) -> list[Path]:
    """Writes `stem.png` and `stem.pdf` atomically; the same figure gives the same bytes.

    Args:
      figure: from one of the functions of `experiments.analysis.figures`.
      stem: path without suffix; its folder is made.

    Returns:
      The paths, in this order.
    """
    stem, paths = Path(stem), []
    for suffix, left_out in (("png", "Software"), ("pdf", "CreationDate")):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata={left_out: None}, bbox_inches="tight", pad_inches=0.08)
        paths.append(write_atomically(stem.with_name(f"{stem.name}.{suffix}"), buffer.getvalue()))
    return paths


def label_lines(axes: Axes, labels: Sequence[tuple[float, str, str]], *, gap: float = 0.062) -> None:
    """Writes names to the right of the axes at the height of their lines, moved apart where they would touch.

    Args:
      axes: with its final y limits.
      labels: (y in data units, text, colour).
      gap: smallest distance between two labels, as a share of the height of the axes.
    """
    low, high = axes.get_ylim()
    wanted = np.array([(y - low) / (high - low) for y, _, _ in labels])
    for height, target, (_, text, colour) in zip(spread(wanted, gap), wanted, labels, strict=True):
        axes.annotate(
            text,
            xy=(1.0, np.clip(target, 0, 1)),
            xytext=(1.035, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=8,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0.0, 0.5),  # the line ends where the text begins
            },
        )


def lighter(colour: str, share: float) -> tuple[float, float, float]:
    """Mixes a colour with white: an opaque fill through which no grid line shows."""
    red, green, blue = (1 - (1 - channel) * (1 - share) for channel in matplotlib.colors.to_rgb(colour))
    return red, green, blue


def describe(figure: Figure, title: str = "", note: str = "") -> None:
    """Puts a title above and small print below a figure, both left-aligned; empty text is left out."""
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=7, color=MUTED, linespacing=1.35)


def spread(positions: np.ndarray, gap: float) -> np.ndarray:
    """Moves positions [n] apart to distances of at least `gap`, in order and by as little as is simple."""
    order = np.argsort(positions, kind="stable")
    groups = [(float(positions[index]), 1) for index in order]  # (centre, members)
    merged = True
    while merged:
        merged = False
        for index in range(len(groups) - 1):
            (first, m), (second, n) = groups[index], groups[index + 1]
            if second - first < gap * (m + n) / 2 - 1e-12:
                groups[index : index + 2] = [((first * m + second * n) / (m + n), m + n)]
                merged = True
                break
    placed = [centre + gap * (i - (m - 1) / 2) for centre, m in groups for i in range(m)]
    result = np.empty(len(placed))
    result[order] = placed
    return result


def _known_name(method: str) -> str | None:
    matches = [name for name in _METHODS if method.lower().startswith(name.lower())]
    return max(matches, key=len, default=None)
