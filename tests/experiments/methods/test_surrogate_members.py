"""Several members of one surrogate run: each is the run of its seed alone, and their updates are one program."""

import functools
import shutil

import numpy as np
import pytest
from imitation_data import make_config, write_data
from interruption import assert_same_episodes, assert_same_run, interrupting, killed, terminated

from agents.gaifo import GAIfOLearner
from agents.ot import OTLearner
from experiments.configs import surrogate as surrogate_config
from experiments.data import members, rounds
from experiments.methods import surrogate
from experiments.models.loading import load_run
from experiments.runs.metrics import Diverged, read_rows
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(data):
    """Makes the config of a method with two members: three rounds, of which two learn."""

    def make(method, **changes):
        preset = surrogate_config.get_config(f"{method}-tiny")
        # With gradients of the size of rewards, hundredths, Adam makes of rounding what is more than rounding.
        preset.sac.initial_temperature = 0.1
        return make_config(preset, data, "observations", **{"agent_steps": 150, "num_seeds": 2} | changes)

    return make


@pytest.fixture(scope="module")
def together(tmp_path_factory, config):
    """Returns method -> (folder, result, of how many members each dispatch was) of a run of two members."""

    @functools.cache
    def run(method):
        path, sizes = tmp_path_factory.mktemp(method) / "run", []
        with pytest.MonkeyPatch.context() as patch:
            for kind in (GAIfOLearner, OTLearner):
                patch.setattr(kind, "learn", counting(kind.learn, sizes))
            return path, surrogate.run(config(method), path), sizes

    return run


def counting(learn, sizes):
    """`learn` of a learner that notes of how many members each dispatch is."""
    return lambda learner, states, replays: sizes.append(len(states)) or learn(learner, states, replays)


@pytest.fixture(scope="module")
def finished(together):
    return together("ot")[:2]


@pytest.mark.parametrize("method", surrogate_config.METHODS)
def test_each_member_is_the_run_of_its_seed_alone(method, together, config, tmp_path):
    """Up to rounding: matrices of all members are multiplied at once."""
    path, result, sizes = together(method)
    assert sizes and set(sizes) == {2}
    assert np.shape(result["return"]) == (2, 2) and np.isfinite(result["return"]).all()
    row = read_rows(path / "seeds" / "1" / "metrics.jsonl")[-1]
    assert ("train/discriminator/gradient_penalty" in row) == (method == "gaifo")
    if method in ("temporal_ot", "orca"):
        assert row["train/discount"] == pytest.approx(0.9)
    for index in (0, 1):
        surrogate.run(config(method, num_seeds=1, seed=index), tmp_path / f"alone-{index}")
        ours, theirs = path / "seeds" / str(index), tmp_path / f"alone-{index}" / "seeds" / "0"
        episodes = zip(load_episodes(ours / "episodes"), load_episodes(theirs / "episodes"), strict=True)
        for one, other in episodes:
            assert one.metadata["seed"] == other.metadata["seed"]
            np.testing.assert_allclose(one.records["position"], other.records["position"], atol=1e-4)
        (_, ours, position), (_, theirs, expected) = (
            Checkpoints(path / "checkpoints").read() for path in (ours, theirs)
        )
        assert position["learner"] == expected["learner"] and position["clocks"] == expected["clocks"]
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-2, atol=1e-4, err_msg=name)


def test_members_have_their_own_episodes_and_networks(finished):
    first, second = (load_episodes(finished[0] / "seeds" / index / "episodes") for index in "01")
    assert {e.metadata["seed"] for e in first}.isdisjoint(e.metadata["seed"] for e in second)
    kernels = [np.asarray(load_run(finished[0]).policy(seed).net.head.kernel) for seed in (0, 1)]
    assert (kernels[0] != kernels[1]).any()


def test_each_member_is_evaluated_in_environments_of_its_own(finished):
    loaded = load_run(finished[0])
    with loaded.arena.make(4, seed=0) as envs:
        records = envs.reset()
    own = [
        loaded.actor(2, seed)({name: values[2 * seed :][:2] for name, values in records.items()})
        for seed in (0, 1)
    ]
    np.testing.assert_array_equal(loaded.make_actor(4)(records), np.concatenate(own))
    assert loaded.best == int(np.argmax(np.mean(finished[1]["return"], axis=1)))


def test_the_result_and_the_evaluations_are_those_of_all_members(finished):
    path, result = finished
    assert np.shape(result["return"]) == (2, 2) and result["agent_steps"] == [150, 150]
    rows, own = read_rows(path / "eval.jsonl"), read_rows(path / "seeds" / "1" / "eval.jsonl")
    assert [row["return"][1] for row in rows] == [row["return"][0] for row in own]
    assert [(row["agent_step"], row["final"]) for row in rows] == [(100, False), (150, True)]


def test_an_interrupted_and_killed_run_of_members_ends_bit_identical(finished, config, tmp_path):
    """Killed between the checkpoints of two members, and stopped while both play the round again."""
    # The second member in the third round; checkpoints are of the second and the third.
    with interrupting(members, "finish_round", 6, killed):
        surrogate.run(config("ot"), tmp_path)
    seeds = [tmp_path / "seeds" / index for index in "01"]
    steps = [Checkpoints(path / "checkpoints").latest_step() for path in seeds]
    assert steps[0] > steps[1], "the newest round that all have saved is an older one"

    with interrupting(surrogate, "play_together", 1, terminated):
        surrogate.run(config("ot"), tmp_path)
    surrogate.run(config("ot"), tmp_path)
    for ours in seeds:
        expected = finished[0] / "seeds" / ours.name
        assert_same_run(ours, expected, ("checkpoints", "model"))
        assert_same_episodes(ours / "episodes", expected / "episodes")
    assert (tmp_path / "DONE").read_text() == (finished[0] / "DONE").read_text()


def test_a_seed_that_diverges_is_evaluated_and_the_next_one_goes_on(config, tmp_path, monkeypatch):
    rows = []

    def first_row_is_not_finite(row, update):
        rows.append(row)
        if len(rows) == 1:
            raise Diverged("a loss is NaN.")

    monkeypatch.setattr(rounds, "check_finite", first_row_is_not_finite)
    result = surrogate.run(config("gaifo", agent_steps=60), tmp_path)
    assert [entry["seed"] for entry in result["diverged"]] == [0]
    assert np.shape(result["return"]) == (2, 2) and np.isfinite(result["return"]).all()


def test_a_member_whose_newest_checkpoint_is_damaged_continues_from_the_one_before(
    finished, config, tmp_path
):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    done = (tmp_path / "DONE").read_text()
    for folder in (tmp_path, tmp_path / "seeds" / "0", tmp_path / "seeds" / "1"):
        (folder / "DONE").unlink()
    checkpoints = Checkpoints(tmp_path / "seeds" / "1" / "checkpoints")
    assert len(checkpoints.steps()) > 1
    (checkpoints.directory / f"{checkpoints.latest_step():010d}" / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match="is damaged.*continues from an earlier one"):
        surrogate.run(config("ot"), tmp_path)
    assert (tmp_path / "DONE").read_text() == done
