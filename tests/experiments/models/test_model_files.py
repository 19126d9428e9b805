"""Models of runs, exports and published folders are opened alike; what is damaged or does not fit is one sentence."""

import dataclasses
import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from experiments.analysis import export as export_main
from experiments.configs import export as export_config
from experiments.models import architectures, files
from experiments.runs.settings import read_config
from worldmodels import export
from worldmodels.checkpoints import named_leaves
from worldmodels.export import Models

PUBLISHED = pathlib.Path(__file__).parents[2] / "golden" / "walker-mdp-rssmo"
SIZES = dict(hidden_size=4, hidden_layers=1)
POLICY = dict(SIZES, in_size=3, action_size=2, norm=None, min_std=1e-6)
CRITIC = dict(SIZES, in_size=3, out_size=1, rewards=["viper_reward"])
FRAME_STACK = dict(SIZES, kind="frame_stack", sizes={"position": 2}, action_size=2, num_frames=2)
FRAME_STACK |= dict(standardized=["position"])


@functools.cache
def published():
    pytest.importorskip("torch")
    return files.load(PUBLISHED)


def test_a_published_folder_gives_models_and_the_loss_they_were_trained_with():
    models = published()
    assert (models.num_seeds, models.loss["kl_balance"]) == (1, 0.8)
    assert models.arguments["world_model"]["environment"] == "walker-walk"
    for leaf, first in zip(
        *map(jax.tree.leaves, (files.for_seeds(models, 3), models.world_model)), strict=True
    ):
        np.testing.assert_array_equal(leaf[2], first[0])


def test_its_arguments_build_the_same_networks():
    models = published()
    fresh = jax.eval_shape(
        lambda: {
            name: files.BUILDERS.get(name)(models.arguments[name], jax.random.key(0)) for name in models.parts
        }
    )
    ours = {name: leaf.shape for name, leaf in named_leaves(fresh).items()}
    assert ours == {name: leaf.shape[1:] for name, leaf in named_leaves(models.parts).items()}
    assert set(models.parts) == {"world_model", "policy"} and models.arguments["policy"]["action_size"] == 6


def test_several_models_are_not_shared_among_another_number_of_policies():
    two = dataclasses.replace(published(), num_seeds=2)
    with pytest.raises(ValueError, match="holds 2 world models, the run asks for 3 policies"):
        files.for_seeds(two, 3)


def test_it_can_be_exported_and_opened_without_pytorch(tmp_path):
    result = export_main.run(export_config.get_config(), "", run=str(PUBLISHED), to=str(tmp_path / "folder"))
    assert result["parts"] == ["world model", "policy"]
    before, after = (named_leaves(each.parts) for each in (published(), export.load(tmp_path / "folder")))
    for name in before:
        np.testing.assert_array_equal(before[name][0], after[name])
    assert "walker-walk" in (tmp_path / "folder" / "README.md").read_text()


# Runs ----------------------------------------------------------------------------------------------------------------


def fresh(*parts: str, **arguments) -> Models:
    """Models of one seed with these parts."""
    arguments = {name: arguments.get(name, {"policy": POLICY, "critic": CRITIC}.get(name)) for name in parts}
    kinds = {name: arguments[name].get("kind", name) for name in parts}
    plain = {name: {k: v for k, v in arguments[name].items() if k != "kind"} for name in parts}
    built = {name: files.BUILDERS.get(kinds[name])(plain[name], jax.random.key(0)) for name in parts}
    return Models(arguments, **built)


def run_of(folder, models: Models) -> pathlib.Path:
    """The directory of a run with these models."""
    folder.mkdir()
    (folder / "config.json").write_text('{"env": "fake-pointmass", "num_updates": 3}')
    files.save(folder, read_config(folder), models)
    return folder


def test_models_of_several_runs_are_those_of_one_with_as_many_seeds(tmp_path):
    card = dict(returns=[[1.0, 2.0]], environment="fake-pointmass")
    observer = dict(sensors=["position"], num_frames=1, statistics={})
    actor = architectures.build_sac_actor(dict(SIZES, observation_size=2, action_size=2), jax.random.key(0))
    arguments = {"policy": architectures.sac_actor(actor, observer)}
    actors = [actor, jax.tree.map(lambda x: x + 1, actor)]
    kept = [Models(arguments, policy=each, card=card) for each in actors]
    merged = files.merge([run_of(tmp_path / str(seed), models) for seed, models in enumerate(kept)])
    run_of(tmp_path / "all", merged)
    merged = files.load(tmp_path / "all")
    assert merged.num_seeds == 2 and merged.card["returns"] == [[1.0, 2.0]] * 2
    for seed in range(2):
        for ours, expected in zip(
            *map(jax.tree.leaves, (merged.seed(seed).policy, actors[seed])), strict=True
        ):
            np.testing.assert_array_equal(ours, expected)


