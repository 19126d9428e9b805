"""Data without an environment: what learns from data alone takes them, and says that it evaluates nothing."""

import contextlib
import io

import jax.numpy as jnp
import numpy as np
import pytest
from imitation_data import make_config, write_data

import aime
import worldmodels
from experiments.analysis import evaluate, export, inspect_run
from experiments.configs import baseline as baseline_config
from experiments.configs import evaluate as evaluate_config
from experiments.configs import export as export_config
from experiments.configs import imitate as imitate_config
from experiments.configs import inspect_run as inspect_config
from experiments.configs import pretrain as pretrain_config
from experiments.configs import surrogate as surrogate_config
from experiments.methods import baseline, imitate, pretrain, surrogate
from experiments.models.loading import load_run
from worldmodels import append_episode, from_transitions, load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Steps of an arm with two vectors and a small picture, which name no environment."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("body", "shown"):
        for _ in range(4):
            pushes = rng.uniform(-1, 1, (12, 2))
            place = np.cumsum(0.1 * pushes, axis=0)
            picture = np.repeat(np.clip(128 + 100 * place[:, :1, None, None], 0, 255), 8, axis=1)
            picture = np.broadcast_to(picture, (12, 8, 8, 3)).astype(np.uint8)
            seen = {"eef_pos": place, "gripper": place[:, :1] ** 2, "camera": picture}
            append_episode(folder / name, *from_transitions(seen, pushes))
    return folder


def config_of(config, data, **changes):
    config.update({name: str(data / folder) for name, folder in FOLDERS.items() if name in config} | changes)
    return config


FOLDERS = {"embodiment": "body", "demonstrations": "shown"}


@pytest.fixture(scope="module")
def pretrained(data):
    pretrain.run(config_of(pretrain_config.get_config("tiny"), data), data / "model")
    return data / "model"


@pytest.fixture(scope="module")
def imitated(data, pretrained):
    """A run of imitation, its result, and what it said."""
    config = config_of(imitate_config.get_config("tiny"), data, model=str(pretrained))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        result = imitate.run(config, data / "aime")
    return data / "aime", result, said.getvalue()


def test_the_default_set_up_of_data_alone_is_their_vectors(pretrained):
    model = worldmodels.load(pretrained).world_model
    assert model.inputs == model.targets == ("eef_pos", "gripper")


def test_imitation_says_that_nothing_is_evaluated_and_its_policy_infers_actions(data, imitated):
    run, result, said = imitated
    config = config_of(imitate_config.get_config("tiny"), data, model=str(data / "model"))
    assert imitate.run(config, run) == result  # done already
    assert len(result.pop("elbo_per_record")) == 1 and result == {"num_updates": 4}
    assert "Nothing is evaluated: no environment is known; --config.env=NAME names one." in said
    folder = export.run(export_config.get_config(), "", run=str(run), to=str(data / "export"))["folder"]
    models = worldmodels.load(folder)
    shown = worldmodels.SequenceDataset.create(
        load_episodes(data / "shown"), length=8, sensors=["eef_pos", "gripper"], with_actions=False
    )
    batch = worldmodels.windows(shown, jnp.arange(3))
    assert aime.infer_actions(models.world_model, models.policy, batch).actions.shape == (3, 8, 2)


def test_a_run_on_data_alone_acts_and_is_looked_at_but_not_played(data, imitated, capsys):
    run, _, _ = imitated
    actor = load_run(run).actor()
    records = {"eef_pos": np.zeros((1, 2)), "gripper": np.zeros((1, 1)), "is_first": np.ones(1, bool)}
    assert actor(records).shape == (1, 2)
    found = inspect_run.run(inspect_config.get_config(), "", run=str(run))
    assert set(found["open_loop_mse"]) == {"eef_pos", "gripper"}
    assert f"Written: {run}/inspection.json, {run}/figures\n" in capsys.readouterr().out  # no videos
    with pytest.raises(ValueError, match="does not say in which environment it plays; pass"):
        evaluate.run(evaluate_config.get_config(), "", run=str(run))


def test_sensors_are_chosen_by_name(data):
    config = config_of(pretrain_config.get_config("visual-tiny"), data, num_updates=2)
    config.update(sensors="eef_pos, camera", targets="camera", probes="gripper")
    pretrain.run(config, data / "named")
    model = worldmodels.load(data / "named").world_model
    assert (model.inputs, model.targets, tuple(model.probes)) == (
        ("eef_pos", "camera"),
        ("camera",),
        ("gripper",),
    )
    config.world_model.use_probes = False  # of those that nobody names
    for wrong in (dict(sensors="eef", targets="", probes=""), dict(probes="eef")):
        config.update({"sensors": "camera", "targets": "camera", **wrong})
        with pytest.raises(ValueError, match="lacks eef, .*; it has camera, eef_pos, gripper. Name what is"):
            pretrain.run(config, data / "unknown")
    config.update(sensors="", targets="camera")
    with pytest.raises(ValueError, match="name them too: --config.sensors=a,b"):
        pretrain.run(config, data / "half")


def test_baselines_learn_from_data_alone(data, capsys):
    config = config_of(baseline_config.get_config("bco-tiny"), data, sensors="eef_pos")
    result = baseline.run(config, data / "bco")
    assert "return" not in result and np.shape(result["action_mse"]) == (1,) and result["num_updates"]
    assert "Nothing is evaluated" in capsys.readouterr().out
    records = {"eef_pos": np.zeros((1, 2)), "is_first": np.ones(1, bool)}
    assert load_run(data / "bco").actor()(records).shape == (1, 2)


def test_what_has_to_play_asks_for_an_environment(data):
    why = "do not say which environment they come from; pass --config.env=NAME"
    with pytest.raises(ValueError, match=why):
        baseline.run(config_of(baseline_config.get_config("bco_alpha-tiny"), data), data / "alpha")
    assert not list((data / "alpha").rglob("metrics.jsonl"))  # before anything is learnt
    with pytest.raises(ValueError, match=why):
        surrogate.run(config_of(surrogate_config.get_config("ot-tiny"), data), data / "ot")


def test_an_environment_that_data_name_may_be_left_out(tmp_path):
    folder = write_data(tmp_path)
    config = make_config(baseline_config.get_config("bc-tiny"), folder, env="none", setup="mdp")
    assert "return" not in baseline.run(config, tmp_path / "bc")
