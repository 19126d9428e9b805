"""Collecting: what each preset writes, exact continuation after signals, and messages for mistakes."""

import os
import signal
import threading

import jax
import numpy as np
import pytest
from clocks import assert_clocks
from interruption import (
    SIGKILL,
    assert_same_episodes,
    assert_same_run,
    interrupting,
    killed,
    start,
    stop_after_rows,
    terminated,
    without_clock,
)

from experiments.configs.collect import get_config
from experiments.methods.collect import run
from experiments.methods.collect_sac import SACAgents
from experiments.models import files
from experiments.models.loading import load_run
from experiments.runs import directory
from experiments.runs.metrics import read_rows
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import EpisodeError, load_episodes


def tiny(preset, **changes):
    config = get_config(f"{preset}-tiny")
    with config.unlocked():
        config.update(changes)
    return config


@pytest.fixture(scope="module")
def sac(tmp_path_factory):
    """A finished tiny run of SAC, two agents, and its result."""
    workdir = tmp_path_factory.mktemp("sac") / "run"
    return workdir, run(tiny("sac", num_agents=2), workdir)


def test_sac_keeps_all_its_episodes(sac):
    workdir, result = sac
    episodes = load_episodes(workdir / "episodes")
    assert len(episodes) == result["num_episodes"] == 2 * 400 // 25
    assert {e.metadata["agent"] for e in episodes} == {0, 1}
    assert "physics_state" in episodes[0].records


def test_sac_writes_metrics_of_every_round_and_evaluation(sac):
    rows, evals = (read_rows(sac[0] / f"{name}.jsonl") for name in ("metrics", "eval"))
    assert [row["agent_step"] for row in rows] == list(range(50, 801, 50))
    assert {"train/critic/loss", "train/policy/entropy", "episode/return"} <= rows[-1].keys()
    assert [row["agent_step"] for row in evals] == [200, 400, 600, 800]
    assert_clocks(sac[0], updates=2 * 300)


def test_its_best_policy_demonstrates(sac):
    workdir, result = sac
    returns = files.load(workdir).card["returns"]
    assert max(map(np.mean, returns)) == result["policy_return"]
    best = files.load(workdir / "policies" / str(np.argmax([np.mean(each) for each in returns])))
    for ours, expected in zip(*map(jax.tree.leaves, (load_run(workdir).policies, best.policy)), strict=True):
        np.testing.assert_array_equal(ours, expected)
    demonstrations = load_episodes(workdir / "demonstrations")
    assert len(demonstrations) == result["demonstrations"]["num_episodes"] == 3
    assert {e.metadata["policy"] for e in demonstrations} == {"sac-mode"}


