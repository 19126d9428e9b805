"""Frame-stack networks: what they read, in which order, and how frames are merged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.frame_stack import ConcatMerger, FlareMerger, FrameStackNet, with_encoder_of

SIZES = {"position": 2, "height": 1}


def make_net(seed=0, num_frames=3, **options):
    return FrameStackNet(
        SIZES, 2, num_frames=num_frames, rngs=nnx.Rngs(seed), **{"hidden_size": 8, **options}
    )


def make_frames(seed=0, num_frames=3, batch=4):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(batch, num_frames, d)).astype(np.float32) for name, d in SIZES.items()}


def test_vectors_are_concatenated_in_the_given_order_and_frames_oldest_first():
    net, frames = make_net(hidden_layers=0), make_frames()
    inputs = [np.concatenate([frames["position"][:, t], frames["height"][:, t]], axis=-1) for t in range(3)]
    linear = (
        np.concatenate(inputs, axis=-1) @ net.head.head.kernel[...]
        + np.asarray(net.head.head.bias[...])[None]
    )
    np.testing.assert_allclose(net(frames), np.tanh(linear), atol=1e-6)


def test_sensors_that_are_not_inputs_are_not_read():
    net, frames = make_net(), make_frames()
    np.testing.assert_array_equal(net(frames), net({**frames, "velocity": np.full((4, 3, 2), np.nan)}))


def test_the_published_network_has_two_layers_of_128_units():
    net = FrameStackNet(SIZES, 2, num_frames=5, rngs=nnx.Rngs(0))
    assert [layer.kernel[...].shape for layer in net.head.layers] == [(15, 128), (128, 128)]
    assert (net.head.activation, net.head.output_activation) == ("elu", "tanh")


def test_statistics_standardise_every_frame():
    statistics = {
        "position": (np.array([1.0, -2.0]), np.array([0.5, 4.0])),
        "height": (np.ones(1), np.full(1, 2.0)),
    }
    frames = make_frames()
    standardised = {
        name: ((x - statistics[name][0]) / statistics[name][1]).astype(np.float32)
        for name, x in frames.items()
    }
    np.testing.assert_allclose(make_net(statistics=statistics)(frames), make_net()(standardised), atol=1e-6)


def test_statistics_receive_no_gradient():
    statistics = {"position": (np.zeros(2), np.ones(2))}
    grads = jax.grad(lambda net: (net(make_frames()) ** 2).sum())(make_net(statistics=statistics))
    assert not np.any(grads.standardizer.mean["position"][...])


def test_flare_merges_flows_and_later_frames():
    merger = FlareMerger(3, 2, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    merged = np.concatenate([x[:, 1] - x[:, 0], x[:, 2] - x[:, 1], x[:, 1], x[:, 2]], axis=-1)
    np.testing.assert_allclose(merger(x), merger.norm(merger.layer(merged)), atol=1e-6)


def test_flows_send_no_gradient_to_their_earlier_frame():
    merger = FlareMerger(2, 2, rngs=nnx.Rngs(0))
    grad = jax.grad(lambda x: merger(x)[0].sum() + (merger(x) ** 2).sum())(jnp.arange(4.0).reshape(2, 2))
    assert not np.any(grad[0])
    assert np.any(grad[1])


def test_a_single_frame_is_concatenated():
    assert isinstance(make_net(num_frames=1, merger="flare").merger, ConcatMerger)


def test_an_unknown_merger_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown merger 'sum'. Known: concat, flare; or"):
        make_net(merger="sum")


def test_a_window_of_another_length_is_refused():
    with pytest.raises(ValueError, match="reads 3 frames and was given 4"):
        make_net()(make_frames(num_frames=4))


def test_the_encoder_of_another_network_is_copied_and_the_rest_kept():
    encoder = {"name": "mlp", "hidden_size": 4, "hidden_layers": 1}
    policy, idm = make_net(0, encoder=encoder), make_net(1, num_frames=4, encoder=encoder)
    result = with_encoder_of(policy, idm)
    jax.tree.map(np.testing.assert_array_equal, result.encoder, idm.encoder)
    jax.tree.map(np.testing.assert_array_equal, result.head, policy.head)


def test_the_identity_encoder_has_nothing_to_copy():
    policy, idm = make_net(0), make_net(1, num_frames=4)
    jax.tree.map(np.testing.assert_array_equal, with_encoder_of(policy, idm), policy)
