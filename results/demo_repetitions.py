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
    """Two panels, all demonstrations and one; scores in % of the expert by pipeline."""
    pipelines: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in sorted(
        rows, key=lambda row: (row["isa"] != "AVX512", row["isa"], float(row["expert_return"]))
    ):
        pipelines.setdefault((row["expert"], row["isa"]), []).append(row)
    styles = style.method_styles(METHODS.values())
    figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    for axes, suffix, title in zip(
        figure.subplots(2, 1, sharex=True, sharey=True),
        ("", "_1"),
        ("100 demonstrations", "1 demonstration"),
        strict=True,
    ):
        axes.axhline(100, color=style.MUTED, linestyle=style.DASHED, linewidth=1)
        for offset, (key, name) in enumerate(METHODS.items()):
            points = [
                (x + 0.2 * (offset - 1), float(row[key + suffix]))
                for x, of_pipeline in enumerate(pipelines.values())
                for row in of_pipeline
            ]
            marker, colour = styles[name].marker, styles[name].colour
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=name, alpha=0.85)
        names = [
            f"expert {expert}\n({float(of_pipeline[0]['expert_return']):.0f})"
            + (f"\n{isa}" if isa != "AVX512" else "")
            for (expert, isa), of_pipeline in pipelines.items()
        ]
        axes.set_xticks(range(len(names)), names)
        axes.set(title=title, ylim=(0, 110), ylabel="% of the expert")
    figure.axes[0].legend(frameon=False, loc="lower left", bbox_to_anchor=(1.0, 0.0))
    return figure


if __name__ == "__main__":
    with (HERE / "repetitions.csv").open() as file:
        drawn = draw(list(csv.DictReader(file)))
    style.save_figure(drawn, HERE / "repetitions")