def test_a_finished_run_returns_its_result_at_once(sac):
    workdir, result = sac
    before = (workdir / "metrics.jsonl").stat().st_mtime_ns
    assert run(tiny("sac", num_agents=2), workdir) == result
    assert (workdir / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_stochastic_expert_shows_other_actions_than_its_mode(sac, tmp_path):
    run(tiny("demonstrations", source=str(sac[0]), num_episodes=3, sample=True), tmp_path / "run")
    sampled = load_episodes(tmp_path / "run" / "episodes")
    assert {e.metadata["policy"] for e in sampled} == {"sac-sampled"}
    mode = load_episodes(sac[0] / "demonstrations")
    assert not np.allclose(sampled[0].records["pre_action"], mode[0].records["pre_action"])


def test_demonstrations_of_another_run_are_reproducible(sac, tmp_path):
    config = tiny("demonstrations", source=str(sac[0]), num_episodes=3)
    run(config, tmp_path / "run")
    assert_same_episodes(tmp_path / "run" / "episodes", sac[0] / "demonstrations")


def test_an_expert_demonstrates_amid_exogenous_noise_as_it_does_without(sac, tmp_path):
    env = "fake-pointmass?exogenous=2"
    run(tiny("demonstrations", source=str(sac[0]), num_episodes=3, env=env), tmp_path / "run")
    noisy, plain = load_episodes(tmp_path / "run" / "episodes"), load_episodes(sac[0] / "demonstrations")
    for ours, theirs in zip(noisy, plain, strict=True):
        assert ours.metadata["environment"] == env and ours.records["exogenous"].shape[1] == 4
        np.testing.assert_array_equal(ours.records["pre_action"], theirs.records["pre_action"])


def test_a_trained_expert_digresses_and_the_metadata_say_when(sac, tmp_path):
    config = tiny("demonstrations", source=str(sac[0]), num_episodes=3)
    config.extraneous.share = 0.4
    run(config, tmp_path / "run")
    for ours, theirs in zip(
        load_episodes(tmp_path / "run" / "episodes"), load_episodes(sac[0] / "demonstrations"), strict=True
    ):
        actions = [each.records["pre_action"] for each in (ours, theirs)]
        differs = np.flatnonzero((actions[0] != actions[1]).any(axis=1))
        assert ours.metadata["extraneous"][0][0] == differs[0]


def test_demonstrations_without_actions_hold_observations_only(sac, tmp_path):
    run(tiny("demonstrations", source=str(sac[0]), with_actions=False), tmp_path / "run")
    for hidden, shown in zip(
        load_episodes(tmp_path / "run" / "episodes"), load_episodes(sac[0] / "demonstrations"), strict=False
    ):
        assert hidden.records["pre_action"].shape == (26, 0)
        assert "physics_state" not in hidden.records
        np.testing.assert_array_equal(hidden.records["position"], shown.records["position"])


@pytest.mark.parametrize("method", ["uniform", "coloured", "rhythmic"])
def test_flailing_continues_where_it_stopped(method, tmp_path):
    run(tiny(method), tmp_path / "whole")
    run(tiny(method, num_episodes=3), tmp_path / "grown")
    run(tiny(method), tmp_path / "grown")
    assert_same_episodes(tmp_path / "grown" / "episodes", tmp_path / "whole" / "episodes")
    rows = (without_clock(read_rows(tmp_path / name / "metrics.jsonl")) for name in ("grown", "whole"))
    grown, whole = rows
    assert [row["episode"] for row in whole] == [2, 4, 5]
    assert grown == whole
    assert_clocks(tmp_path / "grown", updates=0)


def test_flailing_has_other_actions_in_every_episode(tmp_path):
    run(tiny("coloured"), tmp_path / "run")
    actions = [e.records["pre_action"] for e in load_episodes(tmp_path / "run" / "episodes")]
    assert len({a.tobytes() for a in actions}) == 5


def test_a_mix_copies_episodes_but_no_demonstrations(sac, tmp_path):
    run(tiny("uniform"), tmp_path / "uniform")
    result = run(tiny("mix", sources=(str(sac[0]), str(tmp_path / "uniform")), limit=4), tmp_path / "mix")
    assert result["num_episodes"] == 8
    policies = [e.metadata["policy"] for e in load_episodes(tmp_path / "mix" / "episodes")]
    assert policies == ["sac"] * 4 + ["uniform"] * 4


# Signals -------------------------------------------------------------------------------------------------------------


def test_a_run_stopped_and_killed_ends_bit_identical(sac, tmp_path):
    reference, workdir = sac[0], tmp_path / "run"
    metrics = workdir / "metrics.jsonl"
    for call, end, rows in ((3, terminated, 3), (4, killed, 6)):
        with interrupting(SACAgents, "play", call, end):
            run(tiny("sac", num_agents=2), workdir)
        assert len(read_rows(metrics)) == rows and not (workdir / "DONE").exists()
    flags = ("--config=collect:tiny", "--config.num_agents=2", f"--workdir={workdir}")
    assert stop_after_rows(start("collect", *flags), metrics, 11, SIGKILL) == -SIGKILL
    run(tiny("sac", num_agents=2), workdir)
    assert_same_episodes(workdir / "episodes", reference / "episodes")
    assert_same_episodes(workdir / "demonstrations", reference / "demonstrations")
    assert_same_run(workdir, reference, ("checkpoints", "model"))
    extra, expected = (Checkpoints(path / "checkpoints").read()[2] for path in (workdir, reference))
    assert extra == expected


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_an_unknown_task_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="Unknown task 'wlak'"):
        run(tiny("uniform", env="walker-wlak"), tmp_path / "run")


def test_a_source_that_is_no_run_says_so(tmp_path):
    with pytest.raises(ValueError, match="not the directory of a run"):
        run(tiny("demonstrations", source=str(tmp_path)), tmp_path / "run")


def test_a_mix_of_nothing_says_so(tmp_path):
    with pytest.raises(ValueError, match="sources"):
        run(tiny("mix"), tmp_path / "run")


def test_a_mix_of_an_empty_folder_says_so(tmp_path):
    with pytest.raises(EpisodeError, match="holds no episodes"):
        run(tiny("mix", sources=(str(tmp_path),)), tmp_path / "mix")


def test_a_signal_is_heard_inside_an_episode_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "PATIENCE", 0.2)
    config = tiny("uniform", env="user_environments:Never", num_episodes=1, num_envs=1)
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(directory.Interrupted):
        run(config, tmp_path)
    timer.join()
    assert not (tmp_path / "DONE").exists()
