"""Encoders by DynaMo and by inverse dynamics as a user trains them, and what takes them: BC, BCO, OT."""

import jax
import numpy as np
import pytest
from imitation_data import config_of, make_config, write_data
from interruption import assert_same_run, copied_after

from experiments.configs import baseline as baseline_config
from experiments.configs import pretrain as pretrain_config
from experiments.configs import surrogate as surrogate_config
from experiments.methods import baseline, pretrain, surrogate
from experiments.models import files
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows
from worldmodels.checkpoints import Checkpoints, named_leaves
from worldmodels.data.episodes import load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), render_size=8)


@pytest.fixture(scope="module")
def dynamo(data, tmp_path_factory):
    """From vectors of two folders, of which one has no actions."""
    workdir = tmp_path_factory.mktemp("dynamo") / "run"
    folders = f"{data / 'embodiment'},{data / 'observations'}"
    config = config_of(pretrain_config, "dynamo-tiny", embodiment=folders)
    with copied_after(2, workdir, workdir.parent / "killed"):
        return workdir, pretrain.run(config, workdir)


@pytest.fixture(scope="module")
def inverse(data, tmp_path_factory):
    """From images, two seeds."""
    workdir = tmp_path_factory.mktemp("inverse") / "run"
    changes = dict(embodiment=str(data / "embodiment"), setup="visual", num_seeds=2)
    return workdir, pretrain.run(config_of(pretrain_config, "inverse_dynamics-tiny", **changes), workdir)


def encoders(models) -> dict[str, np.ndarray]:
    """Weights and statistics by which frames are encoded, [num_seeds, ...]."""
    parts = ("encoder/", "standardizer/")
    return {name: np.asarray(x) for name, x in named_leaves(models).items() if name.startswith(parts)}


def test_dynamo_learns_from_episodes_with_and_without_actions(dynamo):
    workdir, result = dynamo
    assert result["num_episodes"] == 12 and result["num_updates"] == 6
    assert {"loss", "dynamics_loss", "copy_loss", "covariance_loss", "embed_std"} <= result.keys()
    assert [row["update"] for row in read_rows(workdir / "metrics.jsonl")] == [2, 4, 6]
    encoder = files.load_encoder(workdir).seed(0).encoder
    assert encoder.names == ("position",) and encoder.encode({"position": np.zeros((3, 2))}).shape == (3, 8)


def test_a_killed_pretraining_ends_bit_identical(data, dynamo):
    reference, result = dynamo
    killed = reference.parent / "killed"
    folders = f"{data / 'embodiment'},{data / 'observations'}"
    config = config_of(pretrain_config, "dynamo-tiny", embodiment=folders)
    assert Checkpoints(killed / "checkpoints").latest_step() == 2
    assert pretrain.run(config, killed) == result
    assert_same_run(killed, reference, checkpoints=("checkpoints", "model"))


@pytest.mark.parametrize("freeze", [True, False])
def test_bc_begins_with_the_encoder_and_leaves_it_as_it_is_if_it_is_frozen(data, dynamo, tmp_path, freeze):
    config = make_config(baseline_config.get_config("bc-tiny"), data, encoder=str(dynamo[0]))
    config.update(freeze_encoder=freeze, num_seeds=2, num_demonstrations=2)
    config.fit.max_updates = 20
    assert np.shape(baseline.run(config, tmp_path)["return"]) == (2, 2)
    policies, pretrained = files.load(tmp_path).policy, files.load_encoder(dynamo[0]).encoder
    before, after = encoders(pretrained), encoders(policies)
    assert before.keys() == after.keys()
    for name, values in before.items():
        for seed in range(2):
            same = np.array_equal(after[name][seed], values[0])
            assert same == (freeze or name.startswith("standardizer")), name
    head = named_leaves(policies)["head/head/kernel"]
    assert np.abs(head[0] - head[1]).max() > 0
    assert load_run(tmp_path).num_seeds == 2


