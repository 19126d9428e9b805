"""Dreamer as users run it: what it keeps, exact continuation, evaluation by policy and by planning, and mistakes."""

import jax
import numpy as np
import pytest
from clocks import assert_clocks
from imitation_data import config_of
from interruption import (
    SIGKILL,
    assert_same_episodes,
    assert_same_run,
    interrupting,
    killed,
    start,
    stop_after_rows,
    terminated,
)

from agents.planners import PLANNERS
from experiments.analysis import evaluate, export
from experiments.configs import collect as collect_config
from experiments.configs import dreamer as dreamer_config
from experiments.configs import evaluate as evaluate_config
from experiments.configs import export as export_config
from experiments.envs.groups import episode_seed
from experiments.methods import collect, dreamer
from experiments.methods.dreamer_learner import Learner
from experiments.models import files
from experiments.models.loading import load_run
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import read_rows
from worldmodels.checkpoints import named_leaves
from worldmodels.data.episodes import load_episodes, read_episode

# Without updates of the model alone, whose program `expert` has already; and one round that learns.
AT_ONCE = dict(model_pretraining_iterations=0, num_episodes=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def expert(folder):
    dreamer.run(config_of(dreamer_config), folder / "expert")
    return folder / "expert"


@pytest.fixture(scope="module")
def explorer(folder, expert):
    """Plan2Explore with the expert's world model, frozen, and its policy."""
    changes = dict(model=str(expert), freeze_pretrained_parameters=True, policy_from=str(expert))
    dreamer.run(config_of(dreamer_config, "p2e-tiny", **changes, **AT_ONCE), folder / "explorer")
    return folder / "explorer"


def test_its_episodes_are_embodiment_data(expert):
    episodes = [read_episode(expert / "episodes" / f"{n}.hdf5") for n in range(10)]
    assert [e.metadata["policy"] for e in episodes] == ["uniform"] * 4 + ["dreamer"] * 6
    assert len(load_episodes(expert / "episodes")) == 10
    assert {"position", "velocity", "pre_action", "reward", "physics_state"} <= set(episodes[0].records)


def test_no_evaluation_episode_enters_the_replay(expert, monkeypatch, tmp_path):
    """The seeds on disk are those of training; and all that a continued run remembers lies there."""
    seeds = [read_episode(expert / "episodes" / f"{n}.hdf5").metadata["seed"] for n in range(10)]
    assert seeds == [episode_seed(0, n % 2, n // 2) for n in range(10)]
    assert [np.shape(row["return"]) for row in read_rows(expert / "eval.jsonl")] == [(1, 2)]
    assert all(row["environment"]["environment"] for row in read_rows(expert / "eval.jsonl"))

    remembered = []
    monkeypatch.setattr(Learner, "remember", lambda self, episodes: remembered.extend(episodes))
    with RunDirectory(tmp_path / "run", config_of(dreamer_config)) as directory:
        run = dreamer.DreamerRun(directory)
        run.learner = Learner(run.config, load_episodes(expert / "episodes", limit=1))
        assert np.shape(run.scores(3, seed=5).returns) == (1, 3)
    assert remembered == []


def test_updates_keep_their_ratio_to_steps(expert):
    rows = [row for row in read_rows(expert / "metrics.jsonl") if row["update"]]
    assert [row["agent_step"] for row in rows] == [150, 200, 250]
    # 2 of the model alone, then what 50 steps a round earn at 0.1: 5, in dispatches of 2.
    assert [row["update"] for row in rows] == [2 + 4, 2 + 10, 2 + 14]
    assert_clocks(expert, updates=2 + 14)


def test_every_round_has_metrics_of_all_learners(expert):
    row = read_rows(expert / "metrics.jsonl")[-1]
    assert {"train/model/loss", "train/policy/reward_return", "train/value/reward_value_loss"} <= row.keys()
    assert {"episode/return", "episode/length", "episode/success_any", "env_step"} <= row.keys()


def test_a_killed_and_terminated_run_ends_bit_identical(expert, folder):
    flags = ("--config=dreamer:tiny", f"--workdir={folder / 'again'}")
    metrics = folder / "again" / "metrics.jsonl"
    with interrupting(dreamer.DreamerRun, "play", 1, terminated):
        dreamer.run(config_of(dreamer_config), folder / "again")
    assert len(read_rows(metrics)) == 3 and not (folder / "again" / "DONE").exists()
    assert stop_after_rows(start("dreamer", *flags), metrics, 4, SIGKILL) == -SIGKILL
    dreamer.run(config_of(dreamer_config), folder / "again")
    assert_same_run(folder / "again", expert, ("checkpoints", "model"))
    assert_same_episodes(folder / "again" / "episodes", expert / "episodes")


def test_members_of_one_program_are_the_runs_of_their_seeds_alone(expert, folder):
    """Up to rounding: matrices of all members are multiplied at once."""
    result = dreamer.run(config_of(dreamer_config, num_seeds=2), folder / "members")
    dreamer.run(config_of(dreamer_config, seed=1), folder / "second")
    assert np.shape(result["return"]) == (2, 3) and len(result["played"]) == 2
    for index, alone in enumerate((expert, folder / "second")):
        ours = folder / "members" / "seeds" / str(index)
        for one, other in zip(*(load_episodes(f / "episodes") for f in (ours, alone)), strict=True):
            np.testing.assert_allclose(one.records["position"], other.records["position"], atol=1e-4)
        own = named_leaves(load_run(folder / "members").policy(index))
        for name, value in named_leaves(load_run(alone).policy()).items():
            np.testing.assert_allclose(own[name], value, rtol=1e-2, atol=1e-4, err_msg=name)


def test_dreamer_v3_continues_to_the_bit_and_opens_again(folder):
    """The ranges of returns are state of the training; a two-hot critic is one that others can open."""
    changes = AT_ONCE | dict(num_episodes=8, imagination__gradient="reinforce")
    config = config_of(dreamer_config, "tiny-v3", **changes)
    dreamer.run(config, folder / "v3")
    with interrupting(dreamer.DreamerRun, "play", 2, killed):
        dreamer.run(config, folder / "v3-again")
    dreamer.run(config, folder / "v3-again")
    assert_same_run(folder / "v3-again", folder / "v3", ("checkpoints", "model"))
    row = read_rows(folder / "v3" / "metrics.jsonl")[-1]
    assert row["train/policy/reward_return_scale"] >= 1.0 and row["train/value/slow_grad_norm"] > 0
    ((network, target),) = files.load(folder / "v3", "critic").seed(0).critic.values()
    assert network.out_size == 1 and not np.array_equal(network.head.bias[...], target.head.bias[...])


# What others can do with a run -------------------------------------------------------------------------------------


def test_a_finished_run_is_evaluated_where_it_was_trained(expert, folder):
    result = evaluate.run(config_of(evaluate_config), folder / "evaluation", run=str(expert))
    assert np.shape(result["return"]) == (1, 2)
    assert load_run(expert).kind == "dreamer"


@pytest.mark.parametrize("planner", PLANNERS.names())
def test_a_finished_run_can_be_evaluated_by_planning(expert, folder, planner):
    config = config_of(evaluate_config, planner=planner)
    if planner == "tracking":
        config.update(demonstrations=str(expert / "episodes"), num_demonstrations=2)
    result = evaluate.run(config, folder / planner, run=str(expert))
    assert np.shape(result["return"]) == (1, 2)


def test_it_demonstrates_for_collect(expert, folder):
    config = config_of(collect_config, "demonstrations-tiny", source=str(expert), num_episodes=3)
    collect.run(config, folder / "demonstrations")
    demonstrations = load_episodes(folder / "demonstrations" / "episodes")
    assert [e.metadata["policy"] for e in demonstrations] == ["dreamer-mode"] * 3


def test_a_loaded_critic_is_the_targets_of_imagination(expert):
    ((network, target),) = files.load(expert, "critic").critic.values()
    assert set(load_run(expert).critics) == {"reward"}
    for used, kept in zip(*map(jax.tree.leaves, (load_run(expert).critics["reward"], target)), strict=True):
        np.testing.assert_array_equal(used, kept)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (network, target)), strict=True))


