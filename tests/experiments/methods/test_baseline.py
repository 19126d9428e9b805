"""The baselines as a user runs them: tiny runs on the fake environment, refusals, kill and resume."""

import numpy as np
import pytest
from clocks import assert_clocks
from imitation_data import make_config, write_data
from interruption import SIGKILL, assert_same_run, copied_after, start, stop_after_rows

from agents.frame_stack_actor import FrameStackActor
from experiments.analysis import evaluate
from experiments.configs.baseline import get_config
from experiments.configs.collect import get_config as collect_config
from experiments.configs.evaluate import get_config as evaluate_config
from experiments.envs.vector import VectorEnvironment
from experiments.methods import baseline, baseline_data, baseline_recipes, collect
from experiments.models import architectures, files
from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import load_episodes, write_episode


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def bco_run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("bco") / "run"
    config = make_config(get_config("bco-tiny"), data, num_seeds=2)
    with copied_after(6, workdir, workdir.parent / "killed"):  # while the policy learns
        return workdir, config, baseline.run(config, workdir)


def test_its_first_policy_demonstrates(bco_run, tmp_path):
    workdir, *_ = bco_run
    config = collect_config("demonstrations-tiny")
    with config.unlocked():
        config.update(source=str(workdir), num_episodes=2)
    collect.run(config, tmp_path / "shown")
    shown = load_episodes(tmp_path / "shown" / "episodes")
    assert {episode.metadata["policy"] for episode in shown} == {"baseline-mode"}
    with config.unlocked():
        config.sample = True
    with pytest.raises(ValueError, match="no noise to sample"):
        collect.run(config, tmp_path / "sampled")


def test_a_baseline_is_shown_what_demonstrations_have_in_common(data):
    config = make_config(get_config("bco-tiny"), data)
    config.common_parts.min_length = 3
    lengths = {}
    for max_gap in (None, 1000, 1):
        config.common_parts.max_gap = max_gap
        shown = baseline_data.load_data(config, baseline_recipes.BCO).shown
        lengths[max_gap] = [episode.num_records for episode in shown.episodes]
    assert lengths[1000] == lengths[None] and sum(lengths[1]) < sum(lengths[None]) and min(lengths[1]) >= 3
    config.common_parts.max_gap = 0
    with pytest.raises(ValueError, match="No part of 3 records is common"):
        baseline_data.load_data(config, baseline_recipes.BCO)


def test_a_finished_run_is_evaluated_under_another_variation(bco_run, tmp_path):
    config = evaluate_config("tiny")
    plain = evaluate.run(config, tmp_path / "plain", run=str(bco_run[0]))
    config.env = "fake-pointmass?mass=3"
    varied = evaluate.run(config, tmp_path / "varied", run=str(bco_run[0]))
    assert (
        varied["environment"]["environment"] == config.env
        and varied["expert_return"] == plain["expert_return"]
    )
    assert varied["return"] != plain["return"]


def test_the_result_has_a_list_per_seed_with_an_entry_per_episode(bco_run):
    workdir, config, result = bco_run
    assert np.shape(result["return"]) == (2, 2)
    assert np.shape(result["action_mse"]) == np.shape(result["idm_action_mse"]) == (2,)
    assert result["num_updates"] == 2 * config.fit.max_updates
    assert len(result["by_expert"]) == 2


def test_evaluations_are_logged_with_their_episodes(bco_run):
    workdir, _, result = bco_run
    rows = read_rows(workdir / "eval.jsonl")
    assert [row["final"] for row in rows] == [False, True]
    assert rows[-1]["return"] == result["return"]
    assert_clocks(workdir, result["num_updates"])


def test_the_error_to_the_true_actions_is_marked_as_analysis(bco_run):
    rows = read_rows(bco_run[0] / "metrics.jsonl")
    policy_rows = [row for row in rows if "train/policy/loss" in row]
    assert len(policy_rows) == 4 and all(len(row["analysis/action_mse"]) == 2 for row in policy_rows)


def test_a_run_that_is_done_is_not_repeated(bco_run):
    workdir, config, result = bco_run
    assert baseline.run(config, workdir) == result


def test_policies_are_loaded_from_the_run_alone_and_act(bco_run):
    models = files.load(bco_run[0])
    assert models.num_seeds == 2 and models.policy.num_frames == 2
    with VectorEnvironment("fake-pointmass", 2, seed=0) as envs:
        assert FrameStackActor(models.policy, num_seeds=2)(envs.reset()).shape == (2, 2)


def test_a_seed_does_not_depend_on_its_neighbours(bco_run, data, tmp_path):
    workdir, _, _ = bco_run
    baseline.run(make_config(get_config("bco-tiny"), data, seed=1), tmp_path / "single")
    together, alone = (files.load(path).policy for path in (workdir, tmp_path / "single"))
    np.testing.assert_allclose(together.head.head.kernel[1], alone.head.head.kernel[0], rtol=1e-3, atol=1e-4)


def test_bco_needs_no_actions_in_demonstrations_and_learns_the_same_without(bco_run, data, tmp_path):
    _, _, result = bco_run
    blind = baseline.run(make_config(get_config("bco-tiny"), data, "observations", num_seeds=2), tmp_path)
    assert "action_mse" not in blind
    assert blind["return"] == result["return"]


