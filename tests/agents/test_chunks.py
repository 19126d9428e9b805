"""Action chunks: what is regressed, and how the last decisions act together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bc import bc_loss
from agents.bco import bco_loss, inverse_dynamics_loss
from agents.chunks import TemporalEnsemble
from worldmodels.structures import SequenceBatch


def make_batch(action=None):
    """Two windows of four records; x is 10 * window + record."""
    x = 10.0 * jnp.arange(2)[:, None, None] + jnp.arange(4.0)[None, :, None]
    flags = jnp.zeros((2, 4))
    return SequenceBatch({"x": x}, action, None, flags, flags, flags)


def ending(batch):
    """The same windows of episodes that end a record earlier, which is repeated in the place of the last."""
    rows = jnp.array([0, 1, 2, 2])
    is_last = jnp.zeros((2, 4)).at[:, 2:].set(1.0)
    return jax.tree.map(lambda x: x[:, rows], batch).replace(is_last=is_last)


class Last:
    """Stands for a network: the last x of its frames, for each of its outputs."""

    def __init__(self, num_frames, outputs=1):
        self.num_frames, self.outputs = num_frames, outputs

    def __call__(self, observation):
        assert observation["x"].shape[1] == self.num_frames
        return jnp.repeat(observation["x"][:, -1], self.outputs, axis=-1)


def test_behaviour_cloning_regresses_the_actions_after_the_frames():
    action = jnp.full((2, 4, 1), jnp.nan).at[:, 2:, 0].set(jnp.array([[1.0, 4.0], [11.0, 14.0]]))
    loss, _ = jax.jit(lambda batch: bc_loss(Last(2, outputs=2), batch))(make_batch(action))
    assert float(loss) == pytest.approx((0 + 3**2) / 2)


def test_what_is_repeated_behind_the_end_of_an_episode_is_not_learnt():
    """Neither its actions nor what an inverse model would say of a body that does not move."""
    action = jnp.full((2, 4, 1), 7.0).at[:, 2, 0].set(jnp.array([3.0, 11.0]))
    batch, policy = ending(make_batch(action)), Last(2, outputs=2)
    assert float(bc_loss(policy, batch)[0]) == pytest.approx(2**2 / 2)
    assert float(bco_loss(policy, batch, Last(3))[0]) == pytest.approx(1**2)
    none = batch.replace(is_last=jnp.ones((2, 4)))
    assert float(bc_loss(policy, none)[0]) == 0.0


def test_bco_regresses_what_the_inverse_model_infers_step_by_step():
    loss, _ = jax.jit(lambda batch: bco_loss(Last(2, outputs=2), batch, Last(3)))(make_batch())
    assert float(loss) == pytest.approx((1**2 + 2**2) / 2)


def test_the_inverse_model_learns_from_the_first_records_of_a_longer_window():
    action = jnp.full((2, 4, 1), jnp.nan).at[:, 2, 0].set(jnp.array([2.0, 14.0]))
    loss, _ = jax.jit(lambda batch: inverse_dynamics_loss(Last(3), batch))(make_batch(action))
    assert float(loss) == pytest.approx(2**2 / 2)


def test_decisions_about_the_present_are_weighted_the_oldest_most_and_forgotten_at_a_new_episode():
    decisions = iter(
        np.float32([[[1, 2, 3]], [[10, 20, 30]], [[100, 200, 300]], [[1000, 2000, 3000]], [[7, 8, 9]]])
    )
    actor = TemporalEnsemble(lambda records: next(decisions), 3, decay=1.0)
    acts = [actor({"is_first": np.array([step in (0, 4)])})[0, 0] for step in range(5)]
    w = np.exp(-np.arange(3.0))
    expected = [
        1,
        (w[0] * 2 + w[1] * 10) / w[:2].sum(),
        (w @ [3, 20, 100]) / w.sum(),
        (w @ [30, 200, 1000]) / w.sum(),
        7,
    ]
    np.testing.assert_allclose(acts, expected, rtol=1e-5)


@pytest.mark.parametrize("known", [False, True])
def test_a_world_model_below_filters_with_what_was_done_and_not_with_what_was_decided(known):
    seen = []

    def decide(records):
        seen.append(records.get("pre_action"))
        return np.float32([[4, 8]])

    actor, told = TemporalEnsemble(decide, 2, decay=0.0), {"pre_action": np.float32([[0.5]])} if known else {}
    acts = [actor({"is_first": np.array([step == 0])} | told) for step in range(2)]
    np.testing.assert_array_equal(acts, [[[4]], [[6]]])
    assert seen == [[[0.5]], [[0.5]]] if known else seen == [None, acts[0]]
