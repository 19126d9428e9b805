"""AIME-v2 as users run it: every reward, interrupted and resumed, offline, and with what users get wrong."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from interruption import SIGKILL, SIGTERM, assert_same_episodes, assert_same_run, environment

from experiments import collect, online, online_cost, pretrain, rewards
from experiments.configs import collect as collect_config
from experiments.configs import online as online_config
from experiments.configs import online_cost as cost_config
from experiments.configs import pretrain as pretrain_config
from experiments.configs import rewards as rewards_config
from experiments.metrics_writer import read_rows
from experiments.run_directory import Interrupted
from experiments.runs import load_run
from worldmodels.checkpoints import Checkpoints
from worldmodels.episodes import load_episodes

SABOTAGED = pathlib.Path(__file__).parent / "online_sabotaged.py"


def config_of(module, preset="tiny", **changes):
    config = module.get_config(preset)
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("online")


@pytest.fixture(scope="module")
def paths(folder):
    """Configs' paths of data, demonstrations, world model and reward model."""
    collect.run(config_of(collect_config, "scripted-tiny"), folder / "data")
    shown = config_of(
        collect_config, "scripted-demonstrations", tasks="fake-pointmass", num_episodes=3, workers=0
    )
    collect.run(shown, folder / "shown")
    data, shown = (str(folder / name / "episodes") for name in ("data", "shown"))
    pretrain.run(config_of(pretrain_config, embodiment=data), folder / "model")
    pretrain.run(config_of(pretrain_config, "viper-tiny", embodiment=shown), folder / "viper")
    return {
        "embodiment": data,
        "demonstrations": shown,
        "model": str(folder / "model"),
        "reward__model": str(folder / "viper"),
    }


@pytest.fixture(scope="module")
def finished(folder, paths):
    config = config_of(online_config, prefill=1, policy_reset_every=2, epsilon=0.1, **paths)
    return folder / "run", online.run(config, folder / "run")


def test_every_row_has_clocks_returns_and_both_losses(finished):
    workdir, _ = finished
    rows = [row for row in read_rows(workdir / "metrics.jsonl") if "episode/return" in row]
    assert [row["episode"] for row in rows] == [2, 3, 4, 5]  # the first one is the prefill
    assert [row["update"] for row in rows] == [6, 8, 10, 12]
    assert rows[-1]["agent_step"] == rows[-1]["env_step"] == 5 * 25
    for name in ("model/loss", "policy/loss", "policy/viper_reward_return", "value/viper_reward_value_loss"):
        assert np.isfinite([row[f"train/{name}"] for row in rows]).all()
    assert all(row["episode/viper_return"][0] < 0 for row in rows)


def test_rows_tell_how_long_each_part_took(finished):
    workdir, _ = finished
    row = [row for row in read_rows(workdir / "metrics.jsonl") if "episode/return" in row][-1]
    for part in ("collection", "scoring", "updates", "checkpoint"):
        assert row[f"time/{part}"] > 0 and row[f"time/{part}_processor"] >= 0


def test_what_a_run_costs_is_measured_part_by_part(folder, finished):
    online_cost.run(config_of(cost_config, run=str(finished[0])), folder / "cost")
    table = (folder / "cost" / "online-cost.md").read_text()
    for row in (
        "model alone",
        "policy's AIME loss alone",
        "update, reward none",
        "update, reward viper",
        "reward viper of an episode",
        "episode, 2 environments at once",
        "online buffer",
    ):
        assert row in table


def test_evaluations_count_success_in_three_ways_and_begin_with_offline_aime(finished):
    workdir, result = finished
    rows = read_rows(workdir / "eval.jsonl")
    assert rows[0]["episode"] == 1 and rows[0]["update"] == 4
    for name in ("success_any", "success_final", "success_held"):
        assert len(rows[0][name]) == 2 and np.shape(result[name]) == (1, 2)
    assert {"analysis/action_mse_pretraining", "analysis/action_mse_policy"} <= rows[-1].keys()


def test_episodes_keep_their_surrogate_reward(finished):
    episodes = load_episodes(finished[0] / "episodes")
    assert [e.metadata["policy"] for e in episodes] == ["uniform"] + ["aime-v2"] * 4
    assert all(
        e.records["viper_reward"][0] == 0 and (e.records["viper_reward"][1:] < 0).all() for e in episodes
    )


def test_a_finished_run_can_be_loaded_and_acts(finished):
    run = load_run(finished[0])
    records = {"position": np.zeros((1, 2), np.float32), "is_first": np.ones(1, bool)}
    assert run.actor(num_envs=1)(records).shape == (1, 2)
    assert "viper_reward" in run.world_model().targets


def run_sabotaged(place: str, number: int, signal_number: int, workdir, paths) -> int:
    """Runs until the signal; returns the exit code."""
    flags = ["--config=experiments/configs/online.py:tiny", f"--workdir={workdir}"]
    flags += [f"--config.{key.replace('__', '.')}={value}" for key, value in paths.items()]
    flags += ["--config.prefill=1", "--config.policy_reset_every=2", "--config.epsilon=0.1"]
    command = [sys.executable, SABOTAGED, place, str(number), str(int(signal_number)), *flags]
    return subprocess.run(command, env=environment(), capture_output=True, timeout=240).returncode


