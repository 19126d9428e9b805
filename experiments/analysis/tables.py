"""One table of results: a row per method, as CSV for machines and as Markdown for readers and terminals."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.analysis import intervals
from experiments.data.evaluation import by_expert, by_random_and_expert
from worldmodels.files import write_atomically

EM_DASH = "–"

# Column of the CSV -> heading of the Markdown table. The CSV has more columns than the Markdown.
_HEADINGS = {
    "method": "Method",
    "return": "Return",
    "by_expert": "% of expert",
    "interval": "95% interval",
    "iqm": "IQM %",
    "iqm_interval": "IQM 95% interval",
    "improvement": "P(AIME better)",
    "lowest_seed": "Lowest seed",
    "by_random_and_expert": "% above random",
    "published": "Published %",
    "num_tasks": "Cells",
    "num_seeds": "Seeds",
    "num_episodes": "Episodes",
    "num_demonstrations": "Demos",
}


@dataclass(frozen=True)
class MethodScores:
    """What was measured for one row of the table.

    Attributes:
      method: name of the row, e.g. "AIME".
      returns: `[N][E]` raw returns, one list of episodes per seed.
      num_demonstrations: that the method saw; None where it needs none.
      published, published_std: % of the expert in the paper, for the same cell; None where there is none.
    """

    method: str
    returns: Sequence[Sequence[float]]
    num_demonstrations: int | None = None
    published: float | None = None
    published_std: float | None = None


@dataclass(frozen=True)
class Table:
    """A table as text and as numbers.

    Attributes:
      rows: one dict per row with the columns of the CSV, numbers unrounded, None where undefined.
      caption: what the numbers are.
    """

    rows: tuple[Mapping[str, object], ...]
    caption: str = ""

    @property
    def headings(self) -> list[str]:
        """Headings of the readers' table; a column that is empty in every row is left out."""
        return [_HEADINGS[name] for name in self._shown()]

    @property
    def cells(self) -> list[list[str]]:
        """The readers' table: rounded text, one list per row."""
        return [[_text(name, row) for name in self._shown()] for row in self.rows]

    def csv(self) -> str:
        """All columns, comma-separated, numbers with six digits, empty where undefined."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.rows[0])
        writer.writerows([_csv_value(value) for value in row.values()] for row in self.rows)
        return buffer.getvalue()

    def markdown(self) -> str:
        """GitHub Markdown with padded columns, so that it also reads well in a terminal."""
        return markdown(self.headings, self.cells)

    def _shown(self) -> list[str]:
        always = {"method", "return", "by_expert", "interval", "num_seeds", "num_episodes"}
        there = [name for name in _HEADINGS if name in self.rows[0]]
        return [n for n in there if n in always or any(row[n] is not None for row in self.rows)]


def markdown(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A GitHub Markdown table with padded columns; the first is left-aligned."""
    lines = [list(headings), *([cell.replace("|", "\\|") for cell in row] for row in cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in lines
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in (padded[0], rule, *padded[1:]))


def latex(headings: Sequence[str], cells: Sequence[Sequence[str]], caption: str = "") -> str:
    """The same table for LaTeX with the package booktabs: `\\input` it."""
    rows = [r" & ".join(map(_tex, row)) + r" \\" for row in (headings, *cells)]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\caption{{{_tex(caption)}}}"] if caption else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def results_table(
    scores: Sequence[MethodScores], *, random: float | None, expert: float | None, source: str = ""
) -> Table:
    """Builds the results table.

    Args:
      scores: one entry per row, in order.
      random: mean return of the random policy; None leaves the column that needs it undefined.
      expert: mean return of the expert; None leaves the normalised columns undefined. So does an expert
        that is not better than nothing, or than the random policy.
      source: sentence about the published numbers, e.g. `published_results.source().caption`.

    Raises:
      ValueError: no rows, or returns that `intervals.seed_scores` refuses.
    """
    if not scores:
        raise ValueError("results_table got no rows; pass one MethodScores per method.")
    rows = tuple(_row(s, random, expert) for s in scores)
    return Table(rows=rows, caption=f"{_caption(rows, random, expert)} {source}".strip())


def with_comparison(
    table: Table, scores: Mapping[str, Sequence[intervals.Scores]], *, reference: str = "AIME"
) -> Table:
    """The table with what compares methods (Agarwal et al. 2021).

    Adds interquartile means with their stratified-bootstrap intervals, and the probability that the reference beats
    each method.

    Args:
      table: a row per method.
      scores: {method: one `[N][E]` per task, in % of the expert}, in the order of the rows.
      reference: method that the others are compared with; without it that column stays empty.
    """
    rows = []
    for row, (method, strata) in zip(table.rows, scores.items(), strict=True):
        interval = intervals.stratified_bootstrap_interval(strata, "iqm")
        values = [value for task in strata for value in intervals.seed_scores(task)]
        extra = {
            "iqm": float(intervals.interquartile_mean(values)),
            "iqm_interval": (interval.low, interval.high),
        }
        extra["improvement"] = None
        if reference in scores and method != reference:
            better = intervals.probability_of_improvement(scores[reference], strata)
            extra["improvement"] = (better.probability, better.interval.low, better.interval.high)
        rows.append({**row, **extra})
    caption = f"{table.caption} IQM: interquartile mean over seeds, with its stratified-bootstrap interval."
    if reference in scores:
        caption += (
            f" P({reference} better): probability that a seed of {reference} scores higher than one of the method, "
            "with its interval."
        )
    if any(len(task) == 1 for strata in scores.values() for task in strata):
        caption += (
            " Where there is one seed, both intervals are over its episodes and tell nothing of other seeds."
        )
    return Table(rows=tuple(rows), caption=caption.strip())


