"""A published folder takes the place of a pretraining run, and can be exported; damaged folders say what is wrong."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from agents.imagination import value_networks
from experiments.analysis import export
from experiments.configs import export as export_config
from experiments.models import frame_stacks, world_models
from worldmodels.checkpoints import Checkpoints, named_leaves
from worldmodels.export import load

PUBLISHED = pathlib.Path(__file__).parents[2] / "golden" / "walker-mdp-rssmo"


@functools.cache
def pretrained():
    pytest.importorskip("torch")
    return world_models.resolve(PUBLISHED)


def test_a_published_folder_gives_models_and_the_loss_they_were_trained_with():
    opened = pretrained()
    assert (opened.kind, opened.num_seeds, opened.loss["kl_balance"]) == ("published", 1, 0.8)
    assert opened.architecture["environment"] == "walker-walk"
    for leaf, first in zip(*map(jax.tree.leaves, (opened.for_seeds(3), opened.models)), strict=True):
        np.testing.assert_array_equal(leaf[2], first[0])


def test_its_architecture_builds_the_same_model():
    fresh = jax.eval_shape(lambda: world_models.build(pretrained().architecture, jax.random.key(0)))
    ours = {name: leaf.shape for name, leaf in named_leaves(fresh).items()}
    assert ours == {name: leaf.shape[1:] for name, leaf in named_leaves(pretrained().models).items()}


def test_several_models_are_not_shared_among_another_number_of_policies():
    two = world_models.Pretrained(**{**vars(pretrained()), "num_seeds": 2})
    with pytest.raises(ValueError, match="holds 2 world models, the run asks for 3 policies"):
        two.for_seeds(3)


def test_its_policy_can_be_gone_on_with():
    policies, arguments, number = world_models.resolve_policies(PUBLISHED)
    assert number == 1 and arguments["action_size"] == 6
    fresh = jax.eval_shape(lambda: world_models.build_policy(arguments, jax.random.key(0)))
    ours = {name: leaf.shape for name, leaf in named_leaves(fresh).items()}
    assert ours == {name: leaf.shape[1:] for name, leaf in named_leaves(policies).items()}


def test_it_can_be_exported_and_opened_without_pytorch(tmp_path):
    result = export.run(export_config.get_config(), "", run=str(PUBLISHED), to=str(tmp_path / "folder"))
    assert result["parts"] == ["world model", "policy"]
    opened = load(tmp_path / "folder")
    before, after = named_leaves(pretrained().models), named_leaves(opened.world_model)
    for name in before:
        np.testing.assert_array_equal(before[name][0], after[name])
    assert "walker-walk" in (tmp_path / "folder" / "README.md").read_text()


# Damaged folders ------------------------------------------------------------------------------------------------------

SIZES = dict(hidden_size=4, hidden_layers=1)
POLICY = dict(SIZES, in_size=3, action_size=2, norm=None, min_std=1e-6)
CRITIC = dict(SIZES, feature_size=3, rewards=["viper_reward"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run's folder with a policy and a critic, fresh."""
    folder = tmp_path_factory.mktemp("kept")

    def critics(key):
        return {name: value_networks(key=key, **CRITIC) for name in ("online", "target")}

    policies = functools.partial(world_models.build_policy, POLICY)
    for name, arch, create in (("policy", POLICY, policies), ("critic", CRITIC, critics)):
        world_models.save_architecture(folder, f"{name}.json", arch | {"num_seeds": 1})
        Checkpoints(folder / name).save(0, world_models.stacked(create, 1))
    return folder


def test_a_policy_and_a_critic_are_opened_by_what_their_files_say(kept):
    assert world_models.resolve_policies(kept)[1:] == (POLICY, 1)
    assert set(world_models.resolve_critic(kept)) == {"viper_reward"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("{", "is damaged .*line 1"),
        ([], "is damaged .no mapping of names to values"),
        (dict(num_seeds=...), "is damaged .num_seeds is missing"),
        (dict(num_seeds=0), "is damaged .num_seeds is 0"),
        (dict(hidden_size="wide"), "is damaged or of another kind: its arguments make no .*'wide'"),
        (dict(zzz=1), "is damaged or of another kind: .*unexpected keyword argument 'zzz'"),
    ],
)
@pytest.mark.parametrize(
    ("name", "load"),
    [("policy.json", world_models.resolve_policies), ("critic.json", world_models.resolve_critic)],
)
def test_what_is_wrong_in_a_file_of_a_run_is_one_sentence(kept, tmp_path, name, load, change, sentence):
    write_changed(kept / name, tmp_path / name, change)
    with pytest.raises(ValueError, match=f"{tmp_path}/{name} {sentence}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "load", "change", "sentence"),
    [
        ("policy.json", world_models.resolve_policies, dict(in_size=...), " .* missing .*: 'in_size'"),
        ("policy.json", world_models.resolve_policies, dict(norm="batch"), ": Unknown norm 'batch'"),
        (
            "policy.json",
            world_models.resolve_policies,
            dict(min_std="a"),
            ": min_std of a policy is a number",
        ),
        ("critic.json", world_models.resolve_critic, dict(rewards=...), " .* missing .*: 'rewards'"),
        (
            "critic.json",
            world_models.resolve_critic,
            dict(rewards=5),
            " .*its arguments make no value networks",
        ),
        ("policy.json", frame_stacks.load_policies, {}, " .*its arguments make no policy .*'standardized'"),
        ("policy.json", frame_stacks.load_policies, "{", " is damaged .*line 1"),
    ],
)
def test_each_kind_of_network_says_what_it_misses(kept, tmp_path, name, load, change, sentence):
    target = frame_stacks.ARCHITECTURE if load is frame_stacks.load_policies else name
    write_changed(kept / name, tmp_path / target, change)
    with pytest.raises(ValueError, match=f"{tmp_path}/{target}{sentence}"):
        load(tmp_path)


def write_changed(source, target, change):
    """A file of JSON with other content, or with some values changed; `...` leaves one out."""
    if isinstance(change, dict):
        content = json.loads(source.read_text()) | change
        change = {key: value for key, value in content.items() if value is not ...}
    target.write_text(change if isinstance(change, str) else json.dumps(change))
