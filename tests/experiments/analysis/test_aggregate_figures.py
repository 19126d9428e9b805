"""The figure of a comparison: what it shows of which numbers."""

from experiments.analysis.aggregate_figures import comparison_figure
from experiments.analysis.intervals import summarise

SCORES = {"AIME": [[80.0], [90.0], [85.0]], "BCO(0)": [[40.0], [85.0], [60.0]]}


def test_the_comparison_shows_every_method_once_and_published_figures_below():
    figure = comparison_figure(SCORES, published={"AIME": (90.0, 5.0)}, random=10.0)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["AIME", "BCO(0)"]
    assert "P(AIME better)" in right.get_xlabel()
    diamonds = [line for line in left.lines if line.get_marker() == "D"]
    assert len(diamonds) == 3  # two of ours, one published
    assert diamonds[0].get_xdata()[0] == 85.0
    drawn = next(line for line in left.lines if line.get_linewidth() == 2.2).get_xdata()
    of_table = summarise(SCORES["AIME"]).interval
    assert tuple(drawn) == (of_table.low, of_table.high)


def test_a_single_seed_beats_none_with_a_probability():
    figure = comparison_figure(SCORES | {"BC": [[70.0, 90.0]]})
    rows = {line.get_ydata()[0] for line in figure.axes[1].lines if line.get_marker() == "D"}
    assert rows == {1}  # of BCO(0), as in the table
    assert len(comparison_figure({"AIME": [[80.0, 70.0]], "BC": [[70.0, 90.0]]}).axes) == 1


def test_a_comparison_without_the_reference_has_one_panel():
    assert len(comparison_figure({"BC": [[40.0]], "BCO(0)": [[40.0]]}).axes) == 1
