"""Writes what AIME-v2 reaches on six Meta-World tasks from state, by whole pipeline: table, curves, figure.

    python results/metaworld6_state.py SWEEP [SWEEP...]

Reads finished runs of the suite metaworld6-state, with different pipelines in different roots if need be, and writes
`results/metaworld6-state/{success.md, evaluations.csv, curves.png}`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.analysis import published_results
from experiments.analysis.scores import Cell, read_results
from experiments.drawing import style
from experiments.drawing.table import Table, to_csv
from experiments.runs.scripts import run_script
from worldmodels.files import write_atomically

OUT = Path(__file__).parent / "metaworld6-state"
Cells = Mapping[str, Mapping[str, Mapping[int, float]]]  # {task: {method: {pipeline: % success at the end}}}


def pipeline_of(path: Path) -> int:
    """Returns the seed of a run, which is that of its data, world model and policies."""
    return int(path.name.removeprefix("seed_"))


def percent_of(cells: Sequence[Cell]) -> Cells:
    """Success at any step of the final episodes."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        for run in cell.runs:
            found[cell.task][cell.method][pipeline_of(run.path)] = 100 * float(np.mean(run.success["any"]))
    return found


def table(percent: Cells) -> Table:
    """Builds a row per task: mean over the pipelines, and each of them."""
    methods = list(dict.fromkeys(method for of_task in percent.values() for method in of_task))
    rows, numbers = [], []
    for task, of_methods in percent.items():
        cells = [in_words(of_methods.get(method, {})) for method in methods]
        rows.append([task, *cells])
        numbers += [
            {"task": task, "method": method, "pipeline": pipeline, "success_any": value}
            for method, of_pipelines in of_methods.items()
            for pipeline, value in of_pipelines.items()
        ]
    means = [f"{np.mean(all_of):.0f}" if (all_of := complete(percent, method)) else "–" for method in methods]
    rows.append(["mean of tasks", *means])
    caption = "Success at any step, % of the final episodes: mean (pipelines in their order)."
    return Table(["Task", *methods], rows, caption, "Success", numbers)


def in_words(of_pipelines: Mapping[int, float]) -> str:
    """Writes "92 (96, 100, 80)"."""
    if not of_pipelines:
        return "–"
    values = [of_pipelines[key] for key in sorted(of_pipelines)]
    return f"{np.mean(values):.0f} ({', '.join(f'{value:.0f}' for value in values)})"


def complete(percent: Cells, method: str) -> list[float]:
    """Returns the mean of every task, if the method was run on all of them."""
    means = [np.mean(list(of[method].values())) for of in percent.values() if of.get(method)]
    return list(map(float, means)) if len(means) == len(percent) else []


@style.styled
def draw(cells: Sequence[Cell]) -> Figure:
    """A panel per task: a line per pipeline, the published curve in grey behind them."""
    figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    styles = style.method_styles(list(dict.fromkeys(cell.method for cell in cells)))
    for axes, task in zip(panels, dict.fromkeys(cell.task for cell in cells), strict=False):
        end = 0
        for cell in (cell for cell in cells if cell.task == task):
            look = styles[cell.method]
            for run in cell.runs:
                if "env_step" in run.curve:
                    steps, success = run.curve["env_step"], 100 * run.curve["success_any"][:, 0]
                    axes.plot(steps, success, look.line, marker=look.marker, color=look.colour, alpha=0.8)
                    end = max(end, int(steps[-1]))
        theirs = published_results.online_curve(f"metaworld-{task}", "AIME-NoB (AIL)", "ail", "mt39")
        if theirs is not None:
            mean = np.mean(list(theirs.scores.values()), axis=0)
            axes.plot(theirs.steps, mean, color=style.MUTED, linestyle=style.DASHED, linewidth=1.2)
        axes.set(title=task, xlim=(0, end), ylim=(-3, 103))
    for axes in panels[::3]:
        axes.set_ylabel("Success, %")
    for axes in panels[3:]:
        axes.set_xlabel("Simulator steps")
        axes.set_xticks([0, 10_000, 20_000], ["0", "10,000", "20,000"])
    note = "Lines: AIME-NoB (AIL) from state, whole pipelines. Dashes: as published, from images, mean of five seeds."
    figure.supxlabel(note, fontsize=8, color=style.MUTED)
    return figure


def main(sweep: str, *others: str) -> None:
    """Reads the sweeps, and writes table, curves and figure."""
    cells = read_results([Path(sweep), *map(Path, others)]).cells
    found = table(percent_of(cells))
    OUT.mkdir(exist_ok=True)
    found.write(OUT / "success")
    (OUT / "success.tex").unlink(missing_ok=True)
    print(found.markdown())
    rows = [
        {"task": cell.task, "method": cell.method, "pipeline": pipeline_of(run.path), "env_step": int(step)}
        | {"success_any": round(100 * float(success), 1), "return": round(float(earned), 1)}
        for cell in cells
        for run in cell.runs
        if "env_step" in run.curve
        for step, success, earned in zip(
            run.curve["env_step"], run.curve["success_any"][:, 0], run.curve["return"][:, 0], strict=True
        )
    ]
    write_atomically(OUT / "evaluations.csv", to_csv(rows))
    drawn = draw([cell for cell in cells if cell.method == "AIME-NoB (AIL)"])
    style.save_figure(drawn, OUT / "curves")
    (OUT / "curves.pdf").unlink(missing_ok=True)


if __name__ == "__main__":
    run_script(main, __doc__)
