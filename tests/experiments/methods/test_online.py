"""AIME-v2 as users run it: every reward, interrupted and resumed, offline, and with what users get wrong."""

import itertools
import math
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import online_sabotaged
import pytest
from clocks import assert_clocks
from imitation_data import config_of
from interruption import SIGKILL, SIGTERM, assert_same_episodes, assert_same_run, environment
from online_runs import interrupt_round, learner_of

from agents.imagination import value_networks
from experiments.__main__ import main as command_line
from experiments.analysis import evaluate, rewards
from experiments.configs import evaluate as evaluate_config
from experiments.configs import online as online_config
from experiments.configs import pretrain as pretrain_config
from experiments.configs import rewards as rewards_config
from experiments.data import rounds
from experiments.envs.groups import episode_seed
from experiments.methods import online, pretrain
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import model_architecture
from experiments.models import architectures, files
from experiments.models.loading import load_run
from experiments.runs import directory
from experiments.runs.directory import Interrupted
from experiments.runs.metrics import read_rows
from experiments.runs.settings import plain_config
from worldmodels import export, registry
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, load_episodes, write_episode
from worldmodels.export import Models

SABOTAGED = pathlib.Path(online_sabotaged.__file__)
REWARD_PAGE = pathlib.Path(__file__).parents[3] / "docs" / "how-to" / "reward.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("online")


@pytest.fixture(scope="module")
def paths(paths, folder):
    """Those of all tests of online imitation, and a model of the reward."""
    viper = config_of(pretrain_config, "viper-tiny", embodiment=paths["demonstrations"])
    pretrain.run(viper, folder / "viper")
    return {**paths, "reward__model": str(folder / "viper")}


@pytest.fixture(scope="module")
def finished(folder, paths):
    config = config_of(online_config, prefill=1, policy_reset_every=2, epsilon=0.1, **paths)
    return folder / "run", online.run(config, folder / "run")


def test_every_row_has_clocks_returns_and_both_losses(finished):
    workdir, _ = finished
    rows = [row for row in read_rows(workdir / "metrics.jsonl") if "episode/return" in row]
    assert [row["episode"] for row in rows] == [2, 3, 4, 5]  # the first one is the prefill
    assert [row["update"] for row in rows] == [6, 8, 10, 12]
    assert_clocks(workdir, updates=4 + 4 * 2)
    for name in ("model/loss", "policy/loss", "policy/viper_reward_return", "value/viper_reward_value_loss"):
        assert np.isfinite([row[f"train/{name}"] for row in rows]).all()
    assert all(row["episode/viper_return"][0] < 0 for row in rows)


def test_rows_tell_how_long_each_part_took(finished):
    workdir, _ = finished
    row = [row for row in read_rows(workdir / "metrics.jsonl") if "episode/return" in row][-1]
    for part in ("collection", "scoring", "updates", "checkpoint"):
        assert row[f"time/{part}"] > 0 and row[f"time/{part}_processor"] >= 0


def test_evaluations_count_success_in_three_ways_and_begin_with_offline_aime(finished):
    workdir, result = finished
    rows = read_rows(workdir / "eval.jsonl")
    assert rows[0]["episode"] == 1 and rows[0]["update"] == 4
    for name in ("success_any", "success_final", "success_held"):
        assert np.shape(rows[0][name]) == np.shape(result[name]) == (1, 2)
    assert {"analysis/action_mse_pretraining", "analysis/action_mse_policy"} <= rows[-1].keys()


def test_every_result_says_in_which_environment_it_was_obtained(finished):
    workdir, result = finished
    for row in (result, *read_rows(workdir / "eval.jsonl")):
        assert (
            row["environment"]["environment"] == "fake-pointmass" and row["environment"]["action_repeat"] == 1
        )


def test_a_run_that_is_shown_few_demonstrations_is_compared_with_the_same_expert(folder, paths):
    changes = {**paths, "embodiment": "", "reward__name": "ot", "policy_pretraining": 0, "num_episodes": 0}
    result = online.run(config_of(online_config, prefill=1, num_demonstrations=1, **changes), folder / "few")
    returns = [episode.return_ for episode in load_episodes(paths["demonstrations"])]
    assert len(set(returns)) > 1
    assert result["expert_return"] == np.mean(returns)
    assert result["by_expert"] == [100 * result["return_mean"] / np.mean(returns)]


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


