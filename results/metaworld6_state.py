"""Writes what AIME-v2 reaches on six Meta-World tasks from state, by whole pipeline: table, curves, figure.

    python results/metaworld6_state.py SWEEP [SWEEP...]

Reads finished runs of the suite metaworld6-state, and writes `results/metaworld6-state/{success.csv, success.md,
evaluations.csv, curves.png}`. Pipelines that are in the tables already stay, unless the sweeps have them too.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.analysis import published_results
from experiments.analysis.scores import Cell, RunScores, read_results
from experiments.drawing import style
from experiments.drawing.table import Table, to_csv
from experiments.runs.scripts import run_script
from worldmodels.files import write_atomically

OUT = Path(__file__).parent / "metaworld6-state"
LEARNS = "AIME-NoB (AIL)"  # what the figure shows
Rows = Sequence[
    Mapping[str, object]
]  # with task, method and pipeline, the seed of data, world model and policies


def final_score(run: RunScores) -> Iterator[dict]:
    """Yields success at any step, % of the final episodes."""
    yield {"success_any": round(100 * float(np.mean(run.success["any"])), 1)}


def evaluations(run: RunScores) -> Iterator[dict]:
    """Yields what every evaluation of an online run has found."""
    if "env_step" in run.curve:
        columns = run.curve["env_step"], run.curve["success_any"][:, 0], run.curve["return"][:, 0]
        for step, success, earned in zip(*columns, strict=True):
            found = round(100 * float(success), 1), round(float(earned), 1)
            yield {"env_step": int(step), "success_any": found[0], "return": found[1]}


def joined(path: Path, cells: Sequence[Cell], rows_of: Callable[[RunScores], Iterator[dict]]) -> list[dict]:
    """Rows of the table at `path` with those of the cells, which replace theirs; sorted, and written there."""
    kept: dict[tuple, list[dict]] = defaultdict(list)
    for row in csv.DictReader(path.open()) if path.is_file() else []:
        numbers = {name: float(value) for name, value in row.items() if name not in ("task", "method")}
        numbers |= {name: int(numbers[name]) for name in ("pipeline", "env_step") if name in numbers}
        kept[row["task"], row["method"], numbers["pipeline"]].append({**row, **numbers})
    for cell in cells:
        for run in cell.runs:
            key = cell.task, cell.method, int(run.path.name.removeprefix("seed_"))
            names = dict(zip(("task", "method", "pipeline"), key, strict=True))
            kept[key] = [names | row for row in rows_of(run)]
    rows = [row for key in sorted(kept) for row in kept[key]]
    write_atomically(path, to_csv(rows))
    return rows


def table(rows: Rows) -> Table:
    """Builds a row per task: mean over the pipelines, and each of them."""
    found: dict[tuple, dict] = defaultdict(dict)
    for row in rows:
        found[row["task"], row["method"]][row["pipeline"]] = row["success_any"]
    tasks, methods = (list(dict.fromkeys(row[name] for row in rows)) for name in ("task", "method"))
    means = {key: float(np.mean(list(of.values()))) for key, of in found.items()}
    written = [[task, *(in_words(found.get((task, method), {})) for method in methods)] for task in tasks]
    of_methods = [[means[task, method] for task in tasks if (task, method) in means] for method in methods]
    last = [f"{np.mean(values):.0f}" if len(values) == len(tasks) else "–" for values in of_methods]
    caption = "Success at any step, % of the final episodes: mean (pipelines in their order)."
    return Table(["Task", *methods], [*written, ["mean of tasks", *last]], caption, "Success", list(rows))


def in_words(of_pipelines: Mapping[int, float]) -> str:
    """Writes "92 (96, 100, 80)"."""
    if not of_pipelines:
        return "–"
    values = [of_pipelines[key] for key in sorted(of_pipelines)]
    return f"{np.mean(values):.0f} ({', '.join(f'{value:.0f}' for value in values)})"


@style.styled
def draw(rows: Rows) -> Figure:
    """A panel per task: a line per pipeline, the published curve in grey behind them."""
    lines: dict[str, dict] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["method"] == LEARNS:
            lines[row["task"]][row["pipeline"]].append((row["env_step"], row["success_any"]))
    figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    look = style.method_styles([LEARNS])[LEARNS]
    for axes, (task, of_pipelines) in zip(panels, lines.items(), strict=False):
        for points in of_pipelines.values():
            axes.plot(*zip(*points, strict=True), look.line, marker=look.marker, color=look.colour, alpha=0.8)
        theirs = published_results.online_curve(f"metaworld-{task}", LEARNS, "ail", "mt39")
        if theirs is not None:
            mean = np.mean(list(theirs.scores.values()), axis=0)
            axes.plot(theirs.steps, mean, color=style.MUTED, linestyle=style.DASHED, linewidth=1.2)
        last = max(step for points in of_pipelines.values() for step, _ in points)
        axes.set(title=task, xlim=(0, last), ylim=(-3, 103))
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
    OUT.mkdir(exist_ok=True)
    scores = table(joined(OUT / "success.csv", cells, final_score))
    write_atomically(OUT / "success.md", scores.markdown())
    print(scores.markdown())
    style.save_figure(draw(joined(OUT / "evaluations.csv", cells, evaluations)), OUT / "curves")
    (OUT / "curves.pdf").unlink(missing_ok=True)


if __name__ == "__main__":
    run_script(main, __doc__)