def test_a_run_stopped_in_episodes_and_while_saving_ends_bit_identical(finished, paths, folder):
    workdir = folder / "again"
    assert run_sabotaged("episode", 3, SIGKILL, workdir, paths) == -SIGKILL
    assert run_sabotaged("checkpoint", 1, SIGKILL, workdir, paths) == -SIGKILL
    assert run_sabotaged("episode", 1, SIGTERM, workdir, paths) == 128 + SIGTERM
    assert len(load_episodes(workdir / "episodes")) == 3  # the episode that was being played is complete
    config = config_of(online_config, prefill=1, policy_reset_every=2, epsilon=0.1, **paths)
    online.run(config, workdir)
    assert_same_run(workdir, finished[0], ("checkpoints", "model", "policy", "critic"))


def test_a_prefill_that_is_interrupted_keeps_its_whole_rounds(folder, paths, monkeypatch):
    changes = {**paths, "embodiment": "", "reward__name": "ot", "policy_pretraining": 0, "num_episodes": 0}
    config = config_of(online_config, prefill=3, **changes)
    online.run(config, folder / "prefill")
    play, played = online.collect_episodes, []

    def interrupted(*args):
        played.append(os.kill(os.getpid(), SIGTERM) if len(played) == 1 else None)
        return play(*args)

    monkeypatch.setattr(online, "collect_episodes", interrupted)
    with pytest.raises(Interrupted):
        online.run(config, folder / "prefill-again")
    assert len(load_episodes(folder / "prefill-again" / "episodes")) == 2
    online.run(config, folder / "prefill-again")
    assert len(played) == 3, "an episode was played again"
    assert_same_episodes(folder / "prefill-again" / "episodes", folder / "prefill" / "episodes")
    ours, expected = (
        Checkpoints(folder / name / "checkpoints").read()[1] for name in ("prefill-again", "prefill")
    )
    for name, value in expected.items():  # the scale of the reward among them
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_the_reward_of_a_run_ranks_episodes_of_a_dataset(folder, finished, paths):
    config = config_of(rewards_config, "tiny", run=str(finished[0]), limit=4, episodes=paths["embodiment"])
    result = rewards.run(config, folder / "rewards")
    assert len(result["returns"]["data"]["surrogate"]) == 4
    assert (folder / "rewards" / "figures" / "rewards.png").stat().st_size > 0


def test_offline_all_windows_are_labelled_pretraining_data(folder, paths):
    changes = {**paths, "reward__name": "ot", "offline": True, "num_episodes": 1, "policy_pretraining": 0}
    config = config_of(online_config, regularizer__mode="append", regularizer__label=True, **changes)
    online.run(config, folder / "offline")
    assert not (folder / "offline" / "episodes").exists()
    config.num_episodes = 2  # an offline run can be continued, although its episodes are only counted
    assert online.run(config, folder / "offline")["num_episodes"] == 2
    assert read_rows(folder / "offline" / "metrics.jsonl")[-1]["agent_step"] == 0


def test_frozen_parameters_stay_and_a_run_starts_from_policy_and_critic(folder, finished, paths):
    earlier = str(finished[0])
    changes = {**paths, "freeze_pretrained_parameters": True, "num_episodes": 1, "policy_pretraining": 0}
    config = config_of(
        online_config, policy_from=earlier, critic_from=earlier, updates_per_episode=0, **changes
    )
    online.run(config, folder / "frozen")
    ours, theirs = load_run(folder / "frozen"), load_run(finished[0])
    np.testing.assert_array_equal(ours.policy().mean_net.head.kernel, theirs.policy().mean_net.head.kernel)


# Mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(model=""), "--config.model=DIR"),
        (dict(demonstrations=""), "--config.demonstrations=DIR"),
        (dict(reward__model=""), "pretrain.py:viper"),
        (dict(reward__name="gail"), "Unknown surrogate reward 'gail'"),
        (dict(num_demonstrations=0), "at least one --config.num_demonstrations"),
        (dict(offline=True), "empty online buffer.*--config.prefill.*regularizer.label=True"),
        (
            dict(offline=True, regularizer__mode="append"),
            "No batch would tell.*'viper'.*regularizer.label=True",
        ),
        (dict(reward__name="ot", regularizer__fraction=1.0), "No batch would tell the model the reward 'ot'"),
        (dict(regularizer__fraction=1.5), "between 0 and 1, got 1.5"),
        (dict(regularizer__mode="mix"), "Unknown regulariser mode 'mix'"),
        (dict(embodiment="", model_pretraining=2), "Model pretraining needs pretraining data"),
        (dict(intrinsic_reward="fun"), "Unknown intrinsic reward 'fun'"),
    ],
)
def test_what_is_missing_or_unknown_is_named(tmp_path, paths, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        online.run(config_of(online_config, **{**paths, **changes}), tmp_path / "run")


def test_demonstrations_of_another_body_are_refused(tmp_path, paths):
    from worldmodels.episodes import write_episode

    episode = load_episodes(paths["demonstrations"], limit=1)[0]
    episode.records["position"] = episode.records["position"][:, :1]
    write_episode(tmp_path / "other" / "0.hdf5", episode)
    with pytest.raises(
        ValueError, match="position has size 1 in the demonstrations, the world model was built for 2"
    ):
        online.run(
            config_of(online_config, **{**paths, "demonstrations": str(tmp_path / "other")}), tmp_path / "run"
        )
