"""Exported folders: what comes back is what went in, and what does not fit is refused by name."""

import dataclasses
import functools
import json
import pickle

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from models import ACTION_SIZE, NET, SIZES

from worldmodels import export, weights
from worldmodels.action_head import TanhGaussianHead
from worldmodels.checkpoints import named_leaves
from worldmodels.export import Models, load, save
from worldmodels.nets import MLP

ARGUMENTS = dict(
    sizes=SIZES,
    environment="fake",
    inputs=["position"],
    targets=["position", "velocity"],
    action_size=ACTION_SIZE,
    rssm=dict(deter_size=6, stoch_size=4, hidden_size=8),
    encoder=dict(name="mlp", **NET),
    decoder=dict(name="dmlp", **NET),
    idm=NET,
    standardized=["position"],
)
POLICY = dict(in_size=10, action_size=ACTION_SIZE, **NET)
BIAS = "policy/mean_net/head/bias"
NETWORK = dict(in_size=10, out_size=1, **NET)
CRITIC = dict(NETWORK, rewards=["viper_reward"])


@functools.cache
def exported():
    moments = {"position": (np.full(3, 5.0), np.full(3, 2.0))}
    networks = [MLP(rngs=nnx.Rngs(seed), **NETWORK) for seed in range(2)]
    return Models(
        {"world_model": ARGUMENTS, "policy": POLICY, "critic": CRITIC},
        export.build_world_model(ARGUMENTS, jax.random.key(1), moments),
        policy=TanhGaussianHead(rngs=nnx.Rngs(2), **POLICY),
        critic={"viper_reward": tuple(networks)},
        loss=dict(kl_scale=1.0),
        card=dict(title="A small model", environment="fake", data="noise"),
    )


def test_everything_comes_back(tmp_path):
    opened = load(save(tmp_path / "model", exported()))
    for name in ("world_model", "policy", "critic"):
        before, after = (named_leaves(getattr(e, name)) for e in (exported(), opened))
        assert list(before) == list(after)
        for leaf in before:
            np.testing.assert_array_equal(before[leaf], after[leaf])
    for name in ("arguments", "loss", "card", "num_seeds"):
        assert getattr(opened, name) == getattr(exported(), name)
    features = np.ones((1, 10), np.float32)
    np.testing.assert_array_equal(opened.policy(features).mode, exported().policy(features).mode)


def test_of_several_seeds_one_or_all_come_back(tmp_path):
    two = exported()._map(lambda part: jax.tree.map(lambda x: np.stack([x, x + 1]), part), 2)
    folder = save(tmp_path / "run" / "model", two)
    second, both = load(tmp_path / "run", seed=1), load(folder, seed=None)
    np.testing.assert_array_equal(named_leaves(second.parts)[BIAS], named_leaves(exported().parts)[BIAS] + 1)
    assert (second.num_seeds, both.num_seeds) == (None, 2)
    assert named_leaves(both.parts)[BIAS].shape == (2, ACTION_SIZE)
    assert load(save(tmp_path / "one", second), seed=None).num_seeds == 1
    with pytest.raises(ValueError, match="There is no seed 2; .*model has 2, numbered from 0"):
        load(folder, seed=2)


def test_the_models_of_a_run_are_replaced(tmp_path):
    save(tmp_path / "model", exported())
    without = dataclasses.replace(exported(), critic=None)
    assert load(save(tmp_path / "model", without, replace=True)).critic is None


def test_the_model_card_says_what_one_needs(tmp_path):
    card = (save(tmp_path / "model", exported()) / "README.md").read_text()
    for part in (
        "# A small model",
        "fake",
        "`position` (3)",
        "| action size | 2 |",
        "noise",
        "export import load",
    ):
        assert part in card


def test_the_weights_open_without_this_library_and_without_pickle(tmp_path):
    weights = safetensors.numpy.load_file(save(tmp_path / "model", exported()) / "weights.safetensors")
    assert weights["policy/mean_net/head/bias"].shape == (ACTION_SIZE,)


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match="exists; choose another folder"):
        save(tmp_path / "model", exported())


