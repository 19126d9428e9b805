"""True return against surrogate return, an episode a dot: does a reward rank what it has not seen as the task does?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.drawing.style import WIDTH, describe, method_styles, styled


@styled
def true_against_surrogate(
    returns: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    surrogate: str,
    title: str = "",
    note: str = "",
) -> Figure:
    """A scatter plot, one colour per kind of data, with the rank correlation over all of them.

    Args:
      returns: {kind of data: (true returns [N], surrogate returns [N])}.
      surrogate: name of the surrogate reward.
      note: small print below the figure.
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
    true, scored = (np.concatenate([np.asarray(pair[i], float) for pair in returns.values()]) for i in (0, 1))
    rank = rank_correlation(true, scored)
    describe(figure, title, f"Rank correlation {rank:.2f} over {len(true)} episodes. {note}".strip())
    return figure


def rank_correlation(true: Sequence[float], scored: Sequence[float]) -> float:
    """Spearman's; NaN where one of them does not vary."""
    if len(true) < 2 or np.ptp(true) == 0 or np.ptp(scored) == 0:
        return float("nan")
    return float(stats.spearmanr(true, scored).statistic)