def test_no_evaluation_episode_enters_the_online_buffer(finished):
    """It is what lies on disk: the episodes played for it, those of evaluations begin at number 1,000,000."""
    workdir, result = finished
    episodes = load_episodes(workdir / "episodes")
    assert [e.metadata["seed"] for e in episodes] == [episode_seed(0, 0, n) for n in range(5)]
    assert len(read_rows(workdir / "eval.jsonl")) > 1 and result["num_episodes"] == 5
    assert read_rows(workdir / "metrics.jsonl")[-1]["agent_step"] == sum(e.length for e in episodes)


@pytest.mark.parametrize("planner", ["cem", "guided"])
def test_a_finished_run_plans_for_the_surrogate_reward_that_it_has_learnt(finished, tmp_path, planner):
    config = config_of(evaluate_config, planner=planner, planner_reward="viper_reward", episodes=1)
    assert np.shape(evaluate.run(config, tmp_path, run=str(finished[0]))["return"]) == (1, 1)
    config.planner_reward = "reward"
    with pytest.raises(ValueError, match="predicts 'reward'.*--config.planner_reward=viper_reward"):
        evaluate.run(config, tmp_path, run=str(finished[0]))


def flags_of(workdir, paths) -> list[str]:
    """The command line of the `finished` run."""
    flags = ["--config=online:tiny", f"--workdir={workdir}"]
    flags += [f"--config.{key.replace('__', '.')}={value}" for key, value in paths.items()]
    return flags + ["--config.prefill=1", "--config.policy_reset_every=2", "--config.epsilon=0.1"]


def run_killed(place: str, number: int, flags) -> int:
    """Runs in a process of its own until the signal; returns the exit code."""
    command = [sys.executable, SABOTAGED, place, str(number), str(int(SIGKILL)), *flags]
    return subprocess.run(command, env=environment(), capture_output=True, timeout=600).returncode


def run_terminated(monkeypatch, flags) -> int:
    """Runs until SIGTERM in the middle of the first episode, which then ends; returns the exit code."""
    with monkeypatch.context() as patch:
        patch.setattr(directory, "PATIENCE", math.inf)
        patch.setattr(rounds, "collect_episodes", rounds.collect_episodes)  # as it was, afterwards
        online_sabotaged.sabotage("episode", 1, lambda: os.kill(os.getpid(), SIGTERM))
        return command_line(["online", *flags])


def kept_episodes(workdir) -> int:
    """Those whose lessons the newest checkpoint holds."""
    return Checkpoints(workdir / "checkpoints").read()[2]["clocks"]["episode"]


def test_a_run_stopped_in_episodes_updates_and_while_saving_ends_bit_identical(
    finished, paths, folder, monkeypatch
):
    """And has lost no more than the episode in flight."""
    workdir = folder / "again"
    flags = flags_of(workdir, paths)
    assert run_killed("episode", 3, flags) == -SIGKILL  # after the prefill and one more
    assert kept_episodes(workdir) == len(load_episodes(workdir / "episodes")) == 2
    assert run_killed("update", 1, flags) == -SIGKILL
    assert kept_episodes(workdir) == len(load_episodes(workdir / "episodes")) - 1 == 2
    assert run_killed("checkpoint", 1, flags) == -SIGKILL
    assert kept_episodes(workdir) == len(load_episodes(workdir / "episodes")) - 1 == 2
    assert run_terminated(monkeypatch, flags) == 128 + SIGTERM
    # The episode that was being played is complete.
    assert kept_episodes(workdir) == len(load_episodes(workdir / "episodes")) == 3
    config = config_of(online_config, prefill=1, policy_reset_every=2, epsilon=0.1, **paths)
    online.run(config, workdir)
    assert_same_run(workdir, finished[0], ("checkpoints", "model"))
    assert_same_episodes(workdir / "episodes", finished[0] / "episodes")


def test_a_prefill_that_is_interrupted_keeps_its_whole_rounds(folder, paths, monkeypatch):
    changes = {**paths, "embodiment": "", "reward__name": "ot", "policy_pretraining": 0, "num_episodes": 0}
    config = config_of(online_config, prefill=3, **changes)
    online.run(config, folder / "prefill")
    played = interrupt_round(monkeypatch, 1)
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


def test_a_run_of_another_main_has_no_surrogate_reward(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "runs/model", "demonstrations": "runs/shown"}')
    config = config_of(rewards_config, "tiny", run=str(tmp_path), episodes="x")
    with pytest.raises(ValueError, match="is not the directory of a run of `online`; pass its"):
        rewards.run(config, tmp_path / "out")


