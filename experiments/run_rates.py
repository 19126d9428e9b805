"""How fast runs went: steps and updates per second, and the minutes until they were good.

    python -m experiments.run_rates runs/experts --out=runs/experts/rates

Reads the metrics of all runs in the given folders, finished or not, and writes rates.md, rates.csv and rates.tex. Wall
time counts from the start of each session of a run; processor time is that of the process which learns.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from experiments.main import is_user_error
from experiments.metrics_writer import read_rows
from experiments.runs import read_config
from experiments.sweep_tables import TextTable

HEADINGS = {
    "run": "run",
    "seeds": "seeds",
    "env_steps": "environment steps",
    "steps_per_second": "agent steps/s",
    "updates_per_second": "updates/s",
    "return": "return",
    "minutes": "minutes",
    "processor_minutes": "of the processor",
    "minutes_to_share": "minutes to {share:.0%} of it",
    "processor_minutes_to_share": "of the processor",
}


def run(folders: Sequence[str | Path], out: str | Path, *, share: float = 0.9) -> TextTable:
    """Writes the table.

    Args:
      share: of the last evaluation's mean return; the table tells when it was first reached.

    Raises:
      ValueError: no such folder, no run in it, a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"--share is above 0 and at most 1, got {share}.")
    rows = [row_of(path, name, share) for name, path in find_runs(folders)]
    headings = [heading.format(share=share) for heading in HEADINGS.values()]
    cells = [[shown(row.get(name)) for name in HEADINGS] for row in rows]
    caption = (
        "Rates are medians over the rows of metrics.jsonl; an update of several seeds in one program counts as one. "
        "Return: mean of the last evaluation."
    )
    table = TextTable("rates", "How fast runs went", headings, cells, rows, caption)
    table.write(out)
    return table


def find_runs(folders: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """(name relative to the folder that was given, directory) of every run."""
    found = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}.")
        paths = sorted(path.parent for path in folder.rglob("metrics.jsonl"))
        runs = [path for path in paths if (path / "config.json").is_file()]
        if not runs:
            raise ValueError(f"No run in {folder} has metrics.")
        found += [(str(path.relative_to(folder.parent)), path) for path in runs]
    return found


def row_of(path: Path, name: str, share: float = 0.9) -> dict:
    """The numbers of a run; what it does not have is absent or None.

    Returns:
      {"run", "seeds", "env_steps", "steps_per_second", "updates_per_second", "return", "minutes",
      "processor_minutes", "minutes_to_share", "processor_minutes_to_share"}.
    """
    rows = read_rows(path / "metrics.jsonl")
    row = {
        "run": name,
        "seeds": read_config(path).get("num_seeds"),
        "env_steps": max((each.get("env_step", 0) for each in rows), default=0) or None,
        "steps_per_second": median(each.get("fps/agent_steps") for each in rows),
        "updates_per_second": median(each.get("fps/updates") for each in rows),
    }
    evaluations = read_rows(path / "eval.jsonl") if (path / "eval.jsonl").is_file() else []
    clock = Clock(path, [*rows, *evaluations])
    if rows:
        row["minutes"], row["processor_minutes"] = clock.minutes(rows[-1])
    returns = [float(np.mean(each["return"])) for each in evaluations if "return" in each]
    if returns:
        row["return"] = returns[-1]
        good = next(i for i, value in enumerate(returns) if value >= min(share * returns[-1], returns[-1]))
        row["minutes_to_share"], row["processor_minutes_to_share"] = clock.minutes(evaluations[good])
    return row


class Clock:
    """How long a run had worked when it wrote a row: the sum over its sessions, without the time between them.

    Args:
      path: of the run. rows: all rows that it has written.
    """

    def __init__(self, path: Path, rows: Sequence[dict]):
        sessions = json.loads((path / "metadata.json").read_text())["sessions"]
        self._starts = [
            (datetime.datetime.fromisoformat(each["time"]).timestamp(), each.get("processor_time", 0.0))
            for each in sessions
        ]
        self._rows = [row for row in rows if "time/unix" in row]

    def minutes(self, row: dict) -> tuple[float | None, float | None]:
        """(wall, processor) minutes until a row was written; None where rows do not tell."""
        if "time/unix" not in row:
            return None, None
        now = row["time/unix"]
        wall = processor = 0.0
        ends = [*(wall for wall, _ in self._starts[1:]), float("inf")]
        for (start, spent), end in zip(self._starts, ends, strict=True):
            before = [r for r in self._rows if start <= r["time/unix"] < end and r["time/unix"] <= now]
            if before:
                wall += max(r["time/unix"] for r in before) - start
                processor += max(r.get("time/processor", float("nan")) for r in before) - spent
        return wall / 60, None if np.isnan(processor) else processor / 60


def median(values: Iterable[float | None]) -> float | None:
    """Of the values that are there."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def shown(value: object) -> str:
    """Text of a cell: three figures."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; the exit code is 2 after a mistake."""
    parser = argparse.ArgumentParser("experiments.run_rates", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folders", nargs="+", metavar="DIR", help="runs, or folders of runs")
    parser.add_argument("--out", required=True, help="folder for rates.md, rates.csv and rates.tex")
    parser.add_argument("--share", type=float, default=0.9, help="of the final return, to be reached (0.9)")
    arguments = parser.parse_args(argv)
    try:
        table = run(arguments.folders, arguments.out, share=arguments.share)
    except (ValueError, OSError) as error:
        if not is_user_error(error):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    print((Path(arguments.out) / f"{table.name}.md").read_text())


if __name__ == "__main__":
    main()
