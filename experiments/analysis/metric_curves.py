"""Any metric of any runs: a CSV with a row per run, seed and time, and a figure.

    python -m experiments curves runs/a runs/b --config.metric=train/policy/loss --workdir=DIR

Metrics have the names that TensorBoard shows: those of `metrics.jsonl`, and `eval/return`, ... of `eval.jsonl`.
"""

from __future__ import annotations

import difflib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiments.analysis import figures
from experiments.drawing import style
from experiments.drawing.table import to_csv
from experiments.runs.loggers import numbers
from experiments.runs.metrics import read_rows
from experiments.runs.settings import read_json
from worldmodels.files import write_atomically

CLOCKS = {
    "update": "Updates",
    "episode": "Episodes",
    "agent_step": "Agent steps",
    "env_step": "Simulator steps",
}


def write(folders: Sequence[str], metric: str, clock: str, title: str, workdir: pathlib.Path) -> dict:
    """Writes `metric.csv` and `metric.{png,pdf}`.

    Args:
      folders: runs, and folders of runs.
      clock: one of `CLOCKS`, that the figure is drawn against.

    Returns:
      {"rows": number of rows of the CSV, "figures": paths}.

    Raises:
      ValueError: no run has the metric, or it has no such clock.
    """
    if clock not in CLOCKS:
        raise ValueError(f"Unknown clock {clock!r}. Known: {', '.join(CLOCKS)}.")
    paths = [path for folder in folders for path in runs_below(pathlib.Path(folder).expanduser().absolute())]
    home, rows = os.path.commonpath([path.parent for path in paths]), []
    known: set[str] = set()
    for path in dict.fromkeys(paths):
        name = os.path.relpath(path, home)
        found = {}  # later rows replace earlier ones of the same time
        for seed, clocks, values in rows_of(path):
            known |= values.keys()
            if (value := values.get(metric)) is not None:
                found[seed, *clocks.values()] = {"run": name, "seed": seed, **clocks, metric: value}
        rows += [found[key] for key in sorted(found)]
    if not rows:
        near = difflib.get_close_matches(metric, known, n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"No run has the metric {metric!r}. {guess}Known: {', '.join(sorted(known))}.")
    print(f"{len(rows)} values: {write_atomically(workdir / 'metric.csv', to_csv(rows))}")
    figure = figures.learning_curves(
        curves_of(rows, metric, clock), title=title, x_label=CLOCKS[clock], y_label=metric
    )
    return {
        "rows": len(rows),
        "figures": [str(path) for path in style.save_figure(figure, workdir / "metric")],
    }


def runs_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the runs in a folder, itself included, that have written metrics; members of a run count with it."""
    files = [file for name in ("metrics.jsonl", "eval.jsonl") for file in folder.rglob(name)]
    homes = (file.parents[2] if file.parents[1].name == "seeds" else file.parent for file in files)
    paths = sorted({home for home in homes if (home / "config.json").is_file()})
    if not paths:
        raise ValueError(f"There is no run with metrics in {folder}.")
    return paths


def rows_of(path: pathlib.Path) -> Iterator[tuple[int, dict[str, int], dict[str, float]]]:
    """Yields (seed, clocks, {metric: value}) of every row of a run, a member of it, or one of its seeds."""
    num_seeds = read_json(path / "config.json").get("num_seeds", 1)
    members = [(int(home.name), home, 1) for home in (path / "seeds").glob("*") if home.name.isdigit()]
    whole = [(0, path, num_seeds)]
    for file, homes in (
        ("metrics.jsonl", members or whole),
        ("eval.jsonl", whole if (path / "eval.jsonl").is_file() else members),
    ):
        for first, home, count in homes:
            for row in read_rows(home / file):
                clocks = {name: row.get(name, 0) for name in CLOCKS}
                prefix = "eval/" if file == "eval.jsonl" else ""
                values = numbers(
                    {n if "/" in n else prefix + n: row[n] for n in row if n not in CLOCKS}, count
                )
                for seed in range(count):
                    own = {name: v[seed] if isinstance(v, list) else v for name, v in values.items()}
                    yield first + seed, clocks, own


def curves_of(rows: Sequence[Mapping], metric: str, clock: str) -> dict[str, figures.Curve]:
    """Returns {run: its seeds by a clock}; NaN where a seed has no value."""
    curves = {}
    for run in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == run]
        x, seeds = (sorted({row[key] for row in own}) for key in (clock, "seed"))
        values = np.full((len(seeds), len(x)), np.nan)
        for row in own:
            values[seeds.index(row["seed"]), x.index(row[clock])] = row[metric]
        curves[run] = figures.Curve(x, values)
    return curves
