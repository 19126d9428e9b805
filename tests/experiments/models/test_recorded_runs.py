"""Runs and exports of the release before model folders (tests/recorded_runs/record.py) still load, and act alike."""

import functools
import json
import pathlib
import tarfile

import jax
import numpy as np
import pytest

from experiments.analysis import export
from experiments.configs import export as export_config
from experiments.models import files
from experiments.models.loading import load_run, load_world_model
from experiments.runs.settings import read_config

RECORDED = pathlib.Path(__file__).parents[2] / "recorded_runs"
EXPECTED = json.loads((RECORDED / "expected.json").read_text())
SENSORS = {name: np.array([[0.3, -0.2]], np.float32) for name in ("position", "velocity")}
RECORDS = SENSORS | {"is_first": np.ones(1, bool)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(RECORDED / "runs.tar.gz") as file:
        file.extractall(folder, filter="data")
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    """Paths in these configs begin in the folder that the runs were started in."""
    monkeypatch.chdir(folder)


def assert_close(ours, expected):
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, facts in EXPECTED.items() if "kind" in facts])
def test_a_run_acts_as_it_did(name):
    run, expected = load_run(name), EXPECTED[name]
    assert (run.kind, run.arena.name, run.expert) == tuple(
        expected[n] for n in ("kind", "env_name", "expert")
    )
    assert_close([run.actor(seed=seed)(RECORDS) for seed in range(run.num_seeds)], expected["action"])
    if "value" in expected:
        (critic,) = run.critics.values()
        features = np.full((1, 1, run.world_models.feature_size), 0.1, np.float32)
        assert_close(jax.vmap(lambda critic, x: critic(x))(critic, features), expected["value"])


def test_a_pretraining_run_sees_as_it_did():
    models = [load_world_model("pretrain", seed) for seed in range(2)]
    assert_close([model.encode(SENSORS) for model in models], EXPECTED["pretrain"]["embedding"])
    assert files.load("pretrain").loss == read_config("pretrain")["loss"]


@pytest.mark.parametrize("name", ["export-imitate", "export-dreamer"])
def test_an_export_opens(name):
    models, expected = files.load(name).seed(0), EXPECTED[name]
    assert models.arguments["world_model"]["environment"] == "fake-pointmass"
    assert_close(models.world_model.encode(SENSORS), expected["embedding"])
    features = np.full((1, models.world_model.feature_size), 0.1, np.float32)
    assert_close(models.policy(features).mode, expected["mode"])


@functools.cache
def exported(run: str):
    return files.load(export.run(export_config.get_config(), "", run=run, to=f"again-{run}")["folder"])


def test_a_recorded_run_is_exported_into_a_folder_of_today():
    again, before = exported("dreamer"), files.load("export-dreamer")
    for ours, expected in zip(*map(jax.tree.leaves, (again.parts, before.parts)), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert set(again.parts) == {"world_model", "policy", "critic"}


def test_a_damaged_file_of_such_a_run_is_one_sentence(folder):
    path = folder / "mbbc" / "policy.json"
    content = path.read_text()
    for change in ("{", "[]", "{}"):
        path.write_text(change)
        with pytest.raises(
            ValueError, match="mbbc/policy.json is damaged .*; run the command of its run again"
        ):
            files.load("mbbc")
    path.write_text(content)


@pytest.mark.parametrize(
    ("name", "key"),
    [("imitate", "model"), ("imitate", "demonstrations"), ("dreamer", "env"), ("dreamer", "setup")],
)
def test_a_config_that_lacks_something_or_has_a_number_in_its_place_is_one_sentence(folder, name, key):
    path = folder / name / "config.json"
    content = path.read_text()
    config = json.loads(content)
    for mutated in ({k: v for k, v in config.items() if k != key}, config | {key: 7}):
        path.write_text(json.dumps(mutated))
        with pytest.raises(ValueError):
            load_run(name)
    path.write_text(content)


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [("config.json", {"demonstrations": value}, "No demonstrations are named") for value in (None, [], {})]
    + [
        ("metadata.json", {"sessions": value}, "metadata.json is damaged .its sessions are of another kind")
        for value in (None, 5, [5], [{"directory": 5}])
    ],
)
def test_other_kinds_of_values_in_the_files_of_a_run_are_one_sentence(folder, file, change, sentence):
    path = folder / "imitate" / file
    content = path.read_text() if path.is_file() else None  # earlier releases kept no sessions
    path.write_text(json.dumps(json.loads(content or "{}") | change))
    with pytest.raises(ValueError, match=sentence):
        load_run("imitate")
    path.write_text(content) if content else path.unlink()
