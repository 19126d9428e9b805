import numpy as np
import pytest

from experiments.drawing.world_model import horizon_error, open_loop

TRUTH = np.random.default_rng(0).normal(size=(5, 12, 3))


def draw(truth=TRUTH, prediction=TRUTH, **changes):
    return open_loop(truth, prediction, **({"context": 4, "names": ["x", "y", "z"]} | changes))


def test_a_perfect_prediction_has_no_error():
    assert horizon_error(TRUTH, TRUTH).max() == 0.0


def test_guessing_the_mean_of_the_data_has_error_one_on_average():
    error = horizon_error(TRUTH, np.broadcast_to(TRUTH.mean((0, 1)), TRUTH.shape))
    np.testing.assert_allclose(np.mean(error**2), 1.0)


def test_there_is_one_panel_per_dimension_and_one_for_the_error():
    titles = [axes.get_title() or axes.get_title(loc="left") for axes in draw().axes]
    assert titles == ["x", "y", "z", "How the error grows"]


def test_panels_stand_in_rows_of_four():
    truth = np.concatenate([TRUTH, TRUTH], axis=-1)
    *panels, _ = draw(truth, truth, names=list("abcdef")).axes
    rows = [axes.get_subplotspec().rowspan.start for axes in panels]
    assert rows[:4] == [0] * 4 and rows[4:6] == [1] * 2


def test_time_zero_is_the_last_record_that_was_shown():
    assert draw(seconds_per_step=0.5).axes[0].get_xlim() == (-1.5, 4.0)


def test_of_many_dimensions_twelve_are_shown():
    truth = np.tile(TRUTH, 5)
    titles = [axes.get_title(loc="left") for axes in draw(truth, truth, names=list("abcdefghijklmno")).axes]
    assert titles == [*"abcdefghijkl", "How the error grows"]


def test_a_prediction_that_diverges_is_drawn_without_failing(tmp_path):
    prediction = TRUTH.copy()
    prediction[:, 8:] = np.inf
    draw(prediction=prediction).savefig(tmp_path / "figure.png")


@pytest.mark.parametrize("context", [0, 12])
def test_a_context_outside_of_the_window_is_refused(context):
    with pytest.raises(ValueError, match="context from 1 to 11"):
        draw(context=context)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"\[5, 12, 3\], \[5, 11, 3\]"):
        draw(prediction=TRUTH[:, 1:])
