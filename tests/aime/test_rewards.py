"""Surrogate rewards: what they score, and when."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import SIZES, make_batch, make_model
from parity import COMPILER_OPTIONS

from aime.rewards import (
    REWARDS,
    RewardInputs,
    principal_components,
    symlog,
    viper_reward,
)
from worldmodels.losses import per_step_evidence

# Compiling takes longer than running.
viper = jax.jit(viper_reward, compiler_options=COMPILER_OPTIONS)
evidence_of = jax.jit(per_step_evidence, compiler_options=COMPILER_OPTIONS)


@pytest.fixture(scope="module")
def likelihood_model():
    return make_model(action_size=0, idm_mode="none", seed=5)


@pytest.fixture(scope="module")
def model():
    return make_model(idm_mode="none")


def inputs(model, likelihood_model=None, demonstrations=None):
    shown = make_batch(2, 4, seed=3, actions=False) if demonstrations is None else demonstrations
    weights = jnp.full(shown.batch_shape, 1.0 / shown.batch_shape[1])
    sizes = {name: values.shape[-1] for name, values in shown.observation.items()}
    return RewardInputs(shown, weights, model.encoder.out_size, likelihood_model, sizes, SIZES)


def changed_frame(batch, time):
    """The batch with another frame at one time."""
    observation = {name: value.at[:, time].add(3.0) for name, value in batch.observation.items()}
    return batch.replace(observation=observation)


def changed_window(batch, number):
    """The batch with other frames in one window."""
    observation = {name: value.at[number].add(1.0) for name, value in batch.observation.items()}
    return batch.replace(observation=observation)


def test_symlog_is_odd_and_logarithmic():
    np.testing.assert_allclose(symlog(jnp.array([-np.e + 1, 0.0, np.e - 1])), [-1.0, 0.0, 1.0], atol=1e-6)


# reward[t] scores observation[t] ------------------------------------------------------------------------------------


def test_of_three_steps_each_viper_reward_scores_its_own_frame(likelihood_model):
    batch = make_batch(2, 3)
    reward = np.asarray(viper(likelihood_model, batch)[0])
    for time in (1, 2):
        changes = np.asarray(viper(likelihood_model, changed_frame(batch, time))[0]) != reward
        assert changes[time] and not changes[:time].any(), (time, changes)


def test_viper_is_the_symlog_of_the_evidence_and_zero_at_the_first_record(likelihood_model):
    batch = make_batch(2, 3)
    reward = viper(likelihood_model, batch)
    evidence = evidence_of(likelihood_model, batch)
    np.testing.assert_array_equal(reward[:, 0], 0)
    np.testing.assert_allclose(reward[:, 1:], symlog(evidence)[:, 1:], rtol=1e-6)
    assert (reward[:, 1:] < 0).all()


def test_viper_does_not_look_at_actions(likelihood_model):
    batch, others = make_batch(2, 3), make_batch(2, 3, seed=8)
    other_actions = batch.replace(prev_action=others.prev_action)
    np.testing.assert_array_equal(viper(likelihood_model, batch), viper(likelihood_model, other_actions))


def test_viper_does_not_look_at_the_true_reward_even_if_its_model_predicts_it():
    told = make_model(action_size=0, idm_mode="none", predict_reward=True, encoder=dict(name="identity"))
    batch = make_batch(1, 3)
    earned = batch.replace(reward=batch.reward + 5.0)
    assert (evidence_of(told, batch) != evidence_of(told, earned)).all(), "its evidence does look"
    known = dataclasses.replace(inputs(told, told), likelihood_sizes=SIZES | {"reward": 1})
    reward = REWARDS.make(known, name="viper")
    assert reward.sensors == ("position", "velocity")
    np.testing.assert_array_equal(reward.score((), None, batch)[0], reward.score((), None, earned)[0])


def test_of_three_steps_each_transport_reward_scores_its_own_frame(model):
    shown = make_batch(1, 3, seed=1, actions=False)
    reward = REWARDS.make(inputs(model, demonstrations=shown), name="ot")
    off = changed_frame(shown, 1)  # like the demonstration but for one frame
    values, _ = reward.score(reward.initial_state(jax.random.key(0)), model, off)
    assert np.argmin(values) == 1


def test_the_adversarial_reward_scores_its_own_frame(model):
    reward = REWARDS.make(inputs(model), name="ail", hidden_size=8, hidden_layers=1)
    state, batch = reward.initial_state(jax.random.key(0)), make_batch(2, 3)
    shown = make_batch(2, 3, seed=4, actions=False)
    step = jax.jit(
        lambda batch: reward.relabel(state, model, batch, shown), compiler_options=COMPILER_OPTIONS
    )
    state, rewarded, _ = step(batch)
    own = state.model(model.encode(batch.observation))
    np.testing.assert_allclose(rewarded.observation["ail_reward"][..., 0], own, rtol=1e-4, atol=1e-5)


# What each is shown -------------------------------------------------------------------------------------------------


MATCHED = ("ot", "temporal_ot", "orca")


@pytest.mark.parametrize("name", MATCHED)
def test_a_matching_is_shown_whole_demonstrations_without_their_padding(model, name):
    shown = make_batch(2, 4, seed=2, actions=False)
    own = jax.tree.map(lambda x: x[1:], shown)  # so that the second one is the nearest
    weights = jnp.array([[0.25] * 4, [1 / 3] * 3 + [0.0]])

    def score(demonstrations):
        known = dataclasses.replace(
            inputs(model, demonstrations=demonstrations), demonstration_weights=weights
        )
        reward = REWARDS.make(known, name=name)
        state = reward.initial_state(jax.random.key(0)).replace(scale=jnp.ones(()))
        return np.asarray(reward.score(state, model, own)[0])

    padding, frame = (
        shown.replace(observation={n: x.at[1, time].add(3.0) for n, x in shown.observation.items()})
        for time in (3, 0)
    )
    np.testing.assert_allclose(score(padding), score(shown), atol=1e-5)
    assert np.abs(score(frame) - score(shown)).max() > 1e-3


@pytest.mark.parametrize("name", MATCHED)
def test_a_matching_is_shown_embeddings_or_sensors_in_the_order_of_time(model, name):
    """Played backwards, an episode earns its rewards of plain transport backwards, and less where order counts."""
    shown = make_batch(1, 6, seed=2, actions=False)
    backwards = shown.replace(observation={n: x[:, ::-1] for n, x in shown.observation.items()})
    for embeddings in (True, False):
        options = dict(embeddings=embeddings) | (dict(width=1) if name == "temporal_ot" else {})
        reward = REWARDS.make(inputs(model, demonstrations=shown), name=name, **options)
        state = reward.initial_state(jax.random.key(0)).replace(scale=jnp.ones(()))
        there, back = (reward.score(state, model, episode)[0] for episode in (shown, backwards))
        if name == "ot":
            np.testing.assert_allclose(back[::-1], there, atol=1e-4)
        else:
            assert back.sum() < there.sum() - 1e-3


def test_a_matching_is_shown_embeddings_of_an_encoder_in_the_place_of_the_world_models(model):
    episode = make_batch(1, 4, seed=5)

    def score(encoder=None, seen=model, sizes=SIZES):
        known = dataclasses.replace(inputs(model), encoder=encoder, encoder_sizes=sizes)
        reward = REWARDS.make(known, name="ot")
        state = reward.initial_state(jax.random.key(0)).replace(scale=jnp.ones(()))
        return np.asarray(reward.score(state, seen, episode)[0])

    other = make_model(idm_mode="none", seed=9)
    np.testing.assert_array_equal(score(encoder=other), score(seen=other))
    assert np.abs(score(encoder=other) - score()).max() > 1e-4
    with pytest.raises(ValueError, match="The encoder knows height, which this run does not have; it has"):
        score(encoder=other, sizes={"height": 1})


def test_a_discriminator_is_shown_every_window_of_both_sides(model):
    """And rewards by what it has just learnt: a window of pretraining data counts as one of its own."""
    reward = REWARDS.make(inputs(model), name="ail", hidden_size=8, hidden_layers=1)
    state, own, shown = (
        reward.initial_state(jax.random.key(0)),
        make_batch(3, 3),
        make_batch(3, 3, seed=4, actions=False),
    )
    step = jax.jit(
        lambda own, shown: reward.relabel(state, model, own, shown)[0].model,
        compiler_options=COMPILER_OPTIONS,
    )
    usual = jax.tree.leaves(step(own, shown))
    for window in range(3):
        for changed in (
            step(changed_window(own, window), shown),
            step(own, changed_window(shown, window)),
        ):
            pairs = zip(jax.tree.leaves(changed), usual, strict=True)
            assert any((one != other).any() for one, other in pairs), window


def test_the_true_reward_is_the_recorded_one(model):
    batch = make_batch(1, 3).replace(reward=jnp.array([[0.0, 1.0, 2.0]]))
    values, _ = REWARDS.make(inputs(model), name="true").score((), model, batch)
    np.testing.assert_array_equal(values, [0.0, 1.0, 2.0])


# Each reward --------------------------------------------------------------------------------------------------------


def test_the_first_episode_sets_the_scale_of_transport_and_later_ones_keep_it(model):
    reward = REWARDS.make(inputs(model), name="ot", mean_reward=4.0)
    state = reward.initial_state(jax.random.key(0))
    first, state = reward.score(state, model, make_batch(1, 5, seed=7))
    np.testing.assert_allclose(np.abs(np.mean(first)), 4.0, rtol=1e-5)
    _, later = reward.score(state, model, make_batch(1, 5, seed=8))
    assert later.scale == state.scale > 0


def test_transport_prefers_the_demonstration_that_is_nearest(model):
    shown = make_batch(3, 4, seed=2, actions=False)
    reward = REWARDS.make(inputs(model, demonstrations=shown), name="ot")
    state = reward.initial_state(jax.random.key(0)).replace(scale=jnp.ones(()))
    same = jax.tree.map(lambda x: x[1:2], shown)
    own, _ = reward.score(state, model, same)
    other, _ = reward.score(state, model, make_batch(1, 4, seed=11))
    assert own.sum() > other.sum() and own.sum() > -0.02


def test_transport_may_look_at_principal_components(model):
    reward = REWARDS.make(inputs(model), name="ot", num_components=2)
    values, _ = reward.score(reward.initial_state(jax.random.key(0)), model, make_batch(1, 5))
    assert np.isfinite(values).all()


def test_principal_components_keep_what_varies():
    shown = jnp.zeros((1, 5, 3)).at[0, :, 1].set(jnp.arange(5.0))
    own, projected = principal_components(jnp.array([[9.0, 4.0, 9.0]]), shown, 1)
    np.testing.assert_allclose(np.abs(projected[0, :, 0]), np.abs(np.arange(5.0) - 2), atol=1e-5)
    np.testing.assert_allclose(np.abs(own), [[2.0]], atol=1e-5)


def test_a_discriminator_learns_to_reward_what_is_demonstrated(model):
    reward = REWARDS.make(inputs(model), name="ail", hidden_size=16, hidden_layers=1, learning_rate=1e-2)
    state, batch = reward.initial_state(jax.random.key(0)), make_batch(4, 3, seed=0)
    shown = make_batch(4, 3, seed=4, actions=False)
    shown = shown.replace(observation={name: value + 2.0 for name, value in shown.observation.items()})
    step = jax.jit(
        lambda state: reward.relabel(state, model, batch, shown)[::2], compiler_options=COMPILER_OPTIONS
    )
    for _ in range(60):
        state, _ = step(state)
    rewards = [state.model(model.encode(x.observation)).mean() for x in (shown, batch)]
    assert rewards[0] > rewards[1] + 0.5


def test_a_diffusion_model_learns_to_reward_steps_that_are_demonstrated(model):
    """The first record of a window has no step, and its reward is not learnt."""
    options = dict(hidden_size=32, hidden_layers=1, learning_rate=1e-2, bce_scale=1.0)
    reward = REWARDS.make(inputs(model), name="difo", **options)
    state, batch = reward.initial_state(jax.random.key(0)), make_batch(4, 3, seed=0)
    shown = make_batch(4, 3, seed=4, actions=False)
    shown = shown.replace(observation={name: value + 2.0 for name, value in shown.observation.items()})

    def step(state, _):
        state, rewarded, metrics = reward.relabel(state, model, batch, shown)
        return state, (rewarded.observation[reward.head], rewarded.masks[reward.head], metrics)

    scan = jax.jit(lambda s: jax.lax.scan(step, s, None, length=300), compiler_options=COMPILER_OPTIONS)
    state, (rewards, masks, metrics) = scan(state)
    assert rewards.shape[1:] == (4, 3, 1)
    np.testing.assert_array_equal(rewards[:, :, 0], 0.0)
    np.testing.assert_array_equal(masks[0], [[0, 1, 1]] * 4)
    assert metrics.keys() >= {"bce_grad_norm", "denoising_grad_norm", "reward"}
    seen, own = (reward.score(state, model, x)[0][1:].mean() for x in (shown, batch))
    assert seen > own + 0.5


# Mistakes -----------------------------------------------------------------------------------------------------------


def test_an_unknown_reward_lists_the_known_ones(model):
    known = "Unknown surrogate reward .gail.. Known: viper, ot, temporal_ot, orca, ail, difo, true"
    with pytest.raises(ValueError, match=known):
        REWARDS.make(inputs(model), name="gail")


def test_viper_without_a_model_says_how_to_get_one(model):
    with pytest.raises(ValueError, match="pretrain:viper.*--config.reward.model=DIR"):
        REWARDS.make(inputs(model), name="viper")


def test_a_reward_model_with_actions_is_refused(model):
    with pytest.raises(ValueError, match="takes actions of size 2.*action_free=True"):
        REWARDS.make(inputs(model, make_model()), name="viper")


def test_a_reward_model_of_other_sensors_is_refused(model, likelihood_model):
    shown = make_batch(2, 4, actions=False)
    shown = shown.replace(observation={"position": shown.observation["position"]})
    with pytest.raises(ValueError, match="knows velocity, which this run does not have; it has position"):
        REWARDS.make(inputs(model, likelihood_model, shown), name="viper")


@pytest.mark.parametrize("roles", [{}, {"inputs": ("position",)}])
def test_a_reward_model_of_sensors_of_another_size_is_refused(model, roles):
    """Of what it predicts too."""
    likelihood = make_model(action_size=0, idm_mode="none", **roles)
    run = dataclasses.replace(inputs(model, likelihood), sizes={"position": 3, "velocity": 1})
    with pytest.raises(ValueError, match="built for velocity of size 2, this run has 1"):
        REWARDS.make(run, name="viper")
