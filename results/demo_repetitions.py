"""Draws what whole pipelines of the demo say, of results/demo/repetitions.csv: a dot per seed, a column per expert.

python results/demo_repetitions.py
"""

import csv
import pathlib

from matplotlib.figure import Figure

from experiments.drawing import style

HERE = pathlib.Path(__file__).parent / "demo"
METHODS = {"aime": "AIME", "bco": "BCO(0)", "bc": "BC oracle"}


@style.styled
def draw(rows: list[dict[str, str]]) -> Figure:
    """Two panels, all demonstrations and one; scores in % of the expert by expert."""
    experts = sorted(
        {row["expert"] for row in rows}, key=lambda e: float(rows_of(rows, e)[0]["expert_return"])
    )
    styles = style.method_styles(METHODS.values())
    figure = Figure(figsize=(style.WIDTH, 2.9), layout="constrained")
    for axes, suffix, title in zip(
        figure.subplots(1, 2, sharey=True), ("", "_1"), ("20 demonstrations", "1 demonstration"), strict=True
    ):
        axes.axhline(100, color=style.MUTED, linestyle=style.DASHED, linewidth=1)
        for offset, (key, name) in enumerate(METHODS.items()):
            points = [
                (x, float(row[key + suffix])) for x, e in enumerate(experts) for row in rows_of(rows, e)
            ]
            places = [x + 0.2 * (offset - 1) for x, _ in points]
            values = [value for _, value in points]
            axes.plot(places, values, styles[name].marker, color=styles[name].colour, label=name, alpha=0.85)
        returns = [float(rows_of(rows, expert)[0]["expert_return"]) for expert in experts]
        axes.set_xticks(
            range(len(experts)), [f"expert {e}\n({r:.0f})" for e, r in zip(experts, returns, strict=True)]
        )
        axes.set(title=title, ylim=(0, 110))
    figure.axes[0].set_ylabel("% of the expert")
    figure.axes[1].legend(frameon=False, loc="lower left", bbox_to_anchor=(1.0, 0.0))
    return figure


def rows_of(rows: list[dict[str, str]], expert: str) -> list[dict[str, str]]:
    """Those of one expert."""
    return [row for row in rows if row["expert"] == expert]


if __name__ == "__main__":
    with (HERE / "repetitions.csv").open() as file:
        drawn = draw(list(csv.DictReader(file)))
    style.save_figure(drawn, HERE / "repetitions")
