"""A run continues only on the data and models that it began with, wherever they are now."""

import errno
import fcntl
import json
import shutil

import numpy as np
import pytest

from experiments.runs.directory import RunDirectory
from experiments.runs.inputs import setup_of_run
from experiments.runs.settings import RunError
from worldmodels.data.episodes import Episode, EpisodeError, append_episode, read_episode, write_episode


def add_episode(folder, value=0.0, **metadata):
    steps = np.arange(4)
    records = {
        "height": np.full((4, 1), value),
        "pre_action": np.zeros((4, 1)),
        "reward": np.zeros(4),
        "is_first": steps == 0,
        "is_last": steps == 3,
        "is_terminal": np.zeros(4, bool),
    }
    return append_episode(folder, Episode(records, metadata))


@pytest.fixture
def data(tmp_path):
    for value in range(3):
        add_episode(tmp_path / "data", value, environment="walker-walk", action_repeat=2)
    return tmp_path / "data"


def model_of(tmp_path, data, content=b"weights"):
    with RunDirectory(tmp_path / "model", {"embodiment": str(data)}) as directory:
        (directory / "model").mkdir(exist_ok=True)
        (directory / "model" / "weights").write_bytes(content)
        (directory / "metrics.jsonl").write_text("{}")
        directory.mark_done()
    return directory.path


def change(data, how):
    if how == "one more":
        add_episode(data)
    elif how == "one less":
        (data / "2.hdf5").unlink()
    elif how == "another":
        shutil.copy(data / "0.hdf5", data / "2.hdf5")
    elif how == "in another order":
        (data / "0.hdf5").rename(data / "9.hdf5")
    else:
        episode = read_episode(data / "1.hdf5")
        episode.records["reward"][2] = 1e-3
        write_episode(data / "1.hdf5", episode)


