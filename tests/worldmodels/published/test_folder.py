"""Published checkpoints: recognised by their tensors, refused by name where they do not fit."""

import numpy as np
import pytest
from published_folders import (
    FEATURES,
    SENSORS,
    A,
    D,
    S,
    config,
    mlp,
    version_1_rssm,
    version_1_rssmo,
    write,
)

from worldmodels.published import folder as published

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("name", "shapes", "num_tensors", "family"),
    [("rssm", version_1_rssm(), 78, "rssm"), ("rssmo", version_1_rssmo(), None, "rssmo-v1")],
)
def test_a_checkpoint_of_version_1_is_recognised(tmp_path, name, shapes, num_tensors, family):
    assert num_tensors in (None, len(shapes))
    checkpoint = published.load(write(tmp_path, config(name), shapes))
    model = checkpoint.world_model
    assert checkpoint.arguments["world_model"]["rssm"]["family"] == family
    assert not model.baseline_probes and set(model.probes) == set(SENSORS)
    features = np.full((1, FEATURES), 50.0, np.float32)
    image = model.decoders["image"](features).mean()
    assert image.min() >= 0.0 and image.max() <= 1.0  # a sigmoid
    dist = model.probes["height"](features)
    np.testing.assert_allclose(dist.log_prob(dist.mean()), -0.5 * np.log(2 * np.pi), rtol=1e-6)
    assert checkpoint.card["environment"] == "walker-walk"


def test_one_step_of_version_1_is_that_of_pytorchs_cell(tmp_path):
    model = published.load(write(tmp_path, config("rssm"), version_1_rssm())).world_model
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    cell = torch.nn.GRUCell(S + A, D)
    cell.load_state_dict({n.split(".")[1]: v for n, v in state.items() if n.startswith("memory_cell.")})
    expected = cell(torch.full((1, S + A), 0.5), torch.full((1, D), 0.2)).detach().numpy()
    ours = model.dynamics.advance(
        model.dynamics.initial(1).replace(deter=np.full((1, D), 0.2), stoch=np.full((1, S), 0.5)),
        np.full((1, A), 0.5, np.float32),
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    shapes = version_1_rssm()
    renamed = {("prior_mean.net.9.bias" if n == "prior_mean.net.4.bias" else n): s for n, s in shapes.items()}
    with pytest.raises(ValueError, match=r"missing tensors \['prior_mean.net.4.bias'\], unexpected .*net.9"):
        published.load(write(tmp_path, config("rssm"), renamed))
    shapes["prior_mean.net.4.bias"] = (S + 1,)
    with pytest.raises(ValueError, match=r"prior_mean.net.4.bias has shape \(5,\), the model expects \(4,\)"):
        published.load(write(tmp_path, config("rssm"), shapes))


def test_a_policy_or_value_network_of_another_model_is_refused(tmp_path):
    folder = write(tmp_path, config("rssm"), version_1_rssm())
    for name, shapes, sentence in (
        (
            "policy.pt",
            mlp("mean_net", 99, 5) | mlp("std_net", 99, 5),
            "policy makes 5 numbers of 99 features",
        ),
        (
            "vnet.pt",
            mlp("vnets.r.vnet", 99, 1) | mlp("vnets.r.vnet_target", 99, 1),
            "r makes 1 numbers of 99",
        ),
    ):
        torch.save({n: torch.zeros(shape) for n, shape in shapes.items()}, folder / name)
        with pytest.raises(ValueError, match=f"{name}: {sentence}.*of {FEATURES}; take it from the same run"):
            published.load(folder)
        (folder / name).unlink()


def test_value_networks_of_both_versions_load(tmp_path):
    state = {n: torch.ones(s) for n, s in mlp("", FEATURES, 1).items()}
    first = {n[1:]: v for n, v in state.items()}
    second = {
        f"vnets.viper_reward.{part}{n}": v for part in ("vnet", "vnet_target") for n, v in state.items()
    }
    for tensors, reward in ((first, "reward"), (second, "viper_reward")):
        torch.save(tensors, tmp_path / "vnet.pt")
        ((name, (online, target)),) = published.load_value_networks(tmp_path / "vnet.pt")[0].items()
        assert name == reward
        np.testing.assert_array_equal(online(np.ones((1, FEATURES))), target(np.ones((1, FEATURES))))


def test_a_policy_with_norms_loads(tmp_path):
    shapes = mlp("mean_net", FEATURES, A, norm=True) | mlp("std_net", FEATURES, A, norm=True)
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "policy.pt")
    policy, arguments = published.load_policy(tmp_path / "policy.pt")
    assert policy(np.ones((2, FEATURES))).mean.shape == (2, A) and arguments["norm"] == "ln"


def test_a_policy_is_taken_for_a_tanh_gaussian_one_for_nothing_tells_it_from_a_gaussian_one(tmp_path):
    shapes = mlp("mean_net", FEATURES, A) | mlp("std_net", FEATURES, A)
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "policy.pt")
    action = published.load_policy(tmp_path / "policy.pt")[0](np.ones((1, FEATURES)))
    np.testing.assert_allclose(action.mode, np.tanh(action.mean))
    assert np.all(np.abs(action.mean) > 1.0)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("logits_net", r"is a policy of discrete actions \('logits_net'\); ours are continuous"),
        ("net", "no 'mean_net' tensors; it is not a published policy"),
    ],
)
def test_what_is_no_gaussian_policy_is_refused(tmp_path, network, sentence):
    torch.save({f"{network}.net.0.weight": torch.ones(1)}, tmp_path / "policy.pt")
    with pytest.raises(ValueError, match=f"policy.pt.*{sentence}"):
        published.load_policy(tmp_path / "policy.pt")
