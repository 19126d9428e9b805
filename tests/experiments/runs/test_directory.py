import contextlib
import json
import os
import shutil
import signal

import ml_collections
import numpy as np
import pytest

from experiments.runs.directory import Interrupted, RunDirectory
from experiments.runs.settings import RunError, config_changes, plain_config
from tests.experiments.runs import toy_config, toy_run


def test_a_new_directory_says_what_made_it(tmp_path):
    with RunDirectory(tmp_path / "a" / "run", {"seed": 3}) as directory:
        assert not directory.done
        assert directory.result == {}
    assert json.loads((directory / "config.json").read_text()) == {"seed": 3}
    (session,) = json.loads((directory / "metadata.json").read_text())["sessions"]
    assert {"argv", "commit", "versions", "host", "devices", "python"} <= set(session)
    assert session["versions"]["numpy"] == np.__version__


def test_each_start_is_recorded(tmp_path):
    for _ in range(2):
        RunDirectory(tmp_path, {"seed": 3}).close()
    assert len(json.loads((tmp_path / "metadata.json").read_text())["sessions"]) == 2


def test_done_survives_with_its_result(tmp_path):
    with RunDirectory(tmp_path, {}) as directory:
        result = directory.mark_done({"score": np.float32(0.5), "curve": np.arange(3), "name": "x"})
    assert result == {"score": 0.5, "curve": [0, 1, 2], "name": "x"}
    with RunDirectory(tmp_path, {}) as directory:
        assert directory.done
        assert directory.result == result


def test_two_runs_in_one_directory_are_refused(tmp_path):
    with RunDirectory(tmp_path, {}):
        with pytest.raises(RunError, match=f"is in use by process {os.getpid()}"):
            RunDirectory(tmp_path, {})
    RunDirectory(tmp_path, {}).close()


def test_a_changed_config_is_refused_with_every_key(tmp_path):
    RunDirectory(tmp_path, {"seed": 0, "model": {"size": 3, "old": 1}, "num_updates": 5}).close()
    with pytest.raises(RunError) as error:
        RunDirectory(tmp_path, {"seed": 1, "model": {"size": 4, "new": 1}, "num_updates": 6})
    for part in (
        "seed was 0, is 1",
        "model.size was 3, is 4",
        "model.old was 1, is '(absent)'",
        "model.new was",
    ):
        assert part in str(error.value)
    assert "num_updates" not in str(error.value)


def test_a_refused_config_leaves_the_directory_free(tmp_path):
    RunDirectory(tmp_path, {"seed": 0}).close()
    with pytest.raises(RunError):
        RunDirectory(tmp_path, {"seed": 1})
    RunDirectory(tmp_path, {"seed": 0}).close()


def test_a_start_that_fails_before_any_work_leaves_nothing(tmp_path):
    for folder in (tmp_path / "a" / "run", tmp_path / "there"):
        (tmp_path / "there").mkdir(exist_ok=True)
        with (
            pytest.raises(ValueError, match="no such data"),
            RunDirectory(folder, {"data": "typo"}) as directory,
        ):
            (directory / "episodes").mkdir()
            raise ValueError("no such data")
        assert list(tmp_path.iterdir()) == [tmp_path / "there"] and not list((tmp_path / "there").iterdir())
        RunDirectory(folder, {"data": "right"}).close()
        shutil.rmtree(folder.parent if folder.parent != tmp_path else folder)


def test_what_a_failed_start_has_not_made_stays(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError), RunDirectory(tmp_path, {}):
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunError, match="no run has made"):
        RunDirectory(tmp_path, {}, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, None])
def test_work_that_was_done_stays(tmp_path, error):
    with pytest.raises(error) if error else contextlib.nullcontext(), RunDirectory(tmp_path, {}) as directory:
        (directory / "metrics.jsonl").write_text("{}" if error is ValueError else "")
        if error:
            raise error
    assert (tmp_path / "config.json").is_file()
    with pytest.raises(ValueError), RunDirectory(tmp_path, {}) as directory:  # that continues
        raise ValueError
    assert (tmp_path / "config.json").is_file()


def test_more_updates_are_allowed_and_undo_done(tmp_path):
    with RunDirectory(tmp_path, {"num_updates": 5}) as directory:
        directory.mark_done({})
    with RunDirectory(tmp_path, {"num_updates": 6}) as directory:
        assert not directory.done
    assert json.loads((tmp_path / "config.json").read_text()) == {"num_updates": 6}


def test_updates_of_what_others_have_been_made_with_are_not(tmp_path):
    """A world model that trained on would not be the one that finished stages have used, nor would a classifier."""
    with RunDirectory(tmp_path, {"pretrain": {"num_updates": 5}}) as directory:
        directory.mark_done({})
    with pytest.raises(RunError, match=r"pretrain\.num_updates"):
        RunDirectory(tmp_path, {"pretrain": {"num_updates": 6}})


