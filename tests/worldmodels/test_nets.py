"""Cells and layers against slow, obvious references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from worldmodels import nets


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def test_layer_norm_gru_is_the_published_cell():
    cell = nets.LayerNormGRUCell(3, 4, rngs=nnx.Rngs(0))
    x, h = np.random.default_rng(0).normal(size=(2, 3)), np.random.default_rng(1).normal(size=(2, 4))
    u = np.concatenate([x, h], -1) @ np.asarray(cell.input_layer.kernel[...]) + np.asarray(
        cell.input_layer.bias[...]
    )
    u = (u - u.mean(-1, keepdims=True)) / np.sqrt(u.var(-1, keepdims=True) + 1e-5)
    keep, reset, candidate = np.split(u, 3, -1)
    expected = (1 - sigmoid(keep)) * np.tanh(sigmoid(reset) * candidate) + sigmoid(keep) * h
    np.testing.assert_allclose(cell(jnp.asarray(x), jnp.asarray(h)), expected, rtol=1e-4, atol=1e-5)


def test_gru_cell_matches_pytorch():
    torch = pytest.importorskip("torch")
    cell, reference = nets.GRUCell(3, 4, rngs=nnx.Rngs(0)), torch.nn.GRUCell(3, 4)
    for ours, suffix in ((cell.input_layer, "ih"), (cell.memory_layer, "hh")):
        getattr(reference, f"weight_{suffix}").data = torch.tensor(np.array(ours.kernel[...]).T)
        getattr(reference, f"bias_{suffix}").data = torch.tensor(np.array(ours.bias[...]))
    x, h = np.ones((2, 3), np.float32), np.full((2, 4), 0.5, np.float32)
    expected = reference(torch.tensor(x), torch.tensor(h)).detach().numpy()
    np.testing.assert_allclose(cell(jnp.asarray(x), jnp.asarray(h)), expected, rtol=1e-5)


def test_initialisation_is_uniform_within_the_fan_in_bound_for_weights_and_biases():
    layer = nets.linear(100, 400, rngs=nnx.Rngs(0))
    for values in (layer.kernel[...], layer.bias[...]):
        assert np.abs(values).max() <= 0.1
        assert np.std(values) == pytest.approx(0.1 / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_a_split_first_map_gives_what_the_whole_one_gives(hidden_layers):
    options = dict(hidden_size=8, hidden_layers=hidden_layers, norm="ln", output_activation="softplus")
    mlp = nets.MLP(5, 2, rngs=nnx.Rngs(0), **options)
    x = jax.random.normal(jax.random.key(0), (7, 5))
    split = mlp.finish(mlp.project(x[:, :3], 0) + mlp.project(x[:, 3:], 3))
    np.testing.assert_allclose(split, mlp(x), rtol=1e-5, atol=1e-6)


def test_an_mlp_without_hidden_layers_is_linear():
    mlp = nets.MLP(3, 2, hidden_layers=0, rngs=nnx.Rngs(0))
    x = jnp.ones((1, 3))
    np.testing.assert_allclose(2 * mlp(x) - mlp(0 * x), mlp(2 * x), rtol=1e-5)


def test_ensemble_members_are_independent_mlps():
    ensemble = nets.EnsembleMLP(3, 2, num_members=4, hidden_size=5, hidden_layers=1, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (6, 3))
    for member in range(4):
        hidden = jax.nn.elu(x @ ensemble.kernels[0][...][member] + ensemble.biases[0][...][member][None])
        expected = hidden @ ensemble.kernels[1][...][member] + ensemble.biases[1][...][member][None]
        np.testing.assert_allclose(ensemble(x)[:, member], expected, rtol=1e-4, atol=1e-6)


def test_unknown_activation_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown activation 'gelo'. Known: elu"):
        nets.activation("gelo")


def test_geglu_gates_a_linear_layer():
    mlp = nets.MLP(3, 2, hidden_size=4, hidden_layers=1, activation="geglu", rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, 3))
    hidden, gated = mlp.layers[0](x), mlp.gated[0]
    expected = mlp.head(jax.nn.gelu(gated.gate(hidden), approximate=True) * gated.linear(hidden))
    np.testing.assert_allclose(mlp(x), expected, rtol=1e-6)


def test_geglu_may_end_a_network_too():
    mlp = nets.MLP(3, 2, hidden_size=4, hidden_layers=1, output_activation="geglu", rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, 3))
    linear, gate = mlp.head(jax.nn.elu(mlp.layers[0](x))), mlp.output_gate
    np.testing.assert_allclose(mlp(x), gate(linear), rtol=1e-6)


def test_rms_norm_divides_by_the_root_mean_square():
    norm = nets.make_norm("rms", 3, rngs=nnx.Rngs(0))
    x = np.array([[3.0, 0.0, 4.0]])
    np.testing.assert_allclose(norm(jnp.asarray(x)), x / np.sqrt(25 / 3 + 1e-5), rtol=1e-5)
    with pytest.raises(ValueError, match="Unknown norm 'bn'. Known: None, 'ln', 'rms'"):
        nets.MLP(3, 2, norm="bn", rngs=nnx.Rngs(0))


def test_instance_norm_is_per_image_and_channel():
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(2, 4, 4, 3))
    y = np.asarray(nets.instance_norm(jnp.asarray(x)))
    np.testing.assert_allclose(y.mean((1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), 1.0, rtol=1e-4)


def test_a_head_can_start_at_zero():
    mlp = nets.MLP(3, 2, zero_init=True, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(mlp(jnp.ones((1, 3))), 0.0)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (3, 3, 2, 4)])
def test_weights_are_what_jax_draws_for_their_shape(shape):
    key = jax.random.key(3)
    drawn = nets.uniform_init(0.3)(key, shape)
    np.testing.assert_array_equal(drawn, jax.random.uniform(key, shape, minval=-0.3, maxval=0.3))