HOWS = {
    "one more": "3 files then, 4 now",
    "one less": "3 files then, 2 now",
    "another": "other content",
    "in another order": "other content",
    "a reward": "other content",
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("key", ["embodiment", "nested.demonstrations"])
def test_changed_data_are_refused_by_name(tmp_path, data, how, key):
    name = key.rpartition(".")[2]
    config = {name: str(data)} if name == key else {"nested": {name: str(data)}}
    RunDirectory(tmp_path / "run", config).close()
    RunDirectory(tmp_path / "run", config).close()
    change(data, how)
    with pytest.raises(RunError, match=rf"was begun with other inputs: {key} \({HOWS[how]}\).*--fresh"):
        RunDirectory(tmp_path / "run", config)
    RunDirectory(tmp_path / "run", config, fresh=True).close()


def test_the_same_content_elsewhere_is_accepted_and_a_finished_run_stays_finished(tmp_path, data):
    with RunDirectory(tmp_path / "run", {"demonstrations": f"{data}", "seed": 1}) as directory:
        directory.mark_done({"score": 1})
    shutil.copytree(data, tmp_path / "elsewhere")
    shutil.rmtree(data)
    with RunDirectory(
        tmp_path / "run", {"demonstrations": str(tmp_path / "elsewhere"), "seed": 1}
    ) as directory:
        assert directory.result == {"score": 1}
    add_episode(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="begun with other inputs: demonstrations"):
        RunDirectory(tmp_path / "run", {"demonstrations": str(tmp_path / "elsewhere"), "seed": 1})


def test_other_data_elsewhere_are_another_config(tmp_path, data):
    RunDirectory(tmp_path / "run", {"embodiment": str(data)}).close()
    shutil.copytree(data, tmp_path / "elsewhere")
    add_episode(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="another config: embodiment was"):
        RunDirectory(tmp_path / "run", {"embodiment": str(tmp_path / "elsewhere")})


def test_of_several_folders_each_counts(tmp_path, data):
    shutil.copytree(data, tmp_path / "more")
    config = {"embodiment": f"{data},{tmp_path / 'more'}"}
    RunDirectory(tmp_path / "run", config).close()
    change(tmp_path / "more", "one less")
    with pytest.raises(RunError, match=r"embodiment \(6 files then, 5 now\)"):
        RunDirectory(tmp_path / "run", config)


def test_of_a_model_counts_what_others_read(tmp_path, data):
    model = model_of(tmp_path, data)
    RunDirectory(tmp_path / "run", {"model": str(model)}).close()
    (model / "metrics.jsonl").write_text("{} {}")
    RunDirectory(tmp_path / "run", {"model": str(model)}).close()
    model_of(tmp_path, data, b"Weights")
    with pytest.raises(RunError, match=r"other inputs: model \(other content\)"):
        RunDirectory(tmp_path / "run", {"model": str(model)})


def test_of_what_a_mix_is_made_of_the_episodes_count(tmp_path):
    with RunDirectory(tmp_path / "noise", {"num_episodes": 3}) as noise:
        for value in (0.0, 1.0, 2.0):
            add_episode(noise / "episodes", value)
    (tmp_path / "noise" / "model").mkdir()
    config = {"sources": (str(tmp_path / "noise"),)}
    RunDirectory(tmp_path / "mix", config).close()
    for name in ("metadata.json", "DONE", "model/weights"):  # opened again by another release, trained on
        (tmp_path / "noise" / name).write_text("{}")
    RunDirectory(tmp_path / "mix", config).close()
    change(tmp_path / "noise" / "episodes", "one less")
    with pytest.raises(RunError, match="other inputs: sources"):
        RunDirectory(tmp_path / "mix", config)


def test_large_files_are_compared_by_samples(tmp_path):
    source = tmp_path / "chunk.pt"
    content = bytearray(np.random.default_rng(0).bytes(3 * 2**20))
    source.write_bytes(content)
    RunDirectory(tmp_path / "run", {"source": str(source)}).close()
    content[-1] ^= 1
    source.write_bytes(content)
    with pytest.raises(RunError, match="other inputs: source"):
        RunDirectory(tmp_path / "run", {"source": str(source)})


def test_runs_of_earlier_releases_and_absent_inputs_continue(tmp_path, data):
    config = {"embodiment": str(data), "source": "D4RL/door/human-v2"}
    RunDirectory(tmp_path / "run", config).close()
    (tmp_path / "run" / "inputs.json").unlink()
    change(data, "one more")
    RunDirectory(tmp_path / "run", config).close()
    assert json.loads((tmp_path / "run" / "inputs.json").read_text())["embodiment"]["files"] == 4
    shutil.rmtree(data)
    RunDirectory(tmp_path / "run", config).close()


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        (
            {"environment": "walker-run", "action_repeat": 4},
            "embodiment has the action repeat 2 and demonstrations has 4",
        ),
        (
            {"environment": "cheetah-run", "action_repeat": 2},
            "embodiment has the body walker and demonstrations has cheetah",
        ),
    ],
)
def test_data_of_another_set_up_do_not_meet(tmp_path, data, metadata, sentence):
    add_episode(tmp_path / "shown", **metadata)
    config = {"embodiment": str(data), "demonstrations": str(tmp_path / "shown")}
    with pytest.raises(EpisodeError, match=sentence):
        RunDirectory(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_actions_that_were_scaled_from_different_bounds_do_not_meet(tmp_path):
    for name, high in (("one", 50.0), ("other", 40.0)):
        add_episode(tmp_path / name, action_bounds={"low": [0.0], "high": [high]})
    config = {"embodiment": str(tmp_path / "one"), "demonstrations": str(tmp_path / "other")}
    with pytest.raises(
        EpisodeError, match=r"demonstrations has \[0.0\] to \[40.0\].*action_high of the other"
    ):
        RunDirectory(tmp_path / "run", config)


def test_a_run_whose_beginning_recorded_less_of_the_set_up_continues(tmp_path):
    add_episode(tmp_path / "data", action_bounds={"low": [0.0], "high": [50.0]})
    RunDirectory(tmp_path / "run", {"embodiment": str(tmp_path / "data")}).close()
    recorded = json.loads((tmp_path / "run" / "inputs.json").read_text())
    recorded["embodiment"]["setups"] = [{}]
    (tmp_path / "run" / "inputs.json").write_text(json.dumps(recorded))
    RunDirectory(tmp_path / "run", {"embodiment": str(tmp_path / "data")}).close()


@pytest.mark.parametrize(
    "damage",
    [
        *([], 3, None, {}, {"files": 1, "fingerprint": ""}),
        *({"files": 1, "fingerprint": "", "setups": setups} for setups in ({}, [3], [{"action_bounds": 3}])),
    ],
)
def test_damaged_descriptions_of_inputs_are_told(tmp_path, data, damage):
    RunDirectory(tmp_path / "run", {"embodiment": str(data)}).close()
    (tmp_path / "run" / "inputs.json").write_text(json.dumps({"embodiment": damage}))
    with pytest.raises(RunError, match="inputs.json is damaged .*'embodiment'"):
        RunDirectory(tmp_path / "run", {"embodiment": str(data)})


@pytest.mark.parametrize("content", ["", "[]", '{"return": '])
def test_a_damaged_result_is_told(tmp_path, content):
    with RunDirectory(tmp_path / "run") as directory:
        directory.mark_done({"return": 3})
    (tmp_path / "run" / "DONE").write_text(content)
    with RunDirectory(tmp_path / "run") as directory, pytest.raises(RunError, match="DONE is damaged"):
        directory.result  # noqa: B018


def test_folders_of_one_key_do_not_meet_either(tmp_path, data):
    add_episode(tmp_path / "other", environment="walker-run", action_repeat=4)
    with pytest.raises(
        EpisodeError, match="one folder of embodiment has the action repeat 2 and another has 4"
    ):
        RunDirectory(tmp_path / "run", {"embodiment": f"{data},{tmp_path / 'other'}"})


def test_a_model_remembers_the_set_up_of_its_data(tmp_path, data):
    model = model_of(tmp_path, data)
    add_episode(tmp_path / "shown", environment="walker-run", action_repeat=4)
    for config, sentence in (
        ({"model": str(model), "demonstrations": str(tmp_path / "shown")}, "demonstrations has"),
        ({"model": str(model), "action_repeat": 4}, "config.action_repeat has 4"),
    ):
        with pytest.raises(EpisodeError, match=f"the action repeat .*{sentence}"):
            RunDirectory(tmp_path / "run", config)
    RunDirectory(tmp_path / "run", {"model": str(model), "action_repeat": 2}).close()
    with pytest.raises(EpisodeError, match="model has the action repeat 2"):  # also a run further on
        (tmp_path / "run" / "model").mkdir()
        RunDirectory(tmp_path / "next", {"model": str(tmp_path / "run"), "action_repeat": 1})


def test_so_does_a_model_that_was_exported(tmp_path, data):
    setup = setup_of_run(model_of(tmp_path, data))
    assert setup == {"environment": "walker-walk", "action_repeat": 2}
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.json").write_text(json.dumps({"card": setup | {"title": "A walker"}}))
    add_episode(tmp_path / "shown", environment="walker-run", action_repeat=4)
    config = {"model": str(tmp_path / "exported"), "demonstrations": str(tmp_path / "shown")}
    with pytest.raises(EpisodeError, match="model has the action repeat 2 and demonstrations has 4"):
        RunDirectory(tmp_path / "run", config)
    RunDirectory(tmp_path / "run", config | {"demonstrations": str(data)}).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_used(tmp_path, capsys, monkeypatch, number):
    def flock(*args):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with RunDirectory(tmp_path / "run", {"seed": 1}) as directory:
        directory.mark_done({"score": 1})
    assert "has no locks (no locks here), so that nothing keeps a second process" in capsys.readouterr().err
