"""What is written of a world model of vectors."""

import numpy as np
import pytest
from models import make_batch, make_model
from tensorboard_events import read_events

from experiments.analysis import inspect_run
from experiments.configs.inspect_run import get_config
from experiments.drawing.world_model import evidence
from experiments.models import inspection
from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import Episode, write_episode


@pytest.mark.parametrize(("name", "value"), [("windows", 0), ("length", 1), ("context", 0)])
def test_windows_in_which_nothing_can_be_foreseen_are_refused(tmp_path, name, value):
    config = get_config()
    config[name] = value
    with pytest.raises(ValueError, match=f"{name} is {value}; "):
        inspect_run.run(config, "", run=str(tmp_path))


def test_data_of_another_robot_is_refused_by_what_differs(tmp_path):
    write_episode(tmp_path / "0.hdf5", fake_episode(position=np.zeros((8, 5), np.float32)))
    config = get_config()
    with config.unlocked():
        config.data = str(tmp_path)
    arch = dict(inputs=["position"], sizes={"position": 2}, action_size=2)
    with pytest.raises(ValueError, match="position has size 5 in the data, the world model was built for 2"):
        inspect_run.windows(config, {"embodiment": "", "env": "fake-pointmass"}, None, arch)


def fake_episode(**records):
    """An episode of eight records."""
    steps = np.arange(8)
    flags = dict(is_first=steps == 0, is_last=steps == 7, is_terminal=steps < 0)
    return Episode(flags | dict(pre_action=np.zeros((8, 2)), reward=np.zeros(8)) | records, {})


def pointmass():
    """A model of the fake environment's sensors, and windows of it."""
    model = make_model(inputs=("position",), targets=("position",), probes=("velocity",))
    return model, make_batch(2, 6)


def test_curves_evidence_and_numbers_are_written(tmp_path):
    model, batch = pointmass()
    result = inspection.write(
        tmp_path, model, batch, env_name="fake-pointmass", metadata={}, context=3, update=0, title="of noise"
    )
    assert result["figures"] == ["evidence", "open_loop"] and result["videos"] == []
    assert (tmp_path / "figures" / "evidence.png").stat().st_size > 0
    assert list((tmp_path / "tensorboard").iterdir()) and read_rows(tmp_path / "metrics.jsonl") == []


def test_tensorboard_shows_the_numbers_too(tmp_path):
    model, batch = pointmass()
    result = inspection.write(
        tmp_path, model, batch, env_name="fake-pointmass", metadata={}, context=3, update=7, title="of noise"
    )
    shown = read_events(tmp_path / "tensorboard")
    explained = result["probes_explained"]["velocity"]
    for name, value in {
        "probes_explained/velocity/state": np.mean(explained["state"]),
        "probes_explained/velocity/embedding": np.mean(explained["embedding"]),
        "open_loop_mse/position": result["open_loop_mse"]["position"],
        "elbo_per_record": result["elbo_per_record"],
    }.items():
        assert shown[f"inspection/{name}"] == (7, pytest.approx(value, rel=1e-5))


def test_predicted_vectors_are_drawn_where_they_determine_the_state():
    truth = {"position": np.random.default_rng(0).uniform(-1, 1, (2, 6, 2))}
    view = inspection.View(
        (truth, truth), (truth, truth), inspection.report.Evidence({}, np.zeros((2, 6))), {}
    )
    films = inspection.rendered_films(view, 3, "fake-pointmass", {})
    assert films["open_loop_rendered"].shape[0] == 6


def test_where_vectors_do_not_determine_the_state_a_sentence_says_so():
    pytest.importorskip("dm_control")
    truth = {"height": np.zeros((1, 4, 1))}
    view = inspection.View(
        (truth, truth), (truth, truth), inspection.report.Evidence({}, np.zeros((1, 4))), {}
    )
    with pytest.raises(ValueError, match="do not determine its state"):
        inspection.rendered_films(view, 2, "walker-walk", {})


def test_a_film_says_what_was_seen_and_what_was_foreseen():
    images = np.zeros((1, 4, 8, 8, 3), np.float32)
    frames = inspection.film(images, images, context=2)
    assert frames.shape[0] == 4 and (frames[1] != frames[2]).any()


def test_the_evidence_figure_has_a_panel_for_each_part():
    figure = evidence({"position": np.zeros((3, 5)), "height": np.ones((3, 5))}, np.ones((3, 5)))
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["ELBO", "KL(posterior ‖ prior)", "log p(position | state)", "log p(height | state)"]


def test_evidence_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match=r"\[\[3, 4\], \[3, 5\]\]"):
        evidence({"position": np.zeros((3, 4))}, np.zeros((3, 5)))
