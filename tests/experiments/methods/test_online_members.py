"""Several members of one online run: each is the run of its seed alone."""

import numpy as np
import pytest
from interruption import assert_same_episodes, assert_same_run
from online_runs import config_of, interrupt_round

from experiments.configs import online as online_config
from experiments.data import members
from experiments.methods import online, online_members
from experiments.models.loading import load_run
from experiments.runs.directory import Interrupted
from experiments.runs.metrics import Diverged, read_rows
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import load_episodes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("members")


@pytest.fixture(scope="module")
def config(paths):
    options = dict(reward__name="ail", num_episodes=3, prefill=1, policy_pretraining=2, num_seeds=2)
    return config_of(online_config, **paths, **options, evaluation__every=1)


@pytest.fixture(scope="module")
def finished(folder, config):
    return folder / "run", online.run(config, folder / "run")


def test_each_member_is_the_run_of_its_seed_alone(finished, config, folder):
    """Up to rounding: matrices of all members are multiplied at once."""
    for index in (0, 1):
        alone = config.copy_and_resolve_references()
        alone.update(num_seeds=1, seed=index)
        online.run(alone, folder / f"alone-{index}")
        folders = finished[0] / "seeds" / str(index), folder / f"alone-{index}"
        ours, theirs = (load_episodes(path / "episodes") for path in folders)
        assert [episode.metadata["seed"] for episode in ours] == [
            episode.metadata["seed"] for episode in theirs
        ]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one.records["position"], other.records["position"], atol=1e-4)
        (_, ours, _), (_, theirs, _) = (Checkpoints(path / "checkpoints").read() for path in folders)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-2, atol=1e-4, err_msg=name)


def test_members_have_their_own_episodes_and_networks(finished):
    first, second = (load_episodes(finished[0] / "seeds" / str(index) / "episodes") for index in (0, 1))
    assert {e.metadata["seed"] for e in first}.isdisjoint(e.metadata["seed"] for e in second)
    kernels = [np.asarray(load_run(finished[0]).policy(seed).mean_net.head.kernel) for seed in (0, 1)]
    assert (kernels[0] != kernels[1]).any()


def test_the_result_and_the_evaluations_are_those_of_all_members(finished):
    path, result = finished
    assert np.shape(result["return"]) == (2, 2) and len(result["return_by_seed"]) == 2
    rows, own = read_rows(path / "eval.jsonl"), read_rows(path / "seeds" / "1" / "eval.jsonl")
    assert [row["return"][1] for row in rows] == [row["return"][0] for row in own]
    assert [row["episode"] for row in rows] == [1, 2, 3, 4]


def test_an_interrupted_and_killed_run_of_members_ends_bit_identical(finished, config, folder, monkeypatch):
    """Killed between the checkpoints of two members, and stopped while the second one plays the round again."""
    finish, saved = members.finish_round, []

    def killed(*args):
        saved.append(None)
        if len(saved) == 4:  # the second member in the second round
            raise KeyboardInterrupt
        return finish(*args)

    monkeypatch.setattr(members, "finish_round", killed)
    with pytest.raises(KeyboardInterrupt):
        online.run(config, folder / "again")
    seeds = [folder / "again" / "seeds" / index for index in "01"]
    steps = [Checkpoints(path / "checkpoints").latest_step() for path in seeds]
    assert steps[0] > steps[1], "the newest round that all have saved is an older one"
    monkeypatch.undo()
    interrupt_round(monkeypatch, 1)
    with pytest.raises(Interrupted):
        online.run(config, folder / "again")
    online.run(config, folder / "again")
    for ours in seeds:
        expected = finished[0] / "seeds" / ours.name
        assert_same_run(ours, expected, ("checkpoints", "model"))
        assert_same_episodes(ours / "episodes", expected / "episodes")
    assert (folder / "again" / "DONE").read_text() == (finished[0] / "DONE").read_text()


def test_a_member_that_diverges_stands_still_and_the_others_continue(config, folder, monkeypatch):
    finish = online.OnlineRun.finish_round

    def diverging(run, *args):
        if run.config["seed"] == 1 and run.done == 2:
            raise Diverged("Training has diverged.")
        return finish(run, *args)

    monkeypatch.setattr(online.OnlineRun, "finish_round", diverging)
    result = online.run(config, folder / "diverged")
    assert [entry["seed"] for entry in result["diverged"]] == [1]
    assert len(load_episodes(folder / "diverged" / "seeds" / "0" / "episodes")) == 4
    assert len(load_episodes(folder / "diverged" / "seeds" / "1" / "episodes")) == 3


def test_members_with_pretraining_data_of_different_sizes_are_refused(config, tmp_path, monkeypatch):
    class Learner:
        def __init__(self, size):
            self.data = type("Data", (), {"body": np.zeros(size)})

    with pytest.raises(ValueError, match="need pretraining data of one size.*num_episodes=None"):
        online_members.share_body([Learner(3), Learner(4)])
