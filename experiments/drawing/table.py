"""Tables: text for readers as Markdown and LaTeX, unrounded numbers for machines as CSV."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodels.files import write_atomically

MISSING = "–"
_TEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    MISSING: "--",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings, and the numbers behind them.

    Attributes:
      headings: [C] text.
      rows: `[R][C]` text.
      caption: what the numbers are, in whole sentences.
      title: above the table on a page.
      numbers: a dict per row of the CSV, which may have more rows and columns; without any, the CSV has the text.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    title: str = ""
    numbers: Sequence[Mapping[str, object]] = ()

    def markdown(self) -> str:
        """Writes GitHub Markdown with padded columns, the first left-aligned, and the caption below."""
        lines = [self.headings, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        padded = [
            [
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            for line in (lines[0], rule, *lines[1:])
        ]
        table = "".join(f"| {' | '.join(line)} |\n" for line in padded)
        return f"{table}\n{self.caption}\n" if self.caption else table

    def latex(self) -> str:
        """Writes LaTeX for the package booktabs: `\\input` it."""
        head, *body = [r" & ".join(map(_tex, row)) + r" \\" for row in (self.headings, *self.rows)]
        columns = "l" + "r" * (len(self.headings) - 1)
        lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head]
        lines += [r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\caption{{{_tex(self.caption)}}}"] if self.caption else []
        return "\n".join([*lines, r"\end{table}", ""])

    def csv(self) -> str:
        """Writes the numbers, or the text where there are none."""
        return to_csv(self.numbers or [dict(zip(self.headings, row, strict=True)) for row in self.rows])

    def write(self, stem: str | os.PathLike) -> list[Path]:
        """Writes `stem.csv`, `stem.md` and `stem.tex`, each atomically, and returns their paths."""
        texts = {"csv": self.csv(), "md": self.markdown(), "tex": self.latex()}
        return [write_atomically(Path(f"{stem}.{suffix}"), text) for suffix, text in texts.items()]


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Writes all columns that any row has, numbers with six digits; empty where a row has none or None."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _machine(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _machine(value: object) -> object:
    """Returns a value as a CSV has it; those of a list with spaces between them."""
    if isinstance(value, list | tuple):
        return " ".join(str(_machine(each)) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else value


def _tex(text: str) -> str:
    """Escapes what LaTeX reads as commands."""
    return "".join(_TEX.get(letter, letter) for letter in text)