def test_networks_of_other_kinds_are_exported_too(tmp_path):
    run = run_of(tmp_path / "run", fresh("policy", policy=FRAME_STACK))
    result = export_main.run(export_config.get_config(), "", run=str(run), to=str(tmp_path / "folder"))
    policy = files.load(result["folder"]).seed(0).policy
    assert policy.num_frames == 2 and policy.names == ("position",)
    assert "experiments.models.files import load" in (tmp_path / "folder" / "README.md").read_text()
    with pytest.raises(ValueError, match="Unknown kind of policy 'frame_stack'. Known: world_model, policy"):
        export.load(result["folder"])


def test_what_is_no_encoder_says_what_one_is_and_what_was_found(tmp_path):
    run_of(tmp_path / "run", fresh("policy"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "data" / "episodes").mkdir(parents=True)
    (tmp_path / "data" / "episodes" / "00000000.hdf5").write_text("")
    (tmp_path / "collected").mkdir()
    for name in ("config.json", "DONE"):
        (tmp_path / "collected" / name).write_text("{}")
    sentence = (
        " holds no encoder of frames; pass the --workdir of a run of `pretrain`, which trains a world model or, with "
        "the preset dynamo or inverse_dynamics, an encoder, or a folder of `export` with one of them; found: "
    )
    for name, found in (
        ("run", "a policy"),
        ("data", "episodes"),
        ("data/episodes", "episodes"),
        ("file", "a file"),
        ("nowhere", "no such folder"),
        ("empty", "neither models nor episodes"),
        ("collected", "neither models nor episodes"),
    ):
        with pytest.raises(ValueError) as error:
            files.load_encoder(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}{sentence}{found}."


def test_a_part_that_is_not_there_says_where_one_would_be(tmp_path):
    run = run_of(tmp_path / "run", fresh("policy"))
    for part, sentence in (
        ("critic", "holds no critic; use a run of `dreamer`"),
        ("world_model", "no world model;"),
    ):
        with pytest.raises(ValueError, match=sentence):
            files.load(run, part)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match="holds no model yet; the run has not finished. Run its command again"
    ):
        files.load(tmp_path)


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        (None, "{", "is damaged .*line 1"),
        (None, [], "is damaged"),
        ("num_seeds", 0, "is damaged .num_seeds missing or of another kind"),
        ("policy", dict(hidden_size="wide"), "is damaged or of another kind: its arguments make no .*'wide'"),
        ("critic", dict(hidden_size="wide"), "is damaged or of another kind: its arguments make no .*'wide'"),
        ("policy", dict(zzz=1), "is damaged or of another kind: .*unexpected keyword argument 'zzz'"),
        ("policy", dict(in_size=...), "is damaged .* missing .*: 'in_size'"),
        ("policy", dict(norm="batch"), ": Unknown norm 'batch'"),
        ("policy", dict(min_std="a"), ": min_std of a policy is a number"),
        ("policy", dict(kind="sac"), "is damaged or of another kind: its arguments make no model"),
        ("policy", dict(kind="frame_stack"), "its arguments make no model .KeyError: 'sizes'"),
        (
            "policy",
            dict(kind="mine.module:Policy"),
            "code 'mine.module:Policy' is not of this project, and files do not choose which code runs",
        ),
        ("critic", dict(rewards=...), "is damaged .*'rewards'"),
        ("critic", dict(rewards=5), "is damaged .*its arguments make no model"),
    ],
)
def test_what_is_wrong_in_a_file_of_a_run_is_one_sentence(tmp_path, part, change, sentence):
    path = run_of(tmp_path / "run", fresh("policy", "critic")) / "model" / "model.json"
    facts = json.loads(path.read_text())
    if isinstance(change, dict):
        facts[part] = {name: value for name, value in (facts[part] | change).items() if value is not ...}
    elif part:
        facts[part] = change
    path.write_text(json.dumps(facts) if part else change if isinstance(change, str) else json.dumps(change))
    with pytest.raises(ValueError, match=sentence) as error:
        files.load(tmp_path / "run")
    assert str(path) in str(error.value)