def write_table(table: Table, stem: str | os.PathLike) -> tuple[Path, Path]:
    """Writes `stem.csv` and `stem.md` (the table and its caption), each atomically; returns both paths."""
    stem = Path(stem)
    note = f"\n{table.caption}\n" if table.caption else ""
    return (
        write_atomically(stem.with_name(stem.name + ".csv"), table.csv()),
        write_atomically(stem.with_name(stem.name + ".md"), table.markdown() + note),
    )


def _row(scores: MethodScores, random: float | None, expert: float | None) -> dict[str, object]:
    summary = intervals.summarise(scores.returns)
    bounds = (_known(summary.interval.low), _known(summary.interval.high))

    def percent(value):
        usable = value is not None and expert is not None and expert > 0
        return float(by_expert(value, expert)) if usable else None

    def percent_above_random(value):
        usable = random is not None and expert is not None and expert > random
        return float(by_random_and_expert(value, random, expert)) if usable else None

    low, high = map(percent, bounds)
    return {
        "method": scores.method,
        "return": summary.mean,
        "return_low": bounds[0],
        "return_high": bounds[1],
        "return_median": summary.median,
        "return_iqm": summary.iqm,
        "by_expert": percent(summary.mean),
        "by_expert_low": low,
        "by_expert_high": high,
        "interval": summary.interval.kind,
        "lowest_seed": percent(summary.seed_scores.min()) if summary.num_seeds > 1 else None,
        "by_random_and_expert": percent_above_random(summary.mean),
        "published": scores.published,
        "num_seeds": summary.num_seeds,
        "num_episodes": summary.num_episodes,
        "num_demonstrations": scores.num_demonstrations,
        "seed_returns": tuple(summary.seed_scores.tolist()),
    }


def _caption(rows: Sequence[Mapping[str, object]], random: float | None, expert: float | None) -> str:
    """What the columns mean, in whole sentences."""
    sentences = []
    if expert is not None:
        sentences.append(f"100% of expert is a return of {_rounded(expert)}; zero is not subtracted.")
    if expert is not None and random is not None:
        sentences.append(
            f"% above random: 0 is the random policy (a return of {_rounded(random)}) and 100 the expert."
        )
    kinds = _interval_kinds(rows)
    if kinds:
        unit = "% of expert" if rows[0]["by_expert"] is not None else "return"
        sentences.append(f"95% interval of the mean, in {unit}: {kinds}.")
    sentences.append("Episodes are per seed.")
    return " ".join(sentences)


def _interval_kinds(rows: Sequence[Mapping[str, object]]) -> str:
    """How the intervals were computed; where rows differ, the rarer kinds name their rows."""
    methods: dict[str, list[str]] = {}
    for row in rows:
        if row["return_low"] is not None:
            methods.setdefault(str(row["interval"]), []).append(str(row["method"]))
    usual, *others = sorted(methods, key=lambda kind: -len(methods[kind])) or [""]
    return "; ".join([usual, *(f"{kind} for {' and '.join(methods[kind])}" for kind in others)])


def _text(name: str, row: Mapping[str, object]) -> str:
    """One cell of the readers' table."""
    value = row[name]
    if name == "iqm_interval":
        return f"{_rounded(value[0])} to {_rounded(value[1])}"
    if name == "improvement" and value is not None:
        return f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"
    if name == "interval":
        prefix = "by_expert" if row["by_expert"] is not None else "return"
        bounds = [row[f"{prefix}_low"], row[f"{prefix}_high"]]
        return EM_DASH if None in bounds else f"{_rounded(bounds[0])} to {_rounded(bounds[1])}"
    if value is None:
        return EM_DASH
    return _rounded(value) if isinstance(value, float) else str(value)


def _tex(text: str) -> str:
    """Text with what LaTeX reads as commands escaped."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        EM_DASH: "--",
        "±": r"$\pm$",
    }
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return "".join(special.get(letter, letter) for letter in text)


def _rounded(value: float) -> str:
    """One decimal, two digits below one: 0.8614 -> "0.86", 172.34 -> "172.3", 9571.8 -> "9572"."""
    if abs(value) < 1e-9:
        return "0.0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def _csv_value(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(_csv_value, value))
    return f"{value:.6g}" if isinstance(value, float) else value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
