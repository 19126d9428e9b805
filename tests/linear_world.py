"""A world in which everything is known: x' = x + STEP a, and a demonstrator a = tanh(x @ W)."""

import jax.numpy as jnp
import numpy as np

from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.sequences import scan_time
from worldmodels.structures import LatentState

STEP = 0.5
WEIGHTS = np.array([[0.8, -0.4], [0.3, 0.6]], np.float32)


class LinearDynamics:
    """The world as a model: x is `deter`, `stoch` is idle."""

    def rollout(self, state, actions, key=None):
        def step(x, a):
            return x + STEP * a, x + STEP * a

        _, xs = scan_time(step, state.deter, actions)
        return LatentState(xs, jnp.zeros((*xs.shape[:-1], state.stoch.shape[-1])))


def episode(rng, length, demonstrated):
    """One episode of `length` records from a random start, by random or demonstrated actions."""
    x = [rng.normal(size=2).astype(np.float32)]
    actions = [np.zeros(2, np.float32)]
    for _ in range(length - 1):
        action = np.tanh(x[-1] @ WEIGHTS) if demonstrated else rng.uniform(-1, 1, 2)
        actions.append(action.astype(np.float32))
        x.append((x[-1] + STEP * actions[-1]).astype(np.float32))
    flags = {name: np.zeros(len(x), bool) for name in ("is_first", "is_last", "is_terminal")}
    return Episode({"x": np.stack(x), "pre_action": np.stack(actions), **flags})


def dataset(seed, *, demonstrated, length=2, with_actions=True, num_episodes=60):
    """One window of `length` records per episode."""
    rng = np.random.default_rng(seed)
    episodes = [episode(rng, length, demonstrated) for _ in range(num_episodes)]
    options = dict(length=length, sensors=["x"], with_actions=with_actions, with_reward=False)
    return SequenceDataset.create(episodes, **options)
