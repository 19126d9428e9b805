"""Behaviour cloning: the loss in numbers, what it refuses, what it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.bc import bc_loss
from agents.fitting import FitSettings, FitState, fit
from agents.frame_stack import FrameStackNet
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.structures import SequenceBatch


class LastFrame:
    """Stands for a policy of two frames: its action is the position in the last of them."""

    num_frames = 2

    def __call__(self, observation):
        assert observation["position"].shape[1] == 2
        return observation["position"][:, -1]


def make_batch(action):
    """Two windows of three records; the position is 10 * window + record."""
    position = 10.0 * jnp.arange(2)[:, None, None] + jnp.arange(3.0)[None, :, None]
    flags = jnp.zeros((2, 3))
    return SequenceBatch(
        observation={"position": position},
        prev_action=action,
        reward=None,
        is_first=flags,
        is_last=flags,
        is_terminal=flags,
    )


def test_the_loss_is_the_mean_squared_error_to_the_action_that_leads_to_the_last_record():
    action = jnp.full((2, 3, 1), jnp.nan).at[:, -1, 0].set(jnp.array([3.0, 10.0]))
    loss, metrics = bc_loss(LastFrame(), make_batch(action))
    assert float(loss) == pytest.approx(((1 - 3) ** 2 + (11 - 10) ** 2) / 2)
    assert metrics["loss"] == loss


@pytest.mark.parametrize("action", [None, jnp.zeros((2, 3, 0))])
def test_demonstrations_without_actions_are_refused(action):
    with pytest.raises(ValueError, match="needs the true actions, but these windows have none"):
        bc_loss(LastFrame(), make_batch(action))


def make_episode(seed, length=60):
    """The expert's action is linear in the present and the last position, which are noise."""
    x = np.random.default_rng(seed).uniform(-1, 1, (length, 2)).astype(np.float32)
    action = np.zeros_like(x)
    action[2:] = 0.5 * x[1:-1] - 0.3 * x[:-2, ::-1]
    flags = {name: np.zeros(length, bool) for name in ("is_first", "is_last", "is_terminal")}
    return Episode({"position": x, "pre_action": action, **flags})


def test_a_linear_policy_is_recovered_in_seconds():
    dataset = SequenceDataset.create(
        [make_episode(seed) for seed in range(20)], length=3, sensors=["position"], with_reward=False
    )
    settings = FitSettings(
        learning_rate=3e-3, training_fraction=0.9, patience=None, max_updates=1500, updates_per_epoch=300
    )
    policy = FrameStackNet({"position": 2}, 2, num_frames=2, hidden_size=32, rngs=nnx.Rngs(0))
    state = fit(FitState.create(policy, settings, jax.random.key(0)), dataset, bc_loss, settings)
    assert state.best_loss < 1e-3, f"the variance of the actions is 0.11, the error {state.best_loss}"
