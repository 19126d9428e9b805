"""Several comparisons in one report: averages over all cells, and how often one method beats another.

    python -m experiments aggregate --config.runs=runs/compare/a,runs/compare/b --workdir=DIR

Every cell (embodiment data, demonstrations, set-up) is a task of the report and a stratum of the bootstrap: seeds are
drawn within it, and cells are never mixed. Methods that a cell lacks are left out. Writes tables, figures, report.html.
"""

from __future__ import annotations

from pathlib import Path

from experiments.analysis import aggregates, report
from experiments.analysis.labels import label
from experiments.analysis.scores import Results, RunScores, cells_of
from experiments.runs.directory import RunDirectory
from experiments.runs.settings import read_json


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Reads the comparisons and writes the report.

    Returns:
      {"table": Markdown, "iqm": {method: % of the expert}}.
    """
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=("*",)) as directory:
        results = read_comparisons(config.runs)
        title = config.title or f"{len(config.runs)} cells"
        first, *_ = report.write(results, directory.path, title=title)["tables"]
        table = (directory / "tables" / f"{first}.md").read_text()
        print(table, flush=True)
        by_expert, *_ = aggregates.normalisations(results)
        found = report.aggregates_of(results, by_expert)
        iqm = {method: of_method.values["iqm"] for method, of_method in found.items()}
        return directory.mark_done({"table": table, "iqm": iqm})


def read_comparisons(runs) -> Results:
    """Reads the scores of the methods that all comparisons have; a task is a comparison.

    Raises:
      ValueError: no runs, one that has not finished, or no common method.
    """
    if not runs:
        raise ValueError("Which comparisons? Pass --config.runs=DIR,DIR.")
    found = {}
    for path in map(Path, runs):
        done = path.expanduser() / "DONE"
        found[path] = read_json(done) if done.is_file() else {}
        if "returns" not in found[path]:
            raise ValueError(f"{path} is not a finished run of `compare`; run its command again.")
    common = set.intersection(*(set(result["returns"]) for result in found.values()))
    if not common:
        raise ValueError("These comparisons have no method in common.")
    names = [path.name for path in found]
    scores = [
        RunScores(
            result["returns"][method],
            expert=result["expert"],
            path=path,
            label=result.get("labels", {}).get(method, label(method)),
            labels={"task": path.name if names.count(path.name) == 1 else str(path), "method": method},
        )
        for path, result in found.items()
        for method in result["returns"]
        if method in common
    ]
    return Results(cells_of(scores), {})
