"""Scores: how they are played, written, read back and joined; arenas and demonstrations that name where and what."""

import json
import os
import signal

import numpy as np
import pytest

from agents.loop import evaluate
from agents.noise import UniformActor
from experiments.data.arena import Arena
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Evaluation, Scores
from experiments.runs import directory
from experiments.runs.directory import Interrupted, RunDirectory
from worldmodels.data.episodes import Episode, load_episodes, write_episode

ARENA = Arena("fake-pointmass", {"episode_length": 3})


def uniform(num_envs):
    return UniformActor(num_envs, 2, seed=0)


def test_a_row_reads_back_as_the_scores_that_it_was_made_of():
    scores = Evaluation(ARENA, num_seeds=2, expert=4.0, random=1.0).play(uniform, 3, seed=0)
    row = json.loads(json.dumps(scores.row()))
    assert Scores.of_row(row) == scores
    assert np.shape(row["return"]) == np.shape(row["length"]) == np.shape(row["success_held"]) == (2, 3)
    assert row["by_expert"] == [100 * np.mean(seed) / 4 for seed in row["return"]]
    assert row["environment"]["environment"] == "fake-pointmass" and "seed" not in row["environment"]


def test_scores_are_in_percent_of_an_expert_above_zero_alone():
    row = Scores([[1.0]], expert=-2.0, random=-4.0).row()
    assert "by_expert" not in row and row["by_random_and_expert"] == [250.0]


def test_the_flat_lists_of_earlier_releases_are_one_seed():
    scores = Scores.of_row({"return": [1.0, 3.0], "success_any": [0.0, 1.0], "return_mean": 2.0})
    assert (scores.returns, scores.success) == ([[1.0, 3.0]], {"any": [[0.0, 1.0]]})
    assert Scores.of_row({"num_updates": 3}).returns == []


def test_seeds_that_were_played_apart_are_joined():
    parts = [Scores([[1.0]], [[5.0]], {"any": [[x]]}, expert=2.0) for x in (0.0, 1.0)]
    joined = Scores.joined(parts)
    assert (joined.returns, joined.lengths, joined.success) == (
        [[1.0], [1.0]],
        [[5.0], [5.0]],
        {"any": [[0.0], [1.0]]},
    )
    assert joined.expert == 2.0


def test_a_block_of_environments_belongs_to_each_seed_round_after_round():
    scores = Evaluation(ARENA, num_seeds=2, at_once=2).play(uniform, 3, seed=0)
    with ARENA.make(4, seed=0) as envs:
        played = np.reshape(evaluate(envs, uniform(4), 8)["return"], (2, 4))
    assert scores.returns == [[*played[0, :2], played[1, 0]], [*played[0, 2:], played[1, 2]]]


@pytest.fixture
def folder(tmp_path):
    for number, reward in enumerate((1.0, 2.0, 6.0)):
        flags = {name: np.zeros(2, bool) for name in ("is_first", "is_last", "is_terminal")}
        records = flags | {"pre_action": np.zeros((2, 1)), "reward": np.array([0, reward])}
        records |= {"position": np.zeros((2, 2)), "image": np.zeros((2, 8, 8, 3), np.uint8)}
        metadata = {"environment": "fake-pointmass", "action_repeat": 2}
        write_episode(tmp_path / "shown" / f"{number}.hdf5", Episode(records, metadata))
    return str(tmp_path / "shown")


def test_the_expert_is_the_mean_of_all_demonstrations_however_few_are_shown(folder):
    shown = Demonstrations.read(folder, 1)
    assert (len(shown.episodes), shown.expert) == (1, 3.0)


def test_the_arena_draws_images_if_the_policy_reads_them(folder):
    assert Demonstrations.read(folder).arena.options["render_size"] == [8, 8]
    read = Demonstrations.read(folder, sensors=lambda name, first: ["position", "image"], inputs=["position"])
    assert read.arena == Arena("fake-pointmass", {"action_repeat": 2})
    assert set(read.episodes[0].records) > {"position", "image", "pre_action"}


def test_images_are_drawn_as_they_were_for_the_data(folder):
    (episode,) = load_episodes(folder, limit=1)
    drawn = {"rendering": {"camera": 2, "quality": "fast"}}
    options = Arena.of_episodes(
        [Episode(episode.records, episode.metadata | drawn)], inputs=["image"]
    ).options
    assert options == {"action_repeat": 2, "render_size": [8, 8], "camera": 2, "render_quality": "fast"}


def test_images_are_drawn_in_worker_processes():
    with Arena("fake-pointmass", {"render_size": 8}).make(2, seed=0) as envs:
        assert envs.worker_pids
    with ARENA.make(2, seed=0) as envs:
        assert not envs.worker_pids


@pytest.mark.parametrize("name", ["code_of_a_stranger:make_env", "gymnasium:code_of_a_stranger:Id-v0"])
def test_data_choose_no_code_to_import(name):
    episode = Episode({"position": np.zeros((3, 2))}, {"environment": name, "action_repeat": 2})
    with pytest.raises(ValueError, match=f"import code of their choice.*--config.env={name}"):
        Arena.of_episodes([episode])
    assert Arena.of_episodes([episode], name) == Arena(name, {"action_repeat": 2})
    registered = Episode(episode.records, {"environment": "gymnasium:Pendulum-v1"})
    assert Arena.of_episodes([registered]).name == "gymnasium:Pendulum-v1"


def test_an_environment_with_other_sensors_is_refused():
    with pytest.raises(ValueError, match="does not give 'height', which the model reads"):
        ARENA.check({"height": 1}, 2)
    with pytest.raises(ValueError, match=r"gives 'position' of shape \[2\], the model was built for \[8\]"):
        ARENA.check({"position": 8}, 2)
    with pytest.raises(ValueError, match="takes actions of size 2, the policy gives 6"):
        ARENA.check({"position": 2}, action_size=6)


def test_an_arena_is_kept_as_facts():
    assert Arena.of_facts(ARENA.facts) == ARENA
    assert Arena.of_facts({"env": "fake-pointmass", "action_repeat": None}) == Arena("fake-pointmass")


def test_an_environment_that_draws_itself_is_filmed_without_physics_states(tmp_path):
    evaluation = Evaluation(Arena("user_environments:draws"), num_seeds=2)
    evaluation.play(
        lambda num_envs: UniformActor(num_envs, 1, seed=0), 2, seed=0, video=tmp_path / "video.mp4"
    )
    assert (tmp_path / "video.mp4").stat().st_size > 0


def test_an_evaluation_that_never_ends_hears_signals(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "PATIENCE", 0.0)
    with RunDirectory(tmp_path), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        Evaluation(Arena("user_environments:Never")).play(
            lambda num_envs: UniformActor(num_envs, 1, seed=0), 1, seed=0
        )


def test_an_evaluation_that_is_due_after_a_signal_is_made(tmp_path, monkeypatch):
    """Else the updates before it would be lost, however many they were."""
    with RunDirectory(tmp_path) as run:
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(run, "_signalled", run._signalled - 1000.0)
        scores = Evaluation(ARENA).play(lambda num_envs: UniformActor(num_envs, 2, seed=0), 1, seed=0)
        with pytest.raises(Interrupted):
            run.stop_if_overdue()
    assert len(scores.returns[0]) == 1
