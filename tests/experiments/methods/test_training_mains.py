"""Pretraining, imitation, evaluation: as users run them, interrupted and resumed, and with what users get wrong."""

import contextlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from clocks import assert_clocks
from imitation_data import config_of
from interruption import SIGKILL, assert_same_run, interrupting, start, stop_after_rows, terminated

from experiments.analysis import evaluate, export, inspect_run
from experiments.configs import collect as collect_config
from experiments.configs import evaluate as evaluate_config
from experiments.configs import export as export_config
from experiments.configs import imitate as imitate_config
from experiments.configs import inspect_run as inspect_config
from experiments.configs import pretrain as pretrain_config
from experiments.data.evaluation import Evaluation
from experiments.methods import collect, imitate, pretrain
from experiments.models import architectures, files
from experiments.models.loading import load_run, load_world_model
from experiments.runs.metrics import MetricsWriter, read_rows
from worldmodels.data import loops
from worldmodels.data.episodes import Episode, load_episodes, write_episode
from worldmodels.export import load as load_export


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(folder):
    collect.run(config_of(collect_config, "uniform-tiny"), folder / "data")
    return str(folder / "data" / "episodes")


@pytest.fixture(scope="module")
def model(folder, data):
    pretrain.run(config_of(pretrain_config, embodiment=data, num_seeds=2), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def policy(folder, data, model):
    config = config_of(imitate_config, model=str(model), demonstrations=data, num_seeds=2)
    with open(folder / "policy.txt", "w") as said, contextlib.redirect_stdout(said):
        imitate.run(config, folder / "policy")
    return folder / "policy"


def test_imitation_learns_from_what_demonstrations_have_in_common(data, model, folder, capsys):
    options = dict(model=str(model), demonstrations=data, num_seeds=2)
    config = config_of(imitate_config, common_parts__max_gap=1000, **options)
    assert np.isfinite(imitate.run(config, folder / "common")["return_mean"])
    assert "Common to the demonstrations: 130 of 130 records, in 5 parts." in capsys.readouterr().out
    config.common_parts.max_gap = 0  # no two records are that close
    with pytest.raises(ValueError, match="No part of 8 records is common to the demonstrations; raise"):
        imitate.run(config, folder / "nothing")


def test_runs_on_few_demonstrations_have_the_programs_of_those_on_more(data, model, folder, monkeypatch):
    traced, sample = [], loops.sample

    def counted(*arguments, **options):
        traced.append(0)
        return sample(*arguments, **options)

    monkeypatch.setattr(loops, "sample", counted)
    options = dict(model=str(model), demonstrations=data, num_seeds=2, env="none")
    options["batch_size"] = 3  # as in no other test, whose programs are kept
    counts = []
    for number in (1, 4):
        config = config_of(imitate_config, num_demonstrations=number, **options)
        imitate.run(config, folder / f"shown-{number}")
        counts.append(len(traced))
    assert counts[0] == counts[1] > 0


def test_a_killed_and_terminated_pretraining_ends_bit_identical(data, model, folder):
    flags = (
        "--config=pretrain:tiny",
        f"--config.embodiment={data}",
        "--config.num_seeds=2",
        f"--workdir={folder / 'again'}",
    )
    metrics = folder / "again" / "metrics.jsonl"
    config = config_of(pretrain_config, embodiment=data, num_seeds=2)
    with interrupting(MetricsWriter, "write", 1, terminated):
        pretrain.run(config, folder / "again")
    assert len(read_rows(metrics)) == 1 and not (folder / "again" / "DONE").exists()
    assert stop_after_rows(start("pretrain", *flags), metrics, 2, SIGKILL) == -SIGKILL
    pretrain.run(config, folder / "again")
    assert_same_run(folder / "again", model, ("checkpoints", "model"))


def test_a_model_with_probes_of_its_state_alone_is_pretrained_to_the_end(data, folder):
    config = config_of(pretrain_config, embodiment=data, setup="lpomdp", num_updates=2)
    config.world_model.update(use_probes=True, baseline_probes=False)
    pretrain.run(config, folder / "probes")
    explained = json.loads((folder / "probes" / "inspection.json").read_text())["probes_explained"]
    assert {name: sorted(kinds) for name, kinds in explained.items()} == {"velocity": ["state"]}


def test_what_the_model_knows_of_demonstrations_is_told_beside_what_it_knows_of_its_data(model, policy):
    assert len(files.load(model).card["elbo_per_record"]) == 2
    result = json.loads((policy / "DONE").read_text())
    said = f"Evidence per record: {np.mean(result['elbo_per_record']):.1f} nats of the demonstrations, "
    assert said in policy.with_suffix(".txt").read_text()


def test_policies_of_an_ensemble_train_alone_and_act_together(data, model, policy, folder):
    shown = dict(model=str(model), demonstrations=data)
    result = imitate.run(config_of(imitate_config, **shown, ensemble=2), folder / "ensemble")
    assert np.shape(result["return"]) == (1, 2)
    loaded = load_run(folder / "ensemble")
    assert loaded.num_seeds == 1 and loaded.models.num_seeds == 2
    for own, alone in zip(*map(jax.tree.leaves, (loaded.policies, load_run(policy).policies)), strict=True):
        np.testing.assert_array_equal(own, alone)
    evaluation = evaluate.run(
        config_of(evaluate_config, seed=101), folder / "evaluated-ensemble", run=str(folder / "ensemble")
    )
    assert evaluation["return"] == result["return"]
    shows = config_of(collect_config, "demonstrations-tiny", source=str(folder / "ensemble"), num_episodes=1)
    assert collect.run(shows, folder / "shown-ensemble")["num_episodes"] == 1
    export.run(
        export_config.get_config(), "", run=str(folder / "ensemble"), to=str(folder / "exported-ensemble")
    )
    assert load_export(folder / "exported-ensemble", None).agent(0).num_seeds == 2
    with pytest.raises(ValueError, match="ensembles, and plans are made in one"):
        evaluate.run(config_of(evaluate_config, planner="cem"), folder / "no", run=str(folder / "ensemble"))
    with pytest.raises(ValueError, match="holds 2 world models, the run asks for 4 policies"):
        imitate.run(config_of(imitate_config, **shown, num_seeds=2, ensemble=2), folder / "too-many")


def test_a_killed_imitation_ends_bit_identical(data, model, policy, folder):
    flags = (
        "--config=imitate:tiny",
        f"--config.demonstrations={data}",
        f"--config.model={model}",
        "--config.num_seeds=2",
        f"--workdir={folder / 'policy-again'}",
    )
    metrics = folder / "policy-again" / "metrics.jsonl"
    assert stop_after_rows(start("imitate", *flags), metrics, 1, SIGKILL) == -SIGKILL
    config = config_of(imitate_config, model=str(model), demonstrations=data, num_seeds=2)
    imitate.run(config, folder / "policy-again")
    assert_same_run(folder / "policy-again", policy, ("checkpoints", "model"))


@pytest.fixture(scope="module")
def model_alone(data, folder):
    """The second of the two world models of `model`, in a run of its own."""
    pretrain.run(config_of(pretrain_config, embodiment=data, seed=1), folder / "alone")
    return folder / "alone"


def assert_close(trees, expected):
    for ours, theirs in zip(*map(jax.tree.leaves, (trees, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_seeds_in_one_program_equal_the_run_with_one_seed(model, model_alone):
    assert_close(load_world_model(model, seed=1), load_world_model(model_alone))


def test_policies_in_one_program_equal_the_run_with_one_seed(data, policy, model_alone, folder):
    config = config_of(imitate_config, model=str(model_alone), demonstrations=data, seed=1)
    imitate.run(config, folder / "policy-alone")
    assert_close(load_run(policy).policy(seed=1), load_run(folder / "policy-alone").policy())


def test_the_same_command_on_two_devices_trains_the_same_policies(data, model, policy, folder, monkeypatch):
    # To the bit it need not be; a run on a CPU takes several devices only if it is told to.
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    flags = (
        "--config=imitate:tiny",
        f"--config.demonstrations={data}",
        f"--config.model={model}",
        "--config.num_seeds=2",
        "--config.devices=all",
        f"--workdir={folder / 'on-two'}",
    )
    process = start("imitate", *flags)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "on 2 devices" in errors
    assert_close(load_run(folder / "on-two").policies, load_run(policy).policies)


def test_results_have_a_list_of_episodes_for_every_seed(policy, data, model):
    result = imitate.run(
        config_of(imitate_config, model=str(model), demonstrations=data, num_seeds=2), policy
    )
    assert np.shape(result["return"]) == (2, 2)
    assert len(result["by_expert"]) == 2
    for run, config in ((model, pretrain_config), (policy, imitate_config)):
        assert_clocks(run, config_of(config).num_updates)
    assert result["environment"]["environment"]  # and where they were played


def test_the_model_can_go_on_training_beside_the_policy(data, model, folder):
    config = config_of(imitate_config, model=str(model), demonstrations=data, embodiment=data, num_seeds=2)
    imitate.run(config, folder / "joint")
    before, after = load_world_model(model), load_run(folder / "joint").world_model()
    deltas = [np.abs(x - y).max() for x, y in zip(*map(jax.tree.leaves, (before, after)), strict=True)]
    assert max(deltas) > 0


def test_imitation_can_start_from_earlier_policies(policy, data, model, folder):
    config = config_of(imitate_config, model=str(model), demonstrations=data, num_seeds=2, num_updates=0)
    config.update(policy_from=str(policy))
    imitate.run(config, folder / "continued")
    for ours, expected in zip(
        *map(jax.tree.leaves, (load_run(folder / "continued").policies, load_run(policy).policies)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, expected)


def test_evaluate_needs_only_the_run(policy):
    result = evaluate.run(config_of(evaluate_config), "", run=str(policy))
    assert np.shape(result["return"]) == (2, 2)
    kept = json.loads((policy / "evaluation.json").read_text())
    assert kept["return"] == result["return"] and kept["environment"] == result["environment"]


def test_tracking_needs_no_policy(policy, model, data, folder):
    """Of a run of `imitate` it follows the demonstrations; a pretraining run is told which."""
    config = config_of(evaluate_config, planner="tracking", episodes=1)
    assert np.shape(evaluate.run(config, folder / "tracking", run=str(policy))["return"]) == (2, 1)
    with pytest.raises(ValueError, match="pass --config.demonstrations=DIR"):
        evaluate.run(config, folder / "no", run=str(model))
    config.update(demonstrations=data, num_demonstrations=2)
    result = evaluate.run(config, folder / "tracking-model", run=str(model))
    assert np.shape(result["return"]) == (2, 1) and result["expert_return"]
    with pytest.raises(ValueError, match="is a world model without a policy"):
        evaluate.run(config_of(evaluate_config), folder / "no", run=str(model))


def test_an_evaluation_that_is_repeated_says_what_was_reached_until_something_has_changed(
    policy, data, folder, capsys, monkeypatch
):
    def again(workdir="evaluated", fresh=False, **settings):
        played.clear()
        result = evaluate.run(
            config_of(evaluate_config, **settings), folder / workdir, run=str(policy), fresh=fresh
        )
        return result, bool(played)

    played, play = [], Evaluation.play
    monkeypatch.setattr(
        Evaluation, "play", lambda *args, **options: played.append(0) or play(*args, **options)
    )
    first, did = again()
    assert did and "Finished: return" in capsys.readouterr().out
    assert again() == (first, False)
    said = capsys.readouterr().out
    assert "Finished before, and nothing is done again (--fresh starts over): return" in said
    assert str(folder / "evaluated" / "evaluation.json") in said
    assert again(fresh=True) == (first, True)
    assert again(seed=7)[1] and again()[1] and not again()[1]
    shutil.copytree(data, folder / "shown")
    shown = dict(demonstrations=str(folder / "shown"))
    assert again(**shown)[1] and not again(**shown)[1]
    (folder / "shown" / "0.hdf5").unlink()
    assert again(**shown)[1]
    weights = policy / "model" / "weights.safetensors"
    kept = weights.read_bytes()
    assert again()[1]
    weights.write_bytes(kept[:-4] + bytes(4))
    assert again()[1]
    weights.write_bytes(kept)


def test_what_was_exported_plays_as_demonstrations_were_played(policy, model, data, folder):
    """By its policy, or by planning that follows them; it says no longer itself where it played."""
    paths = {name: str(folder / f"to-evaluate-{name}") for name in ("policy", "model")}
    for run, to in zip((policy, model), paths.values(), strict=True):
        export.run(config_of(export_config, ""), "", run=str(run), to=to)
    shown = dict(demonstrations=data, num_demonstrations=2)
    result = evaluate.run(config_of(evaluate_config, **shown), folder / "of-export", run=paths["policy"])
    of_run = evaluate.run(config_of(evaluate_config, **shown), folder / "of-run", run=str(policy))
    np.testing.assert_allclose(result["return"], of_run["return"][:1], rtol=1e-5)
    assert result["expert_return"] == of_run["expert_return"]
    tracking = config_of(evaluate_config, planner="tracking", episodes=1, **shown)
    for name, path in paths.items():
        result = evaluate.run(tracking, folder / f"of-export-{name}", run=path)
        assert (
            np.shape(result["return"]) == (1, 1) and result["environment"]["environment"] == "fake-pointmass"
        )
        assert not list(pathlib.Path(path).glob("evaluation.json"))
    shutil.copytree(data, folder / "slower")
    (first,) = load_episodes(folder / "slower", limit=1)
    write_episode(folder / "slower" / "0.hdf5", Episode(first.records, first.metadata | {"action_repeat": 4}))
    tracking.demonstrations = str(folder / "slower")
    for run in (model, paths["model"]):
        with pytest.raises(ValueError, match="model has the action repeat 1 and demonstrations has 4"):
            evaluate.run(tracking, folder / "no", run=str(run))
    inspected = config_of(inspect_config, "", data=str(folder / "slower"))
    with pytest.raises(ValueError, match="model has the action repeat 1 and data has 4"):
        inspect_run.run(inspected, folder / "no", run=str(model))
    with pytest.raises(ValueError, match="say where the evaluation goes: --workdir=DIR"):
        evaluate.run(tracking, "", run=paths["model"])
    with pytest.raises(ValueError, match="does not say in which environment it plays; pass"):
        evaluate.run(config_of(evaluate_config), folder / "no", run=paths["policy"])
    with pytest.raises(ValueError, match="is a world model without a policy"):
        evaluate.run(config_of(evaluate_config, **shown), folder / "no", run=paths["model"])


def test_a_run_with_relative_paths_works_from_every_directory_and_after_a_move(
    folder, model, tmp_path, monkeypatch
):
    for part in ("data", "model"):
        shutil.copytree(folder / part, tmp_path / "here" / part)
    monkeypatch.chdir(tmp_path / "here")
    config = config_of(
        imitate_config, demonstrations="data/episodes", model="model", num_updates=0, num_seeds=2
    )
    result = imitate.run(config, "policy")
    monkeypatch.chdir(tmp_path)
    config.update(demonstrations="here/data/episodes", model="here/model")
    assert imitate.run(config, "here/policy") == result
    assert load_run("here/policy").num_seeds == 2
    shutil.move("here", "there")
    assert (
        evaluate.run(config_of(evaluate_config), "", run="there/policy")["expert_return"]
        == result["expert_return"]
    )


def test_a_loaded_run_acts(policy):
    run = load_run(policy)
    records = {"position": np.zeros((1, 2), np.float32), "is_first": np.ones(1, bool)}
    assert run.actor(num_envs=1, seed=1)(records).shape == (1, 2)


def test_an_exported_model_takes_the_place_of_its_run(data, model, policy, folder):
    exported = export.run(
        config_of(export_config, "", seed=1), "", run=str(model), to=str(folder / "exported")
    )
    assert exported["parts"] == ["world model"]
    one, ours = load_world_model(model, seed=1), load_world_model(folder / "exported")
    for before, after in zip(*map(jax.tree.leaves, (one, ours)), strict=True):
        np.testing.assert_array_equal(before, after)
    config = config_of(imitate_config, model=exported["folder"], demonstrations=data, num_updates=0)
    assert np.shape(imitate.run(config, folder / "from-export")["return"]) == (1, 2)
    run = load_run(folder / "from-export")
    np.testing.assert_array_equal(*(jax.tree.leaves(m)[0] for m in (run.world_model(), one)))


def test_a_policy_is_exported_with_its_world_model(policy, folder):
    result = export.run(config_of(export_config, ""), "", run=str(policy), to=str(folder / "exported-policy"))
    assert result["parts"] == ["world model", "policy"]
    opened = load_export(result["folder"])
    run = load_run(policy)
    for before, after in zip(
        *map(jax.tree.leaves, ((run.world_model(), run.policy()), (opened.world_model, opened.policy))),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    assert opened.card["environment"] == "fake-pointmass"
    assert opened.card["data"].endswith("episodes") and opened.card["demonstrations"].endswith("episodes")
    assert opened.arguments["world_model"]["environment"] == "fake-pointmass"
    assert opened.card["action_repeat"] == 1 and opened.card["control_seconds"] == 0.05


def test_a_model_of_another_body_is_refused(data, model):
    arch, episodes = files.load(model).arguments["world_model"], load_episodes(data, limit=1)
    architectures.check_body(arch, episodes, "demonstrations")
    for change, sentence in (
        (dict(inputs=["image"]), "demonstrations lack image, which the world model reads"),
        (dict(action_size=7), "Actions have size 2 in the demonstrations, the world model was built for 7"),
        (
            dict(sizes=arch["sizes"] | {"position": 9}),
            "position has size 2 in the demonstrations, .* built for 9",
        ),
        (  # such as from images alone, where bodies of as many actions look alike
            dict(environment="walker-walk"),
            "demonstrations are of fake-pointmass, the world model was trained on walker-walk",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            architectures.check_body(arch | change, episodes, "demonstrations")
    for same_or_unknown in ("fake-other", "", "gymnasium:Point-v0", "mine-walk"):
        architectures.check_body(arch | dict(environment=same_or_unknown), episodes, "demonstrations")


def test_a_folder_without_a_world_model_says_what_would_do(tmp_path):
    with pytest.raises(
        ValueError, match="holds no world model; pass the --workdir of .* or a published folder"
    ):
        files.load(tmp_path)


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        pretrain.run(config_of(pretrain_config, embodiment=str(tmp_path / "nowhere")), tmp_path / "run")


def test_no_folder_says_which_flag(tmp_path):
    with pytest.raises(ValueError, match="--config.embodiment=DIR"):
        pretrain.run(config_of(pretrain_config), tmp_path / "run")
    with pytest.raises(ValueError, match="--config.model=DIR"):
        imitate.run(config_of(imitate_config), tmp_path / "other")


def test_data_of_another_environment_lacks_sensors(data, tmp_path):
    with pytest.raises(ValueError, match="lacks orientations, height, velocity|lacks orientations, height"):
        pretrain.run(config_of(pretrain_config, embodiment=data, env="walker-walk"), tmp_path / "run")


def test_a_run_that_is_no_pretraining_says_so(data, tmp_path):
    with pytest.raises(ValueError, match="pass the --workdir of a run of `pretrain`"):
        imitate.run(config_of(imitate_config, model=str(tmp_path), demonstrations=data), tmp_path / "run")


def test_more_policies_than_models_are_refused(data, model, tmp_path):
    config = config_of(imitate_config, model=str(model), demonstrations=data, num_seeds=3)
    with pytest.raises(ValueError, match="holds 2 world models, the run asks for 3 policies"):
        imitate.run(config, tmp_path / "run")


def test_evaluating_nothing_says_what_to_pass(tmp_path):
    with pytest.raises(ValueError, match="--run=DIR"):
        evaluate.run(config_of(evaluate_config), "")
    with pytest.raises(ValueError, match="has no config.json"):
        evaluate.run(config_of(evaluate_config), "", run=str(tmp_path))