def test_bc_runs_without_embodiment_data(data, tmp_path):
    config = make_config(
        get_config("bc-tiny"), data, embodiment="", standardize=False, setup="mdp", num_demonstrations=2
    )
    result = baseline.run(config, tmp_path)
    assert np.shape(result["return"]) == (1, 2)


def test_bc_refuses_demonstrations_without_actions(data, tmp_path):
    with pytest.raises(
        ValueError, match="BC oracle needs the true actions, and the demonstrations in .* have none"
    ):
        baseline.run(make_config(get_config("bc-tiny"), data, "observations"), tmp_path)


def test_bco_refuses_embodiment_data_without_actions(data, tmp_path):
    config = make_config(get_config("bco-tiny"), data, embodiment=str(data / "observations"))
    with pytest.raises(
        ValueError, match=r"The embodiment data in .*observations have no actions; BCO\(0\) learns"
    ):
        baseline.run(config, tmp_path)


@pytest.mark.parametrize("preset", ["bc-tiny", "bco-tiny"])
def test_actions_that_no_policy_can_take_are_refused_with_the_command_that_scales_them(
    data, tmp_path, preset
):
    config = make_config(get_config(preset), data)
    name = "embodiment" if preset == "bco-tiny" else "demonstrations"
    for number, episode in enumerate(load_episodes(getattr(config, name))):
        episode.records["pre_action"] *= 3
        write_episode(tmp_path / "data" / f"{number}.hdf5", episode)
    with config.unlocked():
        config[name] = str(tmp_path / "data")
    with pytest.raises(ValueError, match="actions of up to .*convert:files .*--config.action_low=LOW"):
        baseline.run(config, tmp_path / "run")


def test_data_that_exceed_the_memory_are_refused_with_what_to_set(data, tmp_path, monkeypatch):
    monkeypatch.setattr(baseline_data, "free_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"0.00 GiB are free; use fewer \(config.num_embodiment"):
        baseline.run(make_config(get_config("bco-tiny"), data), tmp_path / "run")


def test_a_missing_folder_is_named(data, tmp_path):
    with pytest.raises(
        ValueError, match=r"BCO\(0\) needs a folder of episodes; pass --config.embodiment=DIR."
    ):
        baseline.run(make_config(get_config("bco-tiny"), data, embodiment=""), tmp_path)


def test_an_unknown_method_lists_the_known_ones(data, tmp_path):
    with pytest.raises(
        ValueError,
        match="Unknown baseline 'gail'. Known: bc, bco, iidm, mbbc, bco_alpha, smodice, lobsdice, fb, bcv_lr, "
        "clam, lapo, laom, pidm; or",
    ):
        baseline.run(make_config(get_config("bco-tiny"), data, method="gail"), tmp_path)


@pytest.mark.parametrize("method, option", [("pidm", "horizon"), ("clam", "unlabelled"), ("mbbc", "model")])
def test_a_method_over_the_preset_of_another_is_refused_with_its_own(data, tmp_path, method, option):
    with pytest.raises(ValueError, match=f"{option}.* by its preset: --config=baseline:{method}."):
        baseline.run(make_config(get_config("bco-tiny"), data, method=method), tmp_path)


def test_the_published_settings_are_the_default():
    config = get_config("bco")
    assert config.fit.to_dict() == dict(
        learning_rate=1e-3, batch_size=50, training_fraction=0.7, patience=3, min_epochs=50, min_updates=5000,
        max_updates=None, updates_per_epoch=None, grad_clip=None,
    )  # fmt: skip
    assert get_config("bc").fit.min_updates == 0
    assert not config.standardize


@pytest.mark.parametrize(
    ("method", "setup", "frames"),
    [("bco", "mdp", 1), ("bco", "lpomdp", 5), ("bco_alpha", "mdp", 1), ("bco_alpha", "lpomdp", 3)],
)
def test_policies_read_as_many_frames_as_published(data, method, setup, frames):
    config = get_config(method)
    assert config.stack is None
    episodes = load_episodes(data / "embodiment", limit=1)
    arch = architectures.frame_stack(config.to_dict(), "fake-pointmass", setup, episodes)
    assert arch["num_frames"] == frames


def test_runs_killed_while_either_network_learns_end_bit_identical(bco_run, data, tmp_path):
    reference, config, _ = bco_run
    killed, workdir = reference.parent / "killed", tmp_path / "run"
    assert not (killed / "DONE").is_file()
    baseline.run(config, killed)
    assert_same_run(killed, reference)

    flags = (
        "--config=baseline:bco-tiny", f"--config.embodiment={data / 'embodiment'}", "--config.num_seeds=2",
        f"--config.demonstrations={data / 'demonstrations'}", f"--workdir={workdir}",
    )  # fmt: skip
    assert stop_after_rows(start("baseline", *flags), workdir / "metrics.jsonl", 3, SIGKILL) == -SIGKILL
    assert not (workdir / "DONE").is_file()
    baseline.run(config, workdir)
    assert_same_run(workdir, reference)
