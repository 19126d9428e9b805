"""Writes the table and draws the figures of fewer labels, from what the suite `labels` has finished.

    python -m launch.sweep run labels --root=runs/labels task=runbackward
    python results/latent_actions.py runs/labels results/latent-actions

`curve.csv` has a row per task, method, share and seed; `curve-TASK.png` shows every seed, their mean and its interval.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.analysis.figures import Points, score_curve
from experiments.analysis.labels import label, place
from experiments.analysis.scores import scores_of
from experiments.data.evaluation import by_expert
from experiments.drawing import style
from experiments.drawing.table import MISSING, Table
from experiments.runs.scripts import run_script
from launch.attempts import is_done, read_sweeps
from launch.runs import Run
from worldmodels.files import write_atomically

SHARE = "share-"  # begins the names of the suite's embodiment data


def main(root: str, folder: str) -> None:
    """Writes `FOLDER/curve.csv` and `FOLDER/curve-TASK.{png,pdf}`, and prints the table of means and seeds."""
    rows = rows_of(pathlib.Path(root))
    table = table_of(rows)
    write_atomically(pathlib.Path(folder, "curve.csv"), table.csv())
    print(table.markdown())
    for task in dict.fromkeys(row["task"] for row in rows):
        series = series_of([row for row in rows if row["task"] == task])
        title = f"{task}: fewer actions are known"
        figure = score_curve(series, x_label="Episodes with known actions, % of all", title=title)
        style.save_figure(figure, pathlib.Path(folder, f"curve-{task}"))


def rows_of(root: pathlib.Path) -> list[dict]:
    """Returns the scores of all finished policies, sorted by task, method, share and seed.

    Raises:
      ValueError: there are none.
    """
    runs = {kept.run.name: kept.run for kept in read_sweeps(root)}
    rows = [
        row
        for run in runs.values()
        if run.labels.get("dataset", "").startswith(SHARE) and is_done(root, run.name)
        for row in rows_of_run(root, runs, run)
    ]
    if not rows:
        raise ValueError(f"No policy of the suite `labels` below {root} is finished.")
    return sorted(rows, key=lambda row: (row["task"], place(row["method"]), row["share"], row["seed"]))


def rows_of_run(root: pathlib.Path, runs: Mapping[str, Run], run: Run) -> list[dict]:
    """Returns a row for every seed of a finished policy: what it was given, and its score in % of the expert."""
    scores = scores_of(root / run.name, run.labels)
    labelled = json.loads((root / data_of(runs, run) / "DONE").read_text())
    return [
        {
            "task": run.labels["task"],
            "seed": run.labels["seed"] + index,
            "method": run.labels["method"],
            "share": float(run.labels["dataset"].removeprefix(SHARE)),
            "labelled_episodes": labelled["num_episodes"],
            # An episode begins with a record that no action led to.
            "labelled_records": labelled["num_records"] - labelled["num_episodes"],
            "score": score,
        }
        for index, score in enumerate(by_expert(scores.by_seed, scores.expert or 0.0))
    ]


def data_of(runs: Mapping[str, Run], run: Run) -> str:
    """Returns the name of the run that took the labelled episodes of a policy, or of its world model."""
    while "embodiment" not in run.settings:
        run = runs[run.settings["model"].run]
    return run.settings["embodiment"].run


def series_of(rows: Sequence[Mapping]) -> dict[str, Points]:
    """Returns {label of a method: its seeds by share} of one task."""
    series = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        seeds: dict[float, list[float]] = {}
        for row in rows:
            if row["method"] == method:
                seeds.setdefault(row["share"], []).append(row["score"])
        series[label(method)] = Points(list(seeds), list(seeds.values()))
    return series


def table_of(rows: Sequence[Mapping]) -> Table:
    """Returns a line per task and share: mean over seeds of every method, and the seeds in brackets."""
    methods = list(dict.fromkeys(row["method"] for row in sorted(rows, key=lambda row: place(row["method"]))))
    lines = []
    for task, share in sorted({(row["task"], row["share"]) for row in rows}):
        here = [row for row in rows if (row["task"], row["share"]) == (task, share)]
        scores = [[row["score"] for row in here if row["method"] == method] for method in methods]
        given = [here[0][key] for key in ("labelled_episodes", "labelled_records")]
        lines.append([task, f"{share:g} %", *map(str, given), *map(said, scores)])
    headings = ["task", "share", "episodes", "records", *map(label, methods)]
    return Table(headings, lines, "Score in % of the expert: mean (seeds).", numbers=rows)


def said(scores: Sequence[float]) -> str:
    """Returns "mean (seeds)"."""
    return f"{np.mean(scores):.0f} ({', '.join(f'{s:.0f}' for s in scores)})" if scores else MISSING


if __name__ == "__main__":
    run_script(main, __doc__)