def test_bco_takes_an_encoder_of_images_for_both_networks_and_each_seed_its_own(data, inverse, tmp_path):
    changes = dict(encoder=str(inverse[0]), setup="visual", num_seeds=2)
    config = make_config(baseline_config.get_config("bco-tiny"), data, "observations", **changes)
    config.fit.max_updates = 20
    assert np.shape(baseline.run(config, tmp_path)["return"]) == (2, 2)
    fitted = Checkpoints(tmp_path / "checkpoints").read()[1]
    for name, pretrained in encoders(files.load_encoder(inverse[0]).encoder).items():
        assert np.abs(pretrained[0] - pretrained[1]).max() > 0
        for network in ("idm", "policy"):
            np.testing.assert_array_equal(fitted[f"{network}/best_model/{name}"], pretrained, err_msg=name)


def test_transport_measures_between_its_embeddings_and_how_they_move(data, dynamo):
    config = make_config(surrogate_config.get_config("ot-tiny"), data, "observations", encoder=str(dynamo[0]))
    seen = surrogate.load_data(config.to_dict())
    encode = jax.jit(files.load_encoder(dynamo[0]).seed(0).encoder.encode)
    shown = [episode.records["position"] for episode in load_episodes(data / "observations")]
    embeddings = [np.asarray(encode({"position": position})) for position in shown]  # each [T, E]
    moved = [np.diff(values, axis=0, prepend=values[:1]) for values in embeddings]
    expected = np.concatenate([np.concatenate(embeddings), np.concatenate(moved)], axis=-1)
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    found = seen.features(seen.demonstrations[0])  # the newest of three frames, and two differences
    size = embeddings[0].shape[-1]
    assert found.shape == (len(shown[0]), 3 * size)
    np.testing.assert_allclose(found[:, :size], expected[: len(found), :size], atol=1e-4)
    np.testing.assert_allclose(found[:, 2 * size :], expected[: len(found), size:], atol=1e-4)


@pytest.mark.parametrize(("method", "preset"), [(baseline, "bc"), (surrogate, "ot")])
def test_episodes_in_the_place_of_an_encoder_are_refused(data, tmp_path, method, preset):
    get_config = (baseline_config if method is baseline else surrogate_config).get_config
    config = make_config(get_config(f"{preset}-tiny"), data, encoder=str(data / "embodiment"))
    with pytest.raises(ValueError, match="embodiment holds no encoder of frames; .*; found: episodes.$"):
        method.run(config, tmp_path / "run")


def test_wrong_data_and_wrong_encoders_are_refused(data, dynamo, inverse, tmp_path):
    config = config_of(pretrain_config, "inverse_dynamics-tiny", embodiment=str(data / "observations"))
    with pytest.raises(ValueError, match="The embodiment data have no actions: pre_action has size 0"):
        pretrain.run(config, tmp_path / "a")
    with pytest.raises(ValueError, match="needs a folder of episodes; pass --config.embodiment=DIR"):
        pretrain.run(config_of(pretrain_config, "dynamo-tiny"), tmp_path / "b")
    config = config_of(pretrain_config, "dynamo-tiny", embodiment=str(data / "embodiment"))
    config.network.encoder = dict(name="identity")
    with pytest.raises(ValueError, match="The identity has nothing to learn; pass --config.network.encoder"):
        pretrain.run(config, tmp_path / "c")
    bc = baseline_config.get_config("bc-tiny")
    with pytest.raises(
        ValueError, match="reads position, the policy position, velocity; choose the encoder's"
    ):
        baseline.run(make_config(bc, data, encoder=str(dynamo[0]), setup="mdp"), tmp_path / "d")
    config = make_config(baseline_config.get_config("bc-tiny"), data, encoder=str(inverse[0]), num_seeds=3)
    config.setup = "visual"
    with pytest.raises(ValueError, match="holds 2 encoders, the run asks for 3 policies; use as many, or"):
        baseline.run(config, tmp_path / "e")
    config = surrogate_config.get_config("ot-tiny")
    with pytest.raises(ValueError, match="reads image, the agent position; choose a set-up that has what"):
        surrogate.load_data(make_config(config, data, encoder=str(inverse[0])).to_dict())
    with pytest.raises(ValueError, match="holds an encoder, which does not act"):
        load_run(dynamo[0])
