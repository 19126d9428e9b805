import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiments.analysis.figures import Curve, learning_curves
from experiments.drawing import style as plot_style


def test_a_method_has_the_same_colour_in_every_figure():
    alone = plot_style.method_styles(["AIME"])["AIME"]
    among = plot_style.method_styles(["Mine", "BC", "AIME"])["AIME"]
    assert alone.colour == among.colour


def test_variants_of_a_method_share_its_colour_and_differ_by_line():
    styles = plot_style.method_styles(["AIME", "AIME, 1 demonstration"])
    first, second = styles.values()
    assert first.colour == second.colour and first.line != second.line


def test_bc_and_bco_are_told_apart():
    styles = plot_style.method_styles(["BC (true actions)", "BCO(0)"])
    assert len({style.colour for style in styles.values()}) == 2


def test_surrogate_rewards_are_told_apart_by_colour():
    names = ["AIME", *(f"AIME-v2 ({reward})" for reward in ("VIPER", "AIL", "OT"))]
    assert len({style.colour for style in plot_style.method_styles(names).values()}) == 4


def test_unknown_methods_get_colours_that_no_known_one_uses():
    styles = plot_style.method_styles(["Mine", "AIME", "Yours"])
    assert len({style.colour for style in styles.values()}) == 3


def test_labels_are_spread_to_the_gap_and_keep_their_order():
    placed = plot_style.spread(np.array([0.5, 0.49, 0.1]), gap=0.1)
    np.testing.assert_allclose(placed, [0.545, 0.445, 0.1])


def test_labels_that_do_not_touch_stay_where_they_are():
    np.testing.assert_allclose(plot_style.spread(np.array([0.1, 0.9, 0.5]), gap=0.1), [0.1, 0.9, 0.5])


def test_drawing_leaves_the_settings_of_the_caller_alone():
    before = dict(matplotlib.rcParams)
    learning_curves({"AIME": Curve([0, 1], [[0.0, 1.0]])})
    assert dict(matplotlib.rcParams) == before


def test_drawing_leaves_the_backend_of_a_notebook_alone(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "svg")
    learning_curves({"AIME": Curve([0, 1], [[0.0, 1.0]])})
    assert matplotlib.rcParams["backend"] == "svg"


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    def written(stem):
        figure = learning_curves({"AIME": Curve([0, 1], [[0.0, 1.0]])})
        return [path.read_bytes() for path in plot_style.save_figure(figure, tmp_path / stem)]

    assert written("a") == written("b")


def test_figures_are_written_as_png_and_pdf(tmp_path):
    paths = plot_style.save_figure(Figure(), tmp_path / "deep" / "figure")
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG", b"%PDF"]
