"""Acting step by step equals filtering the same episode in one sweep."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import ACTION_SIZE, NET, make_batch, make_model, make_policy

from agents.actors import FilterActor, ModelActor, act, initial_actor_state


def records_at(batch, t: int, first: bool) -> dict:
    observation = {name: np.asarray(value[:, t]) for name, value in batch.observation.items()}
    return observation | {"is_first": np.full(len(observation["position"]), first)}


@pytest.mark.parametrize("options", [{}, dict(latent_actions=NET | dict(size=3, reads="u"))], ids=["a", "u"])
def test_acting_equals_filtering_the_episode(options):
    model, batch = make_model(**options), make_batch(actions=False)
    policy = make_policy(model)
    step = jax.jit(act, static_argnames=("sample_state",))
    state, actions, features = initial_actor_state(model, 3, jax.random.key(0)), [], []
    for t in range(batch.batch_shape[1]):
        observation = {name: value[:, t] for name, value in batch.observation.items()}
        action, state = step(model, policy, state, observation, batch.is_first[:, t], sample_state=False)
        actions.append(action)
        features.append(state.latent.features)
    assert state.prev_action.shape == (3, ACTION_SIZE)  # whatever the policy decides on
    prev_action = jnp.stack([jnp.zeros_like(actions[0]), *actions[:-1]], axis=1)
    filtered = jax.jit(type(model).filter)(model, batch.replace(prev_action=prev_action))
    np.testing.assert_allclose(jnp.stack(features, axis=1), filtered.states.features, rtol=1e-4, atol=1e-5)


def test_an_actor_filters_with_the_action_that_the_environment_has_done():
    model, batch = make_model(), make_batch()
    policy = make_policy(model)
    narrow, told, short = (
        FilterActor(model, policy, 3, jax.random.key(0), sample_state=False) for _ in range(3)
    )
    first, then = (records_at(batch, t, first=t == 0) for t in range(2))
    chosen = narrow(first)
    told(first), short(first)
    expected = told(then | {"pre_action": chosen})
    np.testing.assert_array_equal(narrow(then), expected)
    assert not np.allclose(short(then | {"pre_action": 0.1 * chosen}), expected)


def test_a_new_episode_forgets_the_old_one():
    model, batch = make_model(), make_batch()
    actor = FilterActor(model, make_policy(model), 3, jax.random.key(0), sample_state=False)
    begin = actor(records_at(batch, 0, first=True))
    actor(records_at(batch, 1, first=False))
    np.testing.assert_allclose(actor(records_at(batch, 0, first=True)), begin, rtol=1e-6)


def test_seeds_act_in_blocks_as_they_would_alone():
    models, batch = [make_model(seed=i) for i in range(2)], make_batch(4)
    policies = [make_policy(model, seed=5) for model in models]
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    records = records_at(batch, 0, first=True)
    together = FilterActor(
        stack(models), stack(policies), 4, jax.random.key(0), sample_state=False, num_seeds=2
    )
    actions = together(records)
    for i in range(2):
        alone = FilterActor(models[i], policies[i], 2, jax.random.key(0), sample_state=False)
        expected = alone({name: value[2 * i : 2 * i + 2] for name, value in records.items()})
        np.testing.assert_allclose(actions[2 * i : 2 * i + 2], expected, rtol=1e-5, atol=1e-6)


def test_an_ensemble_does_the_mean_of_what_its_models_choose_and_each_filters_with_that():
    models = [make_model(seed=i) for i in range(4)]
    policies = [make_policy(model, seed=5 + i) for i, model in enumerate(models)]
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    together = FilterActor(
        stack(models), stack(policies), 4, jax.random.key(0), sample_state=False, num_seeds=2, ensemble=2
    )
    alone = [FilterActor(*pair, 2, jax.random.key(0), sample_state=False) for pair in zip(models, policies)]
    batch, done = make_batch(4), None
    for t in range(3):
        records = records_at(batch, t, first=t == 0) | ({} if done is None else {"pre_action": done})
        halves = [{name: value[part] for name, value in records.items()} for part in (slice(2), slice(2, 4))]
        chosen = [alone[i](halves[i // 2]) for i in range(4)]
        expected = np.concatenate([(chosen[0] + chosen[1]) / 2, (chosen[2] + chosen[3]) / 2])
        done = together(records_at(batch, t, first=t == 0))  # it remembers what it did
        np.testing.assert_allclose(done, expected, rtol=1e-5, atol=1e-6)


def test_actions_are_float32_within_the_bounds():
    model = make_model()
    actor = FilterActor(model, make_policy(model), 3, jax.random.key(0), sample_action=True)
    actions = actor(records_at(make_batch(), 0, first=True))
    assert actions.dtype == np.float32 and actions.shape == (3, ACTION_SIZE) and np.abs(actions).max() <= 1


def test_noise_is_part_of_the_action_that_is_remembered():
    model = make_model()
    calm, noisy = (
        FilterActor(model, make_policy(model), 3, jax.random.key(0), sample_state=False, epsilon=epsilon)
        for epsilon in (0.0, 5.0)
    )
    records = records_at(make_batch(), 0, first=True)
    assert not np.allclose(calm(records), noisy(records))
    np.testing.assert_array_equal(noisy(records), noisy.state.prev_action)
    assert np.abs(noisy.state.prev_action).max() == 1.0  # clipped


def test_a_renewed_actor_acts_as_a_new_one():
    model, other = make_model(seed=0), make_model(seed=3)
    records = records_at(make_batch(), 0, first=True)
    actor = FilterActor(model, make_policy(model), 3, jax.random.key(0), sample_action=True)
    actor(records)
    actor.renew((other, make_policy(other)), jax.random.key(7))
    new = FilterActor(other, make_policy(other), 3, jax.random.key(7), sample_action=True)
    np.testing.assert_array_equal(actor(records), new(records))


def test_actors_with_the_same_options_are_compiled_once():
    models = make_model(seed=0), make_model(seed=3)
    first, second = (FilterActor(model, make_policy(model), 2, jax.random.key(0)) for model in models)
    assert first._step is second._step
    other = FilterActor(models[0], make_policy(models[0]), 2, jax.random.key(0), sample_action=True)
    assert other._step is not first._step


def test_a_missing_sensor_is_named():
    model = make_model()
    actor = FilterActor(model, make_policy(model), 1, jax.random.key(0))
    with pytest.raises(ValueError, match="does not give velocity; it gives is_first, position"):
        actor({"position": np.zeros((1, 3)), "is_first": np.ones(1)})


def test_equal_ways_to_act_share_what_is_compiled_and_one_without_a_hash_has_its_own():
    @dataclasses.dataclass
    class Still:
        def initial(self, modules, num_envs, key):
            return jnp.zeros((num_envs, ACTION_SIZE))

        def step(self, modules, state, observation, is_first, executed):
            return state, state

    model, records = make_model(), records_at(make_batch(), 0, first=True)
    actors = [FilterActor(model, make_policy(model), 3, jax.random.key(i)) for i in range(2)]
    assert actors[0]._step is actors[1]._step
    assert (ModelActor(Still(), (model,), 3, jax.random.key(0))(records) == 0).all()