def test_an_exported_run_can_be_started_from(expert, folder):
    export.run(export_config.get_config(), "", run=str(expert), to=str(folder / "export"))
    changes = dict.fromkeys(("model", "policy_from", "critic_from"), str(folder / "export"))
    learner = Learner(
        config_of(dreamer_config, **changes).to_dict(), load_episodes(expert / "episodes", limit=1)
    )
    network, target = files.load(expert, "critic").critic["reward"]
    critic = learner.state.critic
    for begun, kept in ((critic.train.model["reward"], network), (critic.target["reward"], target)):
        for ours, expected in zip(*map(jax.tree.leaves, (begun, kept)), strict=True):
            np.testing.assert_array_equal(ours, expected[0])
    for ours, expected in zip(
        *map(jax.tree.leaves, (learner.policy, load_run(expert).policy())), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_of_a_pretrained_model_the_run_decides_whether_it_predicts_terminations(expert):
    config = config_of(dreamer_config, model=str(expert))
    config.world_model.predict_terminal = False
    learner = Learner(config.to_dict(), load_episodes(expert / "episodes", limit=1))
    assert "is_terminal" not in learner.model.targets


# Curiosity ---------------------------------------------------------------------------------------------------------


def test_frozen_parameters_are_those_of_the_pretrained_model(expert, explorer):
    before, after = (named_leaves(files.load(path).world_model) for path in (expert, explorer))
    assert any("ensemble" in name for name in after) and not any("reward" in name for name in after)
    for name in set(before) & set(after):
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_curiosity_trains_the_policy_and_its_own_critic(expert, explorer):
    row = read_rows(explorer / "metrics.jsonl")[-1]
    assert {"train/policy/intrinsic_reward_return", "train/model/emb_prediction_loss"} <= row.keys()
    policies = (load_run(path).policies for path in (expert, explorer))
    deltas = [np.abs(x - y).max() for x, y in zip(*map(jax.tree.leaves, policies), strict=True)]
    assert 0 < max(deltas) < 0.1, "it did not start from the expert's policy, or has not learnt"


def test_latent_surprise_is_sought_as_disagreement_is(tmp_path):
    """LBS (Mazzaglia et al. 2022)."""
    dreamer.run(config_of(dreamer_config, "p2e-tiny", reward="lbs", **AT_ONCE), tmp_path)
    row = read_rows(tmp_path / "metrics.jsonl")[-1]
    assert np.isfinite(row["train/policy/intrinsic_reward_return"])
    assert row["train/model/intrinsic_rewards_probe_loss"] > 0, "the network that foresees it was not trained"


# Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(reward="fame"), "Unknown reward 'fame'. Known: true, disagreement"),
        (dict(freeze_pretrained_parameters=True), "nothing to freeze without a pretrained model"),
        (dict(prefill=0), "prefill to at least 1"),
        (dict(planning__name="tracking"), "follows demonstrations .* use it in `evaluate`"),
    ],
)
def test_mistakes_are_one_sentence(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        dreamer.run(config_of(dreamer_config, **changes), tmp_path / "run")


def test_a_model_of_another_set_up_is_refused(expert, tmp_path):
    config = config_of(dreamer_config, model=str(expert), setup="lpomdp")
    with pytest.raises(
        ValueError, match="model reads position, velocity, set-up 'lpomdp' of 'fake-pointmass' position;"
    ):
        dreamer.run(config, tmp_path / "run")


def test_a_critic_of_another_reward_is_refused(expert, tmp_path):
    config = config_of(dreamer_config, "p2e-tiny", critic_from=str(expert))
    with pytest.raises(ValueError, match="is of the reward reward, this run seeks intrinsic_reward"):
        dreamer.run(config, tmp_path / "run")


def test_a_policy_of_another_size_is_refused(expert, tmp_path):
    config = config_of(dreamer_config, policy_from=str(expert))
    config.policy.hidden_size = 7
    with pytest.raises(ValueError, match="policy_from names has other sizes"):
        dreamer.run(config, tmp_path / "run")


def test_a_model_of_another_body_is_refused(expert, tmp_path):
    config = config_of(dreamer_config, model=str(expert), env="cartpole-swingup", episode_length=3)
    with pytest.raises(
        ValueError,
        match="position has size 3 in the episodes of cartpole-swingup, the world model was built for 2",
    ):
        dreamer.run(config, tmp_path / "run")


def test_an_explorer_cannot_plan_for_a_reward_it_does_not_predict(explorer, folder):
    with pytest.raises(ValueError, match="predicts 'reward'"):
        evaluate.run(config_of(evaluate_config, planner="cem"), folder / "no", run=str(explorer))
