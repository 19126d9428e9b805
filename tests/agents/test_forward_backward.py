"""Forward-backward representations: losses against loops over pairs, and a policy from observations alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from models import compiled

from agents import forward_backward as fb
from agents.dice import states_of
from agents.frame_stack import FrameStack
from worldmodels.structures import SequenceBatch

SIZES = {"x": 1}
SETTINGS = fb.ForwardBackwardSettings(dimension=3, hidden_size=8, hidden_layers=1)
N = 4


def model_of(seed=0):
    return fb.Representation(1, 1, 3, hidden_size=8, hidden_layers=1, rngs=nnx.Rngs(seed))


def drawn(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_losses_equal_loops_over_pairs():
    model, z, goal = model_of(), fb.on_sphere(drawn(N, 3)), drawn(N, N, seed=1)
    state, action, following = drawn(N, 1, seed=2), drawn(N, 1, seed=3), drawn(N, 1, seed=4)

    @compiled
    def computed(model):
        parts = fb.representation_losses(state, action, following, z, goal, SETTINGS)
        losses = {name: loss(model) for name, loss in parts.items()}
        return losses, model.forward(state, action, z), model.backward(following)

    losses, forwards, b = computed(model)
    forwards, b = [np.asarray(f, np.float64) for f in forwards], np.asarray(b, np.float64)
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    successor = sum(0.5 * np.mean([(f[i] @ b[j] - goal[i, j]) ** 2 for i, j in pairs]) for f in forwards)
    visit = -sum(np.mean([f[i] @ b[i] for i in range(N)]) for f in forwards)
    apart = np.mean([(b[i] @ b[j]) ** 2 for i, j in pairs]) - 2 * np.mean([b[i] @ b[i] for i in range(N)])
    np.testing.assert_allclose(losses["successor"], successor, rtol=1e-4)
    np.testing.assert_allclose(losses["visit"], visit, rtol=1e-4)
    np.testing.assert_allclose(losses["orthonormal"], apart, rtol=1e-4)


def test_b_and_directions_are_on_the_sphere_and_half_of_them_are_seen():
    backward = compiled(lambda model, x: model.backward(x))(model_of(), drawn(64, 1))
    z = compiled(fb.directions)(backward, jax.random.key(1))
    for x in (backward, z):
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), np.sqrt(3.0), rtol=1e-5)
    seen = (jnp.abs(z[:, None] - backward[None]).max(axis=-1) < 1e-6).any(axis=1)
    assert 16 < int(seen.sum()) < 48


def policy_of():
    options = dict(dimension=3, num_frames=1, hidden_size=16, hidden_layers=1)
    return fb.PromptedPolicy(SIZES, 1, **options, rngs=nnx.Rngs(0))


def test_the_policys_loss_is_minus_the_smaller_value_along_z():
    policy, model, z = policy_of(), model_of(), fb.on_sphere(drawn(N, 3))
    frames, state = {"x": drawn(N, 1, 1, seed=2)}, drawn(N, 1, seed=2)
    still = dataclasses.replace(SETTINGS, action_std=0.0)

    @compiled
    def computed(policy, model):
        loss, _ = fb.policy_loss(policy, model, frames, state, z, jax.random.key(0), settings=still)
        return loss, model.forward(state, policy.act(frames, z), z)

    loss, forwards = computed(policy, model)
    values = np.stack([np.sum(np.asarray(f) * np.asarray(z), axis=-1) for f in forwards])
    np.testing.assert_allclose(loss, -values.min(axis=0).mean(), rtol=1e-5)


def test_noise_on_actions_is_clipped():
    noisy = compiled(lambda action, key: fb.noisy_action(action, key, SETTINGS))
    action = noisy(jnp.full((1000, 1), 0.9), jax.random.key(0))
    assert np.isclose(action.min(), 0.6, atol=1e-5) and action.max() == 1.0


def test_a_prompted_policy_acts_along_its_prompt():
    policy, frames, z = policy_of(), {"x": drawn(N, 1, 1)}, fb.on_sphere(drawn(3, seed=5))
    acted, expected = compiled(
        lambda policy: (policy.prompted(z)(frames), policy.act(frames, jnp.broadcast_to(z, (N, 3))))
    )(policy)
    np.testing.assert_allclose(acted, expected, rtol=1e-6)
    np.testing.assert_array_equal(policy.prompt[...], 0.0)


def steps(number, key, action=None):
    """Windows [N, 2] of a point on a line that moves by half its action, within [-1, 1]."""
    place_key, action_key = jax.random.split(key)
    before = jax.random.uniform(place_key, (number,), minval=-1.0)
    action = jax.random.uniform(action_key, (number,), minval=-1.0) if action is None else action
    x = jnp.stack([before, jnp.clip(before + 0.5 * action, -1.0, 1.0)], axis=1)[..., None]
    zeros = jnp.zeros((number, 2))
    return SequenceBatch(
        observation={"x": x},
        prev_action=zeros.at[:, 1].set(action)[..., None],
        reward=None,
        is_first=zeros,
        is_last=zeros,
        is_terminal=zeros,
    )


def test_one_demonstration_without_actions_says_where_to_go():
    """The same networks go right or left, as the records of the demonstration lie."""
    settings = dataclasses.replace(SETTINGS, dimension=4, hidden_size=32, discount=0.8, target_rate=0.05)
    options = dict(dimension=4, num_frames=1, hidden_size=32, hidden_layers=1)
    policy = fb.PromptedPolicy(SIZES, 1, **options, rngs=nnx.Rngs(0))
    view, optimizer = FrameStack(SIZES, num_frames=1, rngs=nnx.Rngs(0)), optax.adam(3e-3)
    state = fb.create_forward_backward(policy, 1, 1, settings, optimizer, jax.random.key(0))
    update = fb.make_forward_backward_update(view, settings, optimizer)

    def learn(state, key):
        return update(state, steps(64, key))

    state, metrics = compiled(lambda s: jax.lax.scan(learn, s, jax.random.split(jax.random.key(1), 600)))(
        state
    )
    assert {
        "model/successor_grad_norm",
        "model/visit_grad_norm",
        "model/orthonormal_grad_norm",
    } <= metrics.keys()
    frames = {"x": jnp.linspace(-0.5, 0.5, 5).reshape(5, 1, 1)}

    @compiled
    def act_as_shown(model, policy, x):
        shown = steps(8, jax.random.key(2)).replace(observation={"x": x}, prev_action=None)
        return policy.prompted(fb.prompt_of(model, view, shown))(frames)

    for place in (0.9, -0.9):
        acted = act_as_shown(state.model.model, state.policy.model, jnp.full((8, 2, 1), place))
        assert float((acted * jnp.sign(place)).mean()) > 0.2, (place, acted)


def test_the_slow_copy_follows_the_updated_representation():
    view, optimizer = FrameStack(SIZES, num_frames=1, rngs=nnx.Rngs(0)), optax.sgd(0.1)
    before = fb.create_forward_backward(policy_of(), 1, 1, SETTINGS, optimizer, jax.random.key(0))
    batch = compiled(lambda key: steps(8, key))(jax.random.key(1))
    after, _ = compiled(fb.make_forward_backward_update(view, SETTINGS, optimizer))(before, batch)
    triples = zip(*map(jax.tree.leaves, (before.target, after.model.model, after.target)), strict=True)
    for old, online, new in triples:
        np.testing.assert_allclose(new, 0.99 * old + 0.01 * online, rtol=1e-4, atol=1e-6)
    assert int(after.step) == 1
    np.testing.assert_array_equal(states_of(view, batch)[1], batch.observation["x"][:, 1])
