"""Several comparisons in one: interquartile means over all cells, and how often AIME beats each method.

    python -m experiments aggregate --config.runs=runs/compare/a,runs/compare/b --workdir=DIR

Every cell (embodiment data, demonstrations, set-up) is a stratum of the bootstrap: seeds are drawn within it, and
cells are never mixed. Methods that a cell lacks are left out. Writes table.md, table.csv and figures/comparison.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from experiments.analysis import intervals, tables
from experiments.data.evaluation import by_expert
from experiments.runs.directory import RunDirectory
from experiments.studies.compare import METHODS


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Reads the comparisons and writes table and figure.

    Returns:
      {"table": Markdown, "iqm": {method: % of the expert}}.
    """
    from experiments.analysis import aggregate_figures
    from experiments.drawing import style  # matplotlib is slow to import

    with RunDirectory(workdir, config, fresh=fresh, allow_changes=("*",)) as directory:
        scores = read_scores(config.runs)
        table = aggregated(scores)
        tables.write_table(table, directory / "table")
        title = config.title or f"{len(config.runs)} cells"
        figure = aggregate_figures.comparison_figure(scores, title=title)
        style.save_figure(figure, directory / "figures" / "comparison")
        print(table.markdown(), table.caption, sep="\n", flush=True)
        iqm = {row["method"]: row["iqm"] for row in table.rows}
        return directory.mark_done({"table": table.markdown(), "iqm": iqm})


def read_scores(runs) -> dict[str, list[list[list[float]]]]:
    """Returns {label: one `[num_seeds][episodes]` per comparison, in % of its expert} of the methods that all have.

    Raises:
      ValueError: no runs, one that has not finished, or no common method.
    """
    if not runs:
        raise ValueError("Which comparisons? Pass --config.runs=DIR,DIR.")
    results = []
    for path in map(Path, runs):
        done = path.expanduser() / "DONE"
        result = json.loads(done.read_text()) if done.is_file() else {}
        if "returns" not in result:
            raise ValueError(f"{path} is not a finished run of `compare`; run its command again.")
        results.append(result)
    common = [method for method in results[0]["returns"] if all(method in r["returns"] for r in results)]
    if not common:
        raise ValueError("These comparisons have no method in common.")
    labels = {name: method.label for name, method in METHODS.items()} | results[0].get("labels", {})
    return {
        labels[method]: [
            [by_expert(np.asarray(seed), r["expert"]).tolist() for seed in r["returns"][method]]
            for r in results
        ]
        for method in common
    }


def aggregated(scores: dict) -> tables.Table:
    """A row per method: mean over cells, IQM and its interval, and the probability that AIME is better."""
    rows = []
    for method, strata in scores.items():
        means = [intervals.seed_scores(cell).mean() for cell in strata]
        num_seeds = min(len(cell) for cell in strata)
        counts = {"num_tasks": len(strata), "num_seeds": num_seeds}
        rows.append({"method": method, "by_expert": float(np.mean(means)), **counts})
    caption = "% of expert: mean over cells; zero is not subtracted. Seeds are per cell."
    return tables.with_comparison(tables.Table(tuple(rows), caption), scores)
