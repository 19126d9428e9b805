"""Flows: noise goes to actions on straight lines, streams shift by an action a step, and two modes stay two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.bc import bc_loss
from agents.fitting import FitSettings, FitState, fit
from agents.flow import (
    FlowActor,
    FlowHead,
    FlowNet,
    Stream,
    bc_flow_loss,
    draw_levels,
    flow_loss,
    stream,
)
from agents.frame_stack import FrameStackNet
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.structures import SequenceBatch

FEATURES = jnp.array([[0.5], [-0.25]])  # of two environments


class Known(FlowHead):
    """A flow of one-dimensional actions whose network is known."""

    def __init__(self, clean, chunk=2, euler_steps=2):
        super().__init__(1, 1, chunk=chunk, euler_steps=euler_steps, hidden_size=1, rngs=nnx.Rngs(0))
        self._clean = clean

    def clean(self, features, noisy, level):
        assert level.shape == noisy.shape[:2]
        return self._clean(features[:, :, None], noisy)


def to_features(features, noisy):
    return 0 * noisy + features


def half_way(features, noisy):
    return (noisy + features) / 2


def test_levels_are_whole_steps_of_an_action_apart():
    head = Known(to_features, chunk=3, euler_steps=5)
    assert (head.steps_per_action, head.num_levels) == (2, 6)
    np.testing.assert_array_equal(head.buffer_levels, [[4, 2, 0]])
    rows = {tuple(row) for row in np.asarray(draw_levels(head, 1000, jax.random.key(0))).tolist()}
    assert rows == {(4, 2, 0), (5, 3, 1)} | {(k, k, k) for k in range(6)}
    with pytest.raises(
        ValueError, match="A flow of 0 steps comes to no action; give euler_steps of at least 1."
    ):
        Known(to_features, euler_steps=0)


@pytest.mark.parametrize(("steps", "share"), [(0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0)])
def test_a_constant_velocity_is_followed_exactly(steps, share):
    """Where the network knows the actions, the velocity from noise 2 to them is constant."""
    noise = jnp.full((2, 2, 1), 2.0)
    found = Known(to_features, euler_steps=4).flow(FEATURES, noise, jnp.zeros((1, 2), int), steps)
    np.testing.assert_array_equal(found[:, 0], 2 + share * (FEATURES - 2))
    np.testing.assert_array_equal(found[:, 1], found[:, 0])


def test_the_error_is_that_of_the_velocity_times_what_is_left_of_the_way():
    """A network that says what it is shown has the velocity 0, where it should be a - e."""
    head, target = Known(lambda features, noisy: noisy), jnp.array([[0.5, -1.0], [1.0, 0.0]])
    key = jax.random.key(3)
    level_key, noise_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, (2, 2, 1))[..., 0]
    left = 1 - draw_levels(head, 2, level_key) / 2
    errors = (left * (target - noise)) ** 2
    known = jnp.ones_like(target)
    loss, metrics = jax.jit(flow_loss)(head, FEATURES, target, known, key)
    assert float(loss) == pytest.approx(float(errors.mean()), rel=1e-5)
    assert metrics["loss"] == loss
    loss, _ = jax.jit(flow_loss)(head, FEATURES, target, known.at[1, 1].set(0.0), key)
    assert float(loss) == pytest.approx(float((errors.sum() - errors[1, 1]) / 3), rel=1e-5)


def test_what_is_repeated_behind_the_end_of_an_episode_is_not_learnt():
    """Of windows that end at their second record, the second action of a chunk."""
    policy = FlowNet(
        {"x": 1}, 1, num_frames=1, chunk=2, euler_steps=2, hidden_size=4, hidden_layers=1, rngs=nnx.Rngs(0)
    )
    flags = jnp.zeros((5, 3))
    batch = SequenceBatch({"x": jnp.zeros((5, 3, 1))}, jnp.zeros((5, 3, 1)), None, flags, flags, flags)
    ended = batch.replace(is_last=flags.at[:, 1:].set(1.0))
    found = [bc_flow_loss(policy, each, jax.random.key(0))[0] for each in (batch, ended)]
    target = jnp.zeros((5, 2))
    head, known = (policy.head, policy.merged({"x": batch.observation["x"][:, :1]})), jnp.ones_like(target)
    masks = (known, known.at[:, 1].set(0.0))
    np.testing.assert_array_equal(
        found, [flow_loss(*head, target, mask, jax.random.key(0))[0] for mask in masks]
    )
    assert found[0] != found[1]


def test_an_action_flows_through_the_observations_of_its_chunk():
    """H = 2, one step each: an action is half noise when it is second, and clean when it is first."""
    head = Known(half_way)
    state, noise, acts = Stream(jnp.full((2, 2, 1), 9.0), jax.random.key(0)), [], []
    for number, seen in enumerate([FEATURES, 3 * FEATURES, -FEATURES]):
        noise.append(jax.random.normal(jax.random.split(state.key)[0], (2, 3, 1)))
        action, state = jax.jit(stream)(head, seen, state, jnp.full(2, number == 0))
        acts.append(action)
    second = noise[0][:, -1]  # behind the first buffer; it is done two steps later
    second = second + ((second + 3 * FEATURES) / 2 - second) / 2
    np.testing.assert_allclose(acts[2], (second - FEATURES) / 2, rtol=1e-5)
    np.testing.assert_array_equal(state.buffer[:, 1], noise[2][:, -1])


def test_an_episode_begins_with_a_whole_chunk_from_noise_and_leaves_the_others_alone():
    head, key = Known(half_way), jax.random.key(0)
    before = Stream(jnp.full((2, 2, 1), 9.0), key)
    _, undisturbed = stream(head, FEATURES, before, jnp.array([False, False]))
    action, after = stream(head, FEATURES, before, jnp.array([True, False]))
    np.testing.assert_array_equal(after.buffer[1], undisturbed.buffer[1])
    noise = jax.random.normal(jax.random.split(key)[0], (2, 3, 1))[0, :2]
    whole = head.flow(FEATURES[:1], noise[None], jnp.zeros((1, 2), int), 2)[0]
    first = (noise[0] + whole[0]) / 2  # at level 1 of 2, on the way to the whole chunk
    np.testing.assert_allclose(action[0], (first + 0.5) / 2, rtol=1e-5)


def two_modes(number=60, length=8, size=0.8):
    """Episodes in which nothing is seen, and all actions are `size` or all are -`size`."""
    flags = {name: np.zeros(length, bool) for name in ("is_first", "is_last", "is_terminal")}
    return [
        Episode(
            {
                "x": np.zeros((length, 1), np.float32),
                "pre_action": np.full((length, 1), size if index % 2 else -size, np.float32),
                **flags,
            }
        )
        for index in range(number)
    ]


def fitted(policy, loss):
    options = dict(length=3, sensors=["x"], with_reward=False)
    settings = FitSettings(
        learning_rate=3e-3, training_fraction=0.9, patience=None, max_updates=1000, updates_per_epoch=500
    )
    dataset = SequenceDataset.create(two_modes(), **options)
    return fit(FitState.create(policy, settings, jax.random.key(0)), dataset, loss, settings).best_model


def test_a_flow_takes_one_of_two_actions_where_a_regression_takes_their_mean():
    options = dict(num_frames=1, hidden_size=32, hidden_layers=2)
    mean = fitted(FrameStackNet({"x": 1}, 2, rngs=nnx.Rngs(0), **options), bc_loss)
    assert np.abs(mean({"x": jnp.zeros((1, 1, 1))})).max() < 0.2
    flow = fitted(FlowNet({"x": 1}, 1, chunk=2, euler_steps=16, rngs=nnx.Rngs(0), **options), bc_flow_loss)
    actor, acts = FlowActor(flow, jax.random.key(0)), []
    for number in range(6):
        acts.append(actor({"x": np.zeros((200, 1)), "is_first": np.full(200, number == 0)})[:, 0])
    for action, share in ((acts[0], 0.9), (acts[-1], 0.75)):
        assert np.mean(np.abs(np.abs(action) - 0.8) < 0.2) > share
        assert 0.3 < np.mean(action > 0) < 0.7


def test_seeds_stream_as_each_would_alone():
    options = dict(num_frames=2, chunk=2, euler_steps=4, hidden_size=8, hidden_layers=1)
    policies = [FlowNet({"x": 1}, 2, rngs=nnx.Rngs(seed), **options) for seed in range(2)]
    together = FlowActor(jax.tree.map(lambda *x: np.stack(x), *policies), jax.random.key(0), num_seeds=2)
    alone = [FlowActor(policy, jax.random.key(0)) for policy in policies]
    x = np.random.default_rng(0).normal(size=(4, 6, 1)).astype(np.float32)
    for number, seen in enumerate(x):
        records = {"x": seen, "is_first": np.full(6, number in (0, 2))}
        halves = [{name: value[rows] for name, value in records.items()} for rows in (slice(3), slice(3, 6))]
        expected = np.concatenate([actor(half) for actor, half in zip(alone, halves, strict=True)])
        np.testing.assert_allclose(together(records), expected, atol=1e-5)
