import itertools

import matplotlib.text
import numpy as np
import pytest

from experiments.analysis import figures
from experiments.analysis.figures import Curve, Points

REFERENCES = {"Expert": 100.0, "Random": 9.0}


def make_curves():
    return {
        "AIME": Curve([0, 200, 400], [[9, 80, 96], [8, 70, 71]]),
        "BCO(0)": Curve([0, 200, 450], [[9, 60, 62], [8, 70, 71]]),
        "BC (true actions)": Curve([0, 200, 450], [[9, 99, 100], [8, 100, 101]]),
    }


def texts(figure):
    """Every piece of text that is drawn, after the layout is done."""
    figure.draw_without_rendering()
    hidden = {
        id(tick.label1)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    found = figure.findobj(matplotlib.text.Text)
    return [t for t in found if t.get_text().strip() and t.get_visible() and id(t) not in hidden]


def overlapping_texts(figure):
    boxes = [(t.get_text(), t.get_window_extent().padded(-1.0)) for t in texts(figure)]
    return [(a, b) for (a, box), (b, other) in itertools.combinations(boxes, 2) if box.overlaps(other)]


DRAWINGS = {
    "curves": lambda: figures.learning_curves(
        make_curves(), title="Title", references=REFERENCES, note="Note."
    ),
    "panels": lambda: figures.learning_curves(
        {**make_curves(), "AIME": Curve([0, 20, 40], [[9, 80, 96]])}, title="Title", references=REFERENCES
    ),
    "rows of panels": lambda: figures.learning_curves(
        {f"Method {n}": Curve([0, 10**n], [[9, 80]]) for n in range(5)}, title="Title", references=REFERENCES
    ),
    "scaling": lambda: figures.score_curve(
        {"AIME": Points([20e3, 70e3], [[2, 3], [5]]), "BCO(0)": Points([20e3, 70e3], [[2], [4, 5]])},
        x_label="Transitions",
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_text_overlaps_another(name):
    assert overlapping_texts(DRAWINGS[name]()) == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_score_axis_starts_at_zero(name):
    for axes in DRAWINGS[name]().axes:
        assert axes.get_ylim()[0] <= 0.0


def test_curves_show_every_seed_and_the_mean():
    axes = figures.learning_curves(make_curves()).axes[0]
    lines = [line.get_ydata() for line in axes.get_lines()]
    assert len(lines) == 3 * (2 + 1)
    np.testing.assert_allclose(lines[2], [8.5, 75, 83.5])


def test_methods_with_very_different_numbers_of_updates_get_panels_of_their_own():
    assert len(DRAWINGS["panels"]().axes) == 3 and len(DRAWINGS["curves"]().axes) == 1


def test_many_panels_stand_in_rows_of_three():
    assert [axes.get_subplotspec().rowspan.start for axes in DRAWINGS["rows of panels"]().axes] == [
        0,
        0,
        0,
        1,
        1,
    ]


def test_curves_of_one_seed_have_no_band():
    axes = figures.learning_curves({"AIME": Curve([0, 1], [[0.0, 1.0]])}).axes[0]
    assert not any(len(path.vertices) for band in axes.collections for path in band.get_paths())


def test_curves_skip_evaluations_that_are_missing():
    axes = figures.learning_curves({"AIME": Curve([0, 1], [[1.0, np.nan], [3.0, 5.0]])}).axes[0]
    np.testing.assert_allclose(axes.get_lines()[-1].get_ydata(), [2.0, 5.0])


@pytest.mark.parametrize("curves", [{}, {"AIME": Curve([], [[]])}, {"AIME": Curve([1], [])}])
def test_figures_without_data_are_refused(curves):
    with pytest.raises(ValueError, match="at least one"):
        figures.learning_curves(curves)