def test_of_the_periods_only_those_that_learning_does_not_depend_on_may_change(tmp_path):
    config = {"save_every": 1, "online": {"checkpoint_every": 1}, "evaluate_every": 1}
    RunDirectory(tmp_path / "saving", config).close()
    changed = {"save_every": 2, "online": {"checkpoint_every": 2}, "evaluate_every": 2}
    RunDirectory(tmp_path / "saving", changed).close()
    config = {"policy_reset_every": 1, "sac": {"actor_every": 1}, "evaluation": {"every": 1}}
    RunDirectory(tmp_path / "learning", config).close()
    changed = {"policy_reset_every": 2, "sac": {"actor_every": 2}, "evaluation": {"every": 2}}
    with pytest.raises(
        RunError, match="policy_reset_every was 1.*sac.actor_every was 1.*evaluation.every was 1"
    ):
        RunDirectory(tmp_path / "learning", changed)


def test_config_dicts_and_tuples_compare_as_json(tmp_path):
    config = ml_collections.ConfigDict({"sizes": (1, 2), "inner": {"rate": 0.1}})
    RunDirectory(tmp_path, config).close()
    RunDirectory(tmp_path, {"sizes": [1, 2], "inner": {"rate": 0.1}}).close()
    assert config_changes(plain_config(config), {"sizes": [1, 2]}) == {"inner.rate": (0.1, "(absent)")}


def test_fresh_deletes_what_a_run_left(tmp_path):
    with RunDirectory(tmp_path, {"seed": 0}) as directory:
        (directory / "videos").mkdir()
        (directory / "videos" / "a.mp4").write_text("")
        directory.mark_done({})
    with RunDirectory(tmp_path, {"seed": 1}, fresh=True) as directory:
        assert not directory.done
        assert not (directory / "videos").exists()


def test_fresh_does_not_delete_the_files_of_others(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="no run has made"):
        RunDirectory(tmp_path, {}, fresh=True)
    assert (tmp_path / "thesis.tex").exists()


def test_fresh_leaves_the_target_of_a_link(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "episode.npz").write_text("")
    with RunDirectory(tmp_path / "run", {}) as directory:
        (directory / "link").symlink_to(tmp_path / "data")
    RunDirectory(tmp_path / "run", {}, fresh=True).close()
    assert (tmp_path / "data" / "episode.npz").exists()


def test_a_file_in_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is not a directory"):
        RunDirectory(tmp_path / "file", {})
    with pytest.raises(RunError, match="is not a directory"):
        RunDirectory(tmp_path / "file" / "run", {})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_asks_the_run_to_stop(tmp_path, number):
    with RunDirectory(tmp_path, {}) as directory:
        directory.stop_if_interrupted()
        os.kill(os.getpid(), number)
        assert directory.interrupted()
        with pytest.raises(Interrupted, match="The same command continues"):
            directory.stop_if_interrupted()


def test_a_second_interrupt_stops_at_once(tmp_path):
    with RunDirectory(tmp_path, {}), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    RunDirectory(tmp_path, {}).close()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_in_an_inner_run_stops_the_outer_one_too(tmp_path):
    with RunDirectory(tmp_path / "outer", {}) as outer:
        with RunDirectory(tmp_path / "outer" / "inner", {}) as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.interrupted()
        assert outer.interrupted()


def test_what_json_cannot_hold_is_named():
    with pytest.raises(RunError, match="is a object"):
        plain_config({"a": object()})


def test_more_updates_continue_a_finished_run(tmp_path, capsys):
    config = toy_config.get_config().unlock()
    config.num_updates = 10
    toy_run.run(config, tmp_path)
    config.num_updates = 15
    toy_run.run(config, tmp_path)
    assert "starting at 10" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == list(range(1, 16))


def test_a_finished_run_returns_its_result_again(tmp_path, capsys):
    config = toy_config.get_config()
    first = toy_run.run(config, tmp_path)
    capsys.readouterr()
    assert toy_run.run(config, tmp_path) == first
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"num_seeds": 0}, "num_seeds is 0; it must be at least 1"),
        ({"fit": {"batch_size": -2}}, "fit.batch_size is -2; it must be at least 1"),
        ({"num_updates": -5}, "num_updates is -5; it must be at least 0"),
    ],
)
def test_counts_that_cannot_be_are_refused_before_anything_is_made(tmp_path, config, sentence):
    with pytest.raises(RunError, match=sentence):
        RunDirectory(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_counts_may_be_open_or_no_updates(tmp_path):
    with RunDirectory(tmp_path, {"length": None, "num_updates": 0}):
        pass