def test_the_reward_of_several_seeds_is_refused(paths, tmp_path):
    config = config_of(rewards_config, "tiny", num_seeds=2, episodes="x", **paths)
    with pytest.raises(ValueError, match="leave out --config.num_seeds.*--config.run=DIR/seeds/0"):
        rewards.run(config, tmp_path / "out")


def test_the_reward_of_a_run_ranks_episodes_of_a_dataset(folder, finished, paths):
    config = config_of(rewards_config, "tiny", run=str(finished[0]), limit=4, episodes=paths["embodiment"])
    result = rewards.run(config, folder / "rewards")
    assert len(result["returns"]["data"]["surrogate"]) == 4
    assert (folder / "rewards" / "figures" / "rewards.png").stat().st_size > 0


@pytest.mark.parametrize("name", ["ot", "temporal_ot", "orca"])
def test_of_many_episodes_the_first_sets_the_scale_of_the_reward(folder, paths, name):
    changes = {**paths, "reward__name": name}
    config = config_of(rewards_config, "tiny", limit=3, episodes=paths["embodiment"], **changes)
    scored = rewards.run(config, folder / f"rewards-{name}")["returns"]["data"]["surrogate"]
    length = load_episodes(paths["embodiment"], limit=1)[0].num_records
    sign = 1.0 if name == "orca" else -1.0  # a probability, or minus costs
    np.testing.assert_allclose(scored[0], sign * 4.0 * length, rtol=1e-4)
    assert not np.isclose(scored[1], scored[0], rtol=1e-3) and not np.isclose(scored[2], scored[1], rtol=1e-3)


def test_offline_all_windows_are_labelled_pretraining_data(folder, paths):
    changes = {**paths, "reward__name": "ot", "offline": True, "num_episodes": 1, "policy_pretraining": 0}
    config = config_of(online_config, regularizer__mode="append", regularizer__label=True, **changes)
    online.run(config, folder / "offline")
    assert not (folder / "offline" / "episodes").exists()
    config.num_episodes = 2  # an offline run can be continued, although its episodes are only counted
    assert online.run(config, folder / "offline")["num_episodes"] == 2
    assert read_rows(folder / "offline" / "metrics.jsonl")[-1]["agent_step"] == 0


# What a run begins with ----------------------------------------------------------------------------------------------


def untrained_model(folder, like, **changes) -> str:
    """A folder with a fresh world model of the architecture of another one, changed."""
    opened = files.load(like)
    arch = opened.arguments["world_model"] | changes
    model = architectures.build_world_model(arch, jax.random.key(0))
    return str(export.save(folder, Models({"world_model": arch}, model, loss=opened.loss)))


def test_policy_and_critic_are_of_the_seed_of_the_run_and_the_target_is_its_own(tmp_path, paths):
    size, _ = architectures.policy_sizes(files.load(paths["model"]).arguments["world_model"])
    config = config_of(online_config)
    arch = dict(config.policy, in_size=size, action_size=2)

    def parts(key):
        online, target = (
            value_networks(["ot_reward"], size, k, **config.critic) for k in jax.random.split(key)
        )
        return export.build_policy(arch, key), {name: (online[name], target[name]) for name in online}

    policies, critics = architectures.stacked(parts, 2)
    arguments = {
        "policy": arch,
        "critic": dict(config.critic, rewards=["ot_reward"], in_size=size, out_size=1),
    }
    kept = str(
        export.save(tmp_path / "kept", Models(arguments, policy=policies, critic=critics, num_seeds=2))
    )
    learner = learner_of(paths, seed=1, policy_from=kept, critic_from=kept)
    critic = learner.state.critic
    network, target = critics["ot_reward"]
    for ours, expected in (
        (learner.policy, policies),
        (critic.train.model["ot_reward"], network),
        (critic.target["ot_reward"], target),
    ):
        for leaf, leaves in zip(*map(jax.tree.leaves, (ours, expected)), strict=True):
            np.testing.assert_array_equal(leaf, leaves[1])
    with pytest.raises(
        ValueError, match="critic_from names is of the reward ot_reward, this run seeks ail_reward"
    ):
        learner_of(paths, reward__name="ail", critic_from=kept)