def test_a_save_cut_short_leaves_nothing(tmp_path, monkeypatch):
    def killed(facts):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "model_card", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "model", exported())
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_finite_is_not_exported(tmp_path):
    broken = jax.tree.map(lambda x: x * np.nan, exported().policy)
    with pytest.raises(ValueError, match="policy/mean_net/head/bias.* is not finite"):
        save(tmp_path / "model", dataclasses.replace(exported(), policy=broken))


def rewrite(folder, change):
    arrays = weights.read(folder)
    change(arrays)
    weights.write(folder, arrays)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop(BIAS), f"missing: {BIAS}"),
        (lambda w: w.update(stray=np.zeros(1)), "unexpected: stray"),
        (
            lambda w: w.update({"policy/mean_net/head/bias": np.zeros(7)}),
            r"of another shape: .* \(\[7\], expected \[2\]\)",
        ),
        (
            lambda w: w.update({"policy/mean_net/head/bias": np.full(2, np.nan)}),
            "not finite: policy/mean_net/head/bias",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, sentence):
    folder = save(tmp_path / "model", exported())
    rewrite(folder, change)
    with pytest.raises(ValueError, match=sentence):
        load(folder)


def test_a_damaged_or_newer_folder_is_one_sentence(tmp_path):
    folder = save(tmp_path / "model", exported())
    whole = (folder / "weights.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], pickle.dumps({"a": 1})):
        (folder / "weights.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="weights.safetensors is damaged"):
            load(folder)
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(ValueError, match="newer version"):
        load(folder)
    with pytest.raises(ValueError, match="pass a folder that `export` has written"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(num_seeds="x"), "model.json is damaged .num_seeds missing or of another kind"),
        (dict(ensemble=2), "model.json is damaged .ensemble missing or of another kind"),
        (dict(policy=...), "model.json is damaged .policy missing or of another kind"),
        (dict(critic=[1]), "critic missing or of another kind"),
        (dict(world_model=[1]), "world_model missing or of another kind"),
        (dict(format=None), "format None is no number"),
        (dict(num_seeds=0), "num_seeds missing or of another kind"),
        (
            dict(policy={"kind": "os.system"}),
            "model.json: Unknown kind of policy 'os.system'. Known: world_model",
        ),
        (dict(world_model=ARGUMENTS | {"zzz": 1}), "its arguments make no model .TypeError: .*zzz"),
        (dict(world_model={}), "its arguments make no model .KeyError: 'sizes'"),
        (
            dict(policy={"in_size": 10}),
            "model.json is damaged or of another kind: .*missing .* argument: 'action_size'",
        ),
        (
            dict(policy=POLICY | {"norm": "batch"}),
            "model.json: Unknown norm 'batch'. Known: None, 'ln', 'rms'",
        ),
        (
            dict(policy=POLICY | {"min_std": "small"}),
            "model.json: min_std of a policy is a number, got 'small'",
        ),
        (
            dict(critic=CRITIC | {"zzz": 1}),
            "model.json is damaged .*keyword argument 'zzz'",
        ),
        (dict(policy=POLICY | {"in_size": 99}), "policy makes 2 numbers of 99 features, .* are 2 of 10"),
        (dict(critic=CRITIC | {"in_size": 99}), "viper_reward makes 1 numbers of 99 features"),
    ],
)
def test_a_model_json_that_was_tampered_with_is_one_sentence(tmp_path, changes, sentence):
    folder = save(tmp_path / "model", exported())
    facts = json.loads((folder / "model.json").read_text()) | changes
    (folder / "model.json").write_text(json.dumps({n: v for n, v in facts.items() if v is not ...}))
    with pytest.raises(ValueError, match=sentence):
        load(folder)


@pytest.mark.parametrize("value", [np.full(2, "a"), np.full(2, 1j)])
def test_weights_of_earlier_releases_that_are_no_real_numbers_are_refused(tmp_path, value):
    folder = save(tmp_path / "model", exported())
    np.savez(folder / "weights.npz", **{**weights.read(folder), BIAS: value})
    with pytest.raises(ValueError, match=f"not real numbers: {BIAS}"):
        load(folder)


def test_a_lone_array_is_no_weights(tmp_path):
    folder = save(tmp_path / "model", exported())
    with open(folder / "weights.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="weights.npz is damaged .File is not a zip file"):
        load(folder)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Cannot write .*file/model: Not a directory. Choose another folder"):
        save(tmp_path / "file" / "model", exported())
