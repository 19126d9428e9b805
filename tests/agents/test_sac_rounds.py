"""SAC in rounds: it learns, and a restored run is the uninterrupted one."""

import dataclasses

import jax
import numpy as np
import pytest

from agents.loop import evaluate
from agents.noise import Disturbance
from agents.sac import NumpyPolicy, SACSettings
from agents.sac_rounds import (
    RoundSettings,
    SACActor,
    SACLearner,
    SACRun,
    play_together,
    vector_sensors,
)
from experiments.envs.vector import VectorEnvironment

SAC = SACSettings(hidden_size=32, batch_size=32, learning_rate=3e-3, initial_temperature=0.1)
ROUNDS = RoundSettings(random_steps=50, updates_per_dispatch=20, discount=0.9, replay_capacity=5000)


def _run(num_rounds=0, first_episode=0, rounds=ROUNDS, disturbed_share=0.0, seed=0, learner=None, **env):
    envs = VectorEnvironment("fake-pointmass", 4, seed=seed, first_episode=first_episode, **env)
    size = envs.action_spec.shape[0]
    disturb = Disturbance(4, size, share=disturbed_share, seed=0, first_episode=first_episode)
    options = dict(sac=SAC, rounds=rounds, seed=seed, learner=learner)
    options["disturb"] = disturb if disturbed_share else None
    run = SACRun(envs, vector_sensors(envs.observation_spec), **options)
    return run, [run.play_round() for _ in range(num_rounds)]


def _restored(run, episodes, **options):
    """A run that continues where another one has stopped after so many rounds."""
    restored, _ = _run(first_episode=len(episodes), **options)
    restored.state = run.state
    for of_round in episodes:
        restored.remember(of_round)
    restored.position = run.position
    return restored


def _mean_return(policy):
    with VectorEnvironment("fake-pointmass", 8, seed=1) as envs:
        return np.mean(evaluate(envs, SACActor(policy, vector_sensors(envs.observation_spec)), 8)["return"])


@pytest.fixture(scope="module")
def trained():
    return _run(25)


def test_it_learns_the_point_mass_in_seconds(trained):
    run, _ = trained
    before = NumpyPolicy(_run()[0].state.actor.model)
    assert _mean_return(NumpyPolicy(run.state.actor.model)) > max(_mean_return(before) + 2, 20)


def test_it_makes_the_updates_that_the_steps_have_earned(trained):
    progress = trained[0].progress
    # The first 100 steps are those until random_steps is passed.
    earned = (progress.agent_steps - 100) * ROUNDS.updates_per_step
    assert progress.agent_steps == 25 * 4 * 25
    assert progress.updates == pytest.approx(earned, abs=ROUNDS.updates_per_dispatch + 50)
    assert progress.updates % ROUNDS.updates_per_dispatch == 0


def test_a_fraction_of_an_update_per_step_is_possible():
    run, _ = _run(4, rounds=dataclasses.replace(ROUNDS, updates_per_step=0.25))
    assert 60 <= run.progress.updates <= 90


def test_a_restored_run_continues_bit_identically(trained):
    whole, episodes = trained
    half, first_half = _run(12)
    restored = _restored(half, first_half)
    later = [restored.play_round() for _ in range(13)]
    for old, new in zip(episodes[12:], later, strict=True):
        np.testing.assert_array_equal(old[0].records["pre_action"], new[0].records["pre_action"])
    leaves = (jax.tree.leaves(jax.tree.map(_bits, run.state)) for run in (whole, restored))
    for old, new in zip(*leaves, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_restored_run_has_the_disturbances_that_it_would_have_had():
    """Also where the first episodes, and a part of the second, were played with uniform actions."""
    options = dict(disturbed_share=0.5, rounds=dataclasses.replace(ROUNDS, random_steps=150))
    _, episodes = _run(3, **options)
    half, first_half = _run(2, **options)
    restored = _restored(half, first_half, **options)
    for old, new in zip(episodes[2], restored.play_round(), strict=True):
        np.testing.assert_array_equal(old.records["pre_action"], new.records["pre_action"])


@pytest.mark.parametrize("lengths", [(25, 25), (25, 15)])
def test_runs_that_play_together_are_those_that_play_alone(lengths, monkeypatch):
    """Up to rounding. They learn in one program while they owe updates at the same steps, and else one by one."""
    learn, sizes = SACLearner.learn, []
    monkeypatch.setattr(
        SACLearner, "learn", lambda self, *args: sizes.append(len(args[0])) or learn(self, *args)
    )
    learner = SACLearner(SAC, ROUNDS.updates_per_dispatch)
    options = [dict(seed=seed, episode_length=length) for seed, length in enumerate(lengths)]
    runs = [_run(learner=learner, **own)[0] for own in options]
    together = [play_together(runs) for _ in range(3)]
    dispatches = [size for size in sizes if size > 1]
    assert set(dispatches) == {2} and sum(dispatches) <= sum(run.progress.updates for run in runs) / 20
    for number, own in enumerate(options):
        alone, rounds = _run(3, **own)
        assert runs[number].position == alone.position
        for ours, theirs in zip(together, rounds, strict=True):
            for one, other in zip(ours[number], theirs, strict=True):
                np.testing.assert_allclose(one.records["pre_action"], other.records["pre_action"], atol=1e-4)
        leaves = (jax.tree.leaves(jax.tree.map(_bits, run.state)) for run in (runs[number], alone))
        for ours, theirs in zip(*leaves, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-4)


def test_a_learner_with_updates_of_its_own_makes_them_for_each_run():
    class Counting(SACLearner):
        count = 0

        def learn(self, states, replays):
            self.count += len(states)
            return super().learn(states, replays)

    learner = Counting(SAC, ROUNDS.updates_per_dispatch)
    runs = [_run(learner=learner, seed=seed)[0] for seed in (0, 1)]
    for _ in range(2):
        play_together(runs)
    assert learner.count == sum(run.progress.updates for run in runs) / ROUNDS.updates_per_dispatch > 0


def _bits(leaf):
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