def test_the_environments_reward_is_learnt_only_where_it_is_sought(paths):
    pretrained = files.load(paths["model"]).arguments["world_model"]
    pretrained = pretrained | dict(predict_reward=True, detach_reward=True)
    for name in ("none", "ot", "ail", "viper"):
        config = config_of(online_config, reward__name=name).to_dict()
        assert not model_architecture(config, pretrained)[0]["predict_reward"]
    arch, _ = model_architecture(config_of(online_config, reward__name="true").to_dict(), pretrained)
    assert arch["predict_reward"] and not arch["detach_reward"]


def test_disagreement_is_not_what_a_probe_of_the_surprise_says(paths):
    pretrained = files.load(paths["model"]).arguments["world_model"]
    config = config_of(online_config, intrinsic_reward="disagreement").to_dict()
    surprise, foreseen = (
        dict(hidden_size=8, hidden_layers=1, target=target) for target in ("surprise", "disagreement")
    )
    assert model_architecture(config, pretrained | {"reward_probe": surprise})[0]["reward_probe"] is None
    assert model_architecture(config, pretrained | {"reward_probe": foreseen})[0]["reward_probe"] == foreseen


@pytest.mark.parametrize("head", ["nearest_reward", "likeness"])
def test_a_reward_of_ones_own_is_the_class_of_the_documentation(paths, own_code, head):
    """Scored, with its options, and sought, whatever its head is called."""
    code = re.findall(r"```python\n(.*?)```", REWARD_PAGE.read_text(), re.DOTALL)[-1]
    own_code("my.module", code.replace('"nearest_reward"', repr(head)))
    shown = load_episodes(paths["demonstrations"])
    config = plain_config(
        config_of(online_config, **{**paths, "embodiment": "", "reward__name": "my.module:Nearest"})
    )
    with pytest.raises(
        ValueError, match="files do not choose which code runs"
    ):  # as in the config of a run on disk
        OnlineLearner(config, shown)
    registry.load_named(config)
    single, double = (
        OnlineLearner({**config, "reward": {**config["reward"], "options": dict(scale=scale)}}, shown)
        for scale in (1.0, 2.0)
    )
    own, other = shown[0], load_episodes(paths["embodiment"])[-1]
    np.testing.assert_allclose(single.score(own).records[head], 0.0, atol=1e-5)
    scored = single.score(other)
    assert scored.records[head].min() < -1e-4
    np.testing.assert_allclose(double.score(other).records[head], 2 * scored.records[head], rtol=1e-4)
    single.remember([scored])
    _, metrics = jax.eval_shape(single.make_loop("online", 1), single.state, single.data)
    assert f"value/{head}_value_loss" in metrics


def test_demonstrations_may_lack_what_the_model_only_predicts(tmp_path, paths):
    """As for `imitate`."""
    changes = dict(sizes={"position": 2, "velocity": 2}, probes=["velocity"], standardized=[])
    model = untrained_model(tmp_path / "model", paths["model"], **changes)
    for number, episode in enumerate(load_episodes(paths["demonstrations"])):
        records = {name: value for name, value in episode.records.items() if name != "velocity"}
        write_episode(tmp_path / "shown" / f"{number}.hdf5", Episode(records, episode.metadata))
    learner = learner_of(paths, model=model, demonstrations=str(tmp_path / "shown"))
    assert set(learner.data.demonstrations.observation) == {"position"}
    assert learner.sensors == ("position", "velocity")


