"""SMODICE and LobsDICE: losses and weights against hand-made numbers, and whose steps are cloned."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from models import compiled

from agents import dice
from agents.dice import DiceBatch, DiceOptimizers, DiceSettings
from agents.frame_stack import FrameStack, FrameStackNet
from worldmodels.structures import SequenceBatch

PLAIN = DiceSettings(discount=0.9, hidden_size=8, hidden_layers=1)
LOBS = dataclasses.replace(PLAIN, transitions=True, alpha=1.0, value_penalty=0.5, weight_decay=0.0)
SIZES = {"x": 1}


def twice(state):
    """V(s) = 2 s."""
    return 2.0 * state


# e = r + 0.9 (1 - terminal) V(s') - V(s) = 1 + 1.8 - 4, 2 + 0 - 2
BATCH = DiceBatch(
    state=jnp.array([[2.0], [1.0]]),
    next_state=jnp.array([[1.0], [5.0]]),
    terminal=jnp.array([0.0, 1.0]),
    first=jnp.array([[3.0], [4.0]]),
    own=jnp.zeros((2, 1)),
    demonstrated=jnp.zeros((2, 1)),
)
REWARD, ERROR = jnp.array([1.0, 2.0]), np.array([-1.2, 0.0])


def values(settings):
    return {name: float(part(twice)) for name, part in dice.value_losses(BATCH, REWARD, settings).items()}


def test_what_a_step_is_worth_beyond_its_value():
    np.testing.assert_allclose(dice.residual(twice, BATCH, REWARD, 0.9), ERROR, rtol=1e-6)


def test_the_value_loss_of_the_kl_divergence():
    found = values(PLAIN)
    np.testing.assert_allclose(found["initial"], 0.1 * (6.0 + 8.0) / 2, rtol=1e-6)
    np.testing.assert_allclose(found["divergence"], np.log(np.mean(np.exp(ERROR))), rtol=1e-6)
    assert found.keys() == {"initial", "divergence"}


def test_the_value_loss_of_lobsdice_has_a_temperature_and_a_penalty():
    found = values(LOBS)
    np.testing.assert_allclose(found["divergence"], 2.0 * np.log(np.mean(np.exp(ERROR / 2.0))), rtol=1e-6)
    np.testing.assert_allclose(found["penalty"], 0.5 * 2.0**2, rtol=1e-6)


def test_the_value_loss_of_the_chi2_divergence():
    found = values(dataclasses.replace(PLAIN, divergence="chi2"))
    np.testing.assert_allclose(found["divergence"], np.mean(ERROR**2 / 2 + ERROR), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (PLAIN, np.exp(ERROR)),
        (LOBS, np.exp(ERROR / 2.0)),
        (dataclasses.replace(PLAIN, divergence="chi2"), np.maximum(ERROR + 1.0, 0.0)),
    ],
)
def test_weights_follow_the_divergence_and_have_mean_one(settings, expected):
    weights = dice.step_weights(jnp.asarray(ERROR, jnp.float32), settings)
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-5)


def make_batch(x, action=None, terminal=0.0):
    """Windows [B, 2] of one sensor: x [B, 2], the action [B] that led to the second record."""
    x = jnp.asarray(x, jnp.float32)[..., None]
    zeros = jnp.zeros(x.shape[:2])
    actions = None if action is None else zeros.at[:, 1].set(jnp.asarray(action))[..., None]
    return SequenceBatch(
        observation={"x": x},
        prev_action=actions,
        reward=None,
        is_first=zeros,
        is_last=zeros,
        is_terminal=zeros.at[:, 1].set(terminal),
    )


def test_states_are_the_frames_before_and_after_an_action():
    view = FrameStack(SIZES, num_frames=2, rngs=nnx.Rngs(0))
    batch = make_batch([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], terminal=1.0)
    batch = batch.replace(is_terminal=jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    found = dice.dice_batch(view, batch, batch, batch, transitions=True)
    np.testing.assert_array_equal(found.state, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(found.next_state, [[2, 3], [5, 6]])
    np.testing.assert_array_equal(found.own, [[1, 2, 2, 3], [4, 5, 5, 6]])
    np.testing.assert_array_equal(found.first, found.state)  # one that the data hold: its value is learnt
    np.testing.assert_array_equal(found.terminal, [1, 0])
    single = dice.dice_batch(view, batch, batch, batch, transitions=False)
    np.testing.assert_array_equal(single.own, found.state)


def policy_of(seed=0):
    return FrameStackNet(SIZES, 1, num_frames=1, hidden_size=16, hidden_layers=1, rngs=nnx.Rngs(seed))


def test_the_policys_error_is_weighted():
    policy, batch = policy_of(), make_batch([[0.0, 1.0], [1.0, 0.0]], action=[0.5, -0.5])
    error = np.asarray(policy({"x": batch.observation["x"][:, :1]})[:, 0] - jnp.array([0.5, -0.5])) ** 2
    loss, metrics = dice.weighted_bc_loss(policy, batch, jnp.array([0.5, 1.5]))
    np.testing.assert_allclose(loss, (0.5 * error[0] + 1.5 * error[1]) / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["effective_share"], 4.0 / (2.5 * 2), rtol=1e-5)


@pytest.mark.parametrize("settings", [PLAIN, LOBS], ids=["smodice", "lobsdice"])
def test_it_clones_the_steps_that_lead_where_the_demonstrations_are(settings):
    """At 0 the data go left or right, as often; the demonstrations are seen on the right."""
    rows = jnp.array([[0.0, 1.0, 1.0], [0.0, -1.0, -1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    pick = jnp.arange(32) % 4
    body = make_batch(rows[pick][:, :2], action=rows[pick][:, 2])
    shown, first = make_batch(jnp.ones((32, 2))), make_batch(jnp.zeros((32, 2)))
    settings = dataclasses.replace(settings, penalty_scale=0.1, hidden_size=16)
    optimizers = DiceOptimizers.create(1e-2, settings)
    view = FrameStack(SIZES, num_frames=1, rngs=nnx.Rngs(1))
    state = dice.create_dice(policy_of(), 1, settings, optimizers, jax.random.key(0))
    update = dice.make_dice_update(view, settings, optimizers)
    step = compiled(
        lambda state: jax.lax.scan(lambda s, _: update(s, body, shown, first), state, None, length=200)
    )
    state, metrics = step(state)
    assert int(state.step) == 200
    assert float(state.policy.model({"x": jnp.zeros((1, 1, 1))})[0, 0]) > 0.3
    names = {
        "discriminator/grad_norm",
        "value/initial_grad_norm",
        "value/divergence_grad_norm",
        "policy/loss",
    }
    assert names <= metrics.keys() and metrics["policy/effective_share"][-1] < 0.9


def test_the_value_learns_after_the_discriminator_and_the_policy_after_the_value():
    optimizers = DiceOptimizers(optax.sgd(0.1), optax.sgd(0.1), optax.sgd(0.1))
    view = FrameStack(SIZES, num_frames=1, rngs=nnx.Rngs(1))
    before = dice.create_dice(policy_of(), 1, PLAIN, optimizers, jax.random.key(0))
    body = make_batch([[0.0, 1.0], [1.0, 0.5]], action=[0.5, -0.5])
    after, _ = compiled(dice.make_dice_update(view, PLAIN, optimizers))(before, body, body, body)
    batch = dice.dice_batch(view, body, body, body, transitions=False)
    reward = after.discriminator.model(batch.own)
    parts = dice.value_losses(batch, reward, PLAIN)
    grads = jax.grad(lambda value: sum(part(value) for part in parts.values()))(before.value.model)
    stepped = jax.tree.map(lambda p, g: p - 0.1 * g, before.value.model, grads)
    weight = dice.step_weights(dice.residual(after.value.model, batch, reward, 0.9), PLAIN)
    grads = jax.grad(lambda policy: dice.weighted_bc_loss(policy, body, weight)[0])(before.policy.model)
    cloned = jax.tree.map(lambda p, g: p - 0.1 * g, before.policy.model, grads)
    for ours, expected in ((after.value.model, stepped), (after.policy.model, cloned)):
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_an_unknown_divergence_is_refused():
    with pytest.raises(ValueError, match="Unknown divergence 'js'. Known: kl, chi2"):
        DiceSettings(divergence="js")
