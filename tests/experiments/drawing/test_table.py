"""Tables: what readers see, and what machines read."""

import csv
import io

from experiments.drawing.table import Table, to_csv


def test_markdown_is_padded_so_that_it_reads_well_in_a_terminal():
    assert Table(["A", "Long"], [["x", "1"]]).markdown().splitlines() == [
        "| A | Long |",
        "| - | ---: |",
        "| x |    1 |",
    ]


def test_markdown_has_the_caption_below_and_escapes_the_separator_of_columns():
    assert Table(["A"], [["a|b"]], "What it is.").markdown().endswith("| a\\|b |\n\nWhat it is.\n")


def test_latex_escapes_what_latex_reads():
    text = Table(["Method", "%"], [["a_b & c", "1 ± 2"]], "50%").latex()
    assert r"a\_b \& c & 1 $\pm$ 2 \\" in text and r"\caption{50\%}" in text


def test_csv_has_every_column_and_six_digits():
    rows = [{"a": 1 / 3, "b": None}, {"b": (1.0, 2.5), "c": "x,y"}]
    assert list(csv.DictReader(io.StringIO(to_csv(rows)))) == [
        {"a": "0.333333", "b": "", "c": ""},
        {"a": "", "b": "1 2.5", "c": "x,y"},
    ]


def test_csv_has_the_text_where_there_are_no_numbers():
    assert Table(["A", "B"], [["x", "1.0"]]).csv() == "A,B\nx,1.0\n"


def test_a_table_is_written_in_all_formats(tmp_path):
    table = Table(["A"], [["x"]], "Caption.")
    paths = table.write(tmp_path / "deep" / "table.v2")
    assert [path.name for path in paths] == ["table.v2.csv", "table.v2.md", "table.v2.tex"]
    assert [path.read_text() for path in paths] == [table.csv(), table.markdown(), table.latex()]
