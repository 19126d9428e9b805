"""A published folder takes the place of a pretraining run, and can be exported."""

import functools
import pathlib

import jax
import numpy as np
import pytest

from experiments import export, world_models
from experiments.configs import export as export_config
from worldmodels.checkpoints import named_leaves
from worldmodels.export import load

PUBLISHED = pathlib.Path(__file__).parents[1] / "golden" / "walker-mdp-rssmo"


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
