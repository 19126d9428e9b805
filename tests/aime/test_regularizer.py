"""Batches of pretraining and online data: how many of each, and what the reward head may learn from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import make_model
from parity import COMPILER_OPTIONS

from aime.regularizer import draw_model_batch, with_reward_mask
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.data.replay import Replay, append_episode
from worldmodels.losses import elbo_loss

LENGTH = 4


def make_episode(source: float, records: int = 8, reward: bool = False) -> Episode:
    """An episode whose position says where it is from."""
    steps = np.arange(records)
    arrays = {
        "position": np.full((records, 3), source, np.float32),
        "velocity": np.zeros((records, 2), np.float32),
        "pre_action": np.zeros((records, 2), np.float32),
        "reward": np.full(records, source, np.float32),
        "is_first": steps == 0,
        "is_last": steps == records - 1,
        "is_terminal": np.zeros(records, bool),
    }
    if reward:
        arrays["viper_reward"] = np.full((records, 1), -source, np.float32)
    return Episode(arrays)


def body(labelled=False, count=3):
    sensors = ["position", "velocity", *(["viper_reward"] if labelled else [])]
    return SequenceDataset.create(
        [make_episode(1.0, reward=labelled)] * count, length=LENGTH, sensors=sensors
    )


def buffer(count=1, sensors=("position", "velocity", "viper_reward")):
    online = Replay.create(make_episode(2.0, reward=True), capacity=200, length=LENGTH, sensors=sensors)
    for _ in range(count):
        online = append_episode(online, make_episode(2.0, reward=True))
    return online


@functools.partial(jax.jit, static_argnames=("mode", "fraction", "head", "batch_size"))
def draw(pretraining, online, key, mode="ratio", fraction=0.5, head="viper_reward", batch_size=10):
    return draw_model_batch(
        pretraining, online, key, batch_size=batch_size, mode=mode, fraction=fraction, head=head
    )


def is_online(batch):
    return np.asarray(batch.observation["position"])[:, 0, 0] == 2.0


def test_a_ratio_is_exact_in_every_batch():
    batch = draw(body(), buffer(), jax.random.key(0), fraction=0.35)
    assert is_online(batch).sum() == 10 - int(10 * 0.35)


def test_append_draws_from_both_by_their_numbers_of_windows():
    batch = draw(body(count=3), buffer(count=1), jax.random.key(0), mode="append", batch_size=4000)
    assert abs(is_online(batch).mean() - 0.25) < 0.03


def test_without_pretraining_data_all_is_online():
    assert is_online(draw(None, buffer(), jax.random.key(0))).all()


def test_without_online_data_all_is_pretraining():
    batch = draw(body(labelled=True), None, jax.random.key(0), mode="append")
    assert not is_online(batch).any() and (batch.masks["viper_reward"] == 1).all()


@pytest.mark.parametrize("mode", ["ratio", "append"])
def test_rewards_of_pretraining_data_are_masked_zeros(mode):
    batch = draw(body(), buffer(), jax.random.key(0), mode=mode, batch_size=40)
    mask, reward = batch.masks["viper_reward"], batch.observation["viper_reward"][..., 0]
    np.testing.assert_array_equal(mask[:, 0], is_online(batch))
    np.testing.assert_array_equal(reward, np.where(is_online(batch)[:, None], -2.0, 0.0) * np.ones(LENGTH))


def test_labelled_pretraining_data_keep_their_reward():
    batch = draw(body(labelled=True), buffer(), jax.random.key(0))
    assert (batch.masks["viper_reward"] == 1).all()
    np.testing.assert_array_equal(batch.observation["viper_reward"][~is_online(batch)], -1.0)


def test_the_environments_reward_of_pretraining_data_is_masked():
    online = buffer(sensors=("position", "velocity"))
    batch = draw(body(), online, jax.random.key(0), head="reward")
    np.testing.assert_array_equal(batch.masks["reward"][:, 0], is_online(batch))


def test_pretraining_data_never_train_the_reward_head():
    model = make_model(targets=("position", "velocity", "viper_reward"), idm_mode="none")
    batch = draw_model_batch(
        body(), buffer(), jax.random.key(0), batch_size=6, fraction=0.999, head="viper_reward"
    )
    only_body = jax.tree.map(lambda x: x[:5], batch)
    assert not is_online(only_body).any()

    @functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def gradient(batch):
        return jax.grad(elbo_loss, has_aux=True)(model, batch, None)[0].decoders["viper_reward"]

    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(gradient(only_body)))
    shown = with_reward_mask(only_body, "viper_reward", True)
    assert any(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient(shown)))


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown regulariser mode 'mix'. Known: ratio, append"):
        draw(body(), buffer(), jax.random.key(0), mode="mix")


@pytest.mark.parametrize("fraction", [-0.5, 1.5])
def test_a_fraction_outside_a_batch_is_refused(fraction):
    with pytest.raises(ValueError, match=f"between 0 and 1, got {fraction}"):
        draw(body(), buffer(), jax.random.key(0), fraction=fraction)


@pytest.mark.parametrize(("online", "changes"), [(None, {}), (buffer, {"fraction": 1.0})])
def test_a_reward_that_no_window_tells_is_refused(online, changes):
    with pytest.raises(ValueError, match="No window of any batch has 'viper_reward'"):
        draw(body(), online and online(), jax.random.key(0), **changes)
