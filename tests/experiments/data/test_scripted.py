"""Scripted data: shares and noise, tasks in folders, continuation, demonstrations."""

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.configs import collect as collect_config
from experiments.data import scripted
from experiments.data.scripted import environments_of, kind_of
from experiments.envs.metaworld_tasks import SETS
from experiments.methods import collect
from worldmodels.data.episodes import load_episodes

SHARES = {"expert": 0.4, "noisy": 0.4, "random": 0.2}


def config_of(preset="scripted-tiny", **changes):
    config = collect_config.get_config(preset)
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("scripted") / "run"
    return workdir, collect.run(config_of(), workdir)


def test_shares_and_noise_are_spread_evenly():
    kinds = [kind_of(number, SHARES, max_noise=2.0) for number in range(500)]
    shares = {kind: np.mean([k == kind for k, _ in kinds]) for kind in SHARES}
    assert all(abs(shares[kind] - SHARES[kind]) < 0.01 for kind in SHARES)
    noise = [scale for kind, scale in kinds if kind == "noisy"]
    np.testing.assert_allclose(np.histogram(noise, 4, (0, 2))[0] / len(noise), 0.25, atol=0.05)


def test_metadata_name_task_and_noise(data):
    workdir, result = data
    episodes = load_episodes(workdir / "episodes" / "fake-pointmass")
    assert result["environments"] == ["fake-pointmass"] and len(episodes) == 12
    for number, episode in enumerate(episodes):
        kind, scale = kind_of(number, SHARES, 1.0)
        facts = episode.metadata
        assert (facts["policy"], facts["noise"]) == (f"scripted-{kind}", scale)
        assert facts["environment"] == "fake-pointmass"


def test_experts_do_better_than_noise(data):
    episodes = load_episodes(data[0] / "episodes")
    returns = {
        kind: np.mean([e.return_ for e in episodes if e.metadata["policy"] == f"scripted-{kind}"])
        for kind in ("expert", "random")
    }
    assert returns["expert"] > returns["random"] + 2


def test_more_episodes_continue_the_same_data(data, tmp_path):
    collect.run(config_of(num_episodes=5), tmp_path / "run")
    collect.run(config_of(num_episodes=12), tmp_path / "run")
    for ours, expected in zip(
        load_episodes(tmp_path / "run" / "episodes"), load_episodes(data[0] / "episodes"), strict=True
    ):
        np.testing.assert_array_equal(ours.records["position"], expected.records["position"])


def test_processes_play_the_same_episodes(data, tmp_path):
    collect.run(config_of(workers=1), tmp_path / "run")
    for ours, expected in zip(
        load_episodes(tmp_path / "run" / "episodes"), load_episodes(data[0] / "episodes"), strict=True
    ):
        np.testing.assert_array_equal(ours.records["pre_action"], expected.records["pre_action"])


def test_demonstrations_end_in_success_and_hold_no_actions(tmp_path):
    config = config_of("scripted-demonstrations", tasks="fake-pointmass", num_episodes=3, workers=0)
    collect.run(config, tmp_path / "run")
    episodes = load_episodes(tmp_path / "run" / "episodes")
    assert len(episodes) == 3
    assert all(e.records["success"][-1] and e.records["pre_action"].shape[-1] == 0 for e in episodes)


def test_a_success_that_is_lost_again_counts_where_it_may_be_ever(tmp_path, monkeypatch):
    def play_and_lose_it(*job_and_number):
        episode, facts = play_one(*job_and_number)
        episode.records["success"][-1] = False
        return episode, facts

    play_one = scripted.play_one
    monkeypatch.setattr(scripted, "play_one", play_and_lose_it)
    given = dict(tasks="fake-pointmass", num_episodes=1, workers=0)
    with pytest.raises(
        ValueError, match="ended in success 0 times in 10 episodes; pass --config.success_at=ever"
    ):
        collect.run(config_of("scripted-demonstrations", **given), tmp_path / "end")
    collect.run(config_of("scripted-demonstrations", **given, success_at="ever"), tmp_path / "ever")
    (episode,) = load_episodes(tmp_path / "ever" / "episodes")
    assert episode.success and not episode.records["success"][-1]
    with pytest.raises(ValueError, match="a success at its end or ever, got --config.success_at=often"):
        collect.run(config_of("scripted-demonstrations", **given, success_at="often"), tmp_path / "often")


def test_an_expert_without_success_is_one_sentence_from_other_processes_too(tmp_path, capsys):
    flags = ["--config.tasks=fake-pointmass", "--config.num_episodes=1", "--config.episode_length=1"]
    config = "--config=collect:scripted-demonstrations"
    code = main(["collect", config, *flags, "--config.success_at=ever", f"--workdir={tmp_path / 'run'}"])
    error = capsys.readouterr().err
    assert code == 2 and "Traceback" not in error
    assert (
        "Error: The scripted expert of 'fake-pointmass' came to success 0 times in 10 episodes; ask" in error
    )


def test_tasks_are_sets_names_and_environments():
    assert len(environments_of("mt39")) == 39
    assert environments_of("push, metaworld-push,fake-pointmass") == ["metaworld-push", "fake-pointmass"]
    assert environments_of("metaworld6") == [f"metaworld-{task}" for task in SETS["metaworld6"]]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ("", "Which tasks"),
        ("walker-walk", "has no scripted expert"),
        ("metaworld-pull", "Unknown Meta-World task"),
    ],
)
def test_other_tasks_are_refused_in_one_sentence(tasks, sentence):
    with pytest.raises(ValueError, match=sentence):
        environments_of(tasks)


def test_shares_must_add_up(tmp_path):
    config = config_of()
    config.shares.expert = 0.9
    with pytest.raises(ValueError, match="add up to 1"):
        collect.run(config, tmp_path / "run")