def leaves_of(tree) -> dict[str, np.ndarray]:
    return {
        jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def parts_beside_the_policy(learner: OnlineLearner):
    """What learns or remembers, and how far its optimizer is."""
    state = learner.state
    return [(t.model, t.opt_state) for t in (state.model, state.critic.train)] + [
        state.critic.target,
        state.reward,
    ]


def test_frozen_parameters_stay_and_new_heads_learn(paths):
    learner = learner_of(paths, freeze_pretrained_parameters=True, updates_per_episode=1)
    learner.remember([learner.score(load_episodes(paths["embodiment"])[0])])
    before, policy = leaves_of(learner.model), leaves_of(learner.policy)
    learner.learn()
    moved = {name for name, value in leaves_of(learner.model).items() if (value != before[name]).any()}
    assert moved and all("ot_reward" in name for name in moved)
    assert any((value != policy[name]).any() for name, value in leaves_of(learner.policy).items())


def test_a_reset_gives_a_fresh_policy_and_optimizer_and_leaves_the_rest_alone(paths):
    learner = learner_of(paths)
    trained = jax.tree.map(lambda x: x + 1 if x.dtype == np.float32 else x, learner.state.policy.opt_state)
    learner.state = learner.state.replace(policy=learner.state.policy.replace(opt_state=trained))
    policies, others = [leaves_of(learner.policy)], leaves_of(parts_beside_the_policy(learner))
    for number in (2, 4):
        learner.reset_policy(number)
        policies.append(leaves_of(learner.policy))
        fresh = learner.optimizers.policy.init(learner.policy)
        for ours, expected in zip(
            *map(jax.tree.leaves, (learner.state.policy.opt_state, fresh)), strict=True
        ):
            np.testing.assert_array_equal(ours, expected)
    kernels = [next(value for name, value in policy.items() if "kernel" in name) for policy in policies]
    assert all((a != b).any() for a, b in itertools.combinations(kernels, 2))
    for name, value in leaves_of(parts_beside_the_policy(learner)).items():
        np.testing.assert_array_equal(value, others[name], err_msg=name)


def test_a_run_starts_from_policy_and_critic_of_another(folder, finished, paths):
    """And its episode is played by planning with both."""
    earlier = str(finished[0])
    changes = {**paths, "num_episodes": 1, "policy_pretraining": 0, "epsilon": 0.1}
    changes["planning"] = dict(name="guided", options=config_of(evaluate_config).options.to_dict())
    config = config_of(
        online_config, policy_from=earlier, critic_from=earlier, updates_per_episode=0, **changes
    )
    online.run(config, folder / "started")
    ours, theirs = load_run(folder / "started"), load_run(finished[0])
    np.testing.assert_array_equal(ours.policy().mean_net.head.kernel, theirs.policy().mean_net.head.kernel)


# Mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(model=""), "--config.model=DIR"),
        (dict(demonstrations=""), "--config.demonstrations=DIR"),
        (dict(reward__model=""), "pretrain:viper"),
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
        (
            dict(embodiment="", regularizer__label=True),
            "label=True rewards the pretraining data, and there are none; pass --config.embodiment=DIR",
        ),
        (
            dict(regularizer__label=True, regularizer__fraction=0.1),  # of a batch of four
            "no batch takes windows of them; raise --config.regularizer.fraction, which is 0.1",
        ),
        (dict(offline=True, epsilon=0.1), "epsilon is 0.1, noise on played actions, and an offline run"),
        (dict(intrinsic_reward="fun"), "Unknown intrinsic reward 'fun'"),
        (dict(env="cartpole-swingup"), r"gives 'position' of shape \[3\], the model was built for \[2\]"),
    ],
)
def test_what_is_missing_or_unknown_is_named(tmp_path, paths, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        online.run(config_of(online_config, **{**paths, **changes}), tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "what"),
    [("embodiment", "pretraining data"), ("analysis__demonstrations", "demonstrations for the analysis")],
)
def test_episodes_without_actions_are_refused_where_actions_are_needed(tmp_path, paths, key, what):
    changes = {**paths, "reward__name": "none", key: paths["demonstrations"]}
    with pytest.raises(ValueError, match=f"The {what} have no actions"):
        online.run(config_of(online_config, **changes), tmp_path / "run")


def test_a_reward_model_of_another_body_is_refused(tmp_path, paths):
    viper = untrained_model(
        tmp_path / "viper", paths["reward__model"], sizes={"position": 1}, standardized=[]
    )
    with pytest.raises(ValueError, match="reward model was built for position of size 1, this run has 2"):
        learner_of(paths, reward__name="viper", reward__model=viper)


def test_episodes_of_another_body_are_not_scored(tmp_path, paths):
    changes = {**paths, "reward__name": "ot", "episodes": str(tmp_path / "other")}
    of_another_body(paths, tmp_path / "other")
    with pytest.raises(ValueError, match="position has size 1 in the episodes of .*other"):
        rewards.run(config_of(rewards_config, "tiny", **changes), tmp_path / "run")


def of_another_body(paths, folder) -> None:
    """An episode whose position has another size."""
    episode = load_episodes(paths["demonstrations"], limit=1)[0]
    episode.records["position"] = episode.records["position"][:, :1]
    write_episode(folder / "0.hdf5", episode)


def test_demonstrations_of_another_body_are_refused(tmp_path, paths):
    of_another_body(paths, tmp_path / "other")
    with pytest.raises(
        ValueError, match="position has size 1 in the demonstrations, the world model was built for 2"
    ):
        online.run(
            config_of(online_config, **{**paths, "demonstrations": str(tmp_path / "other")}), tmp_path / "run"
        )
