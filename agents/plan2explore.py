"""Intrinsic rewards of imagined states: to go where the model can learn (Plan2Explore, Sekar et al. 2020; AIME-v2).

They take the place of the reward head in `agents/dreamer.py`. The loss of the ensemble is `disagreement_loss` in
`worldmodels/losses.py`.
"""

from __future__ import annotations

import jax.numpy as jnp

from agents.imagination import Reward
from worldmodels.rssm import ImagineOutput
from worldmodels.types import Array
from worldmodels.world_model import WorldModel

SCALE = 0.1  # of all intrinsic rewards (AIME-v2)
_MIN_STD = 1e-8  # members that agree to the bit are not infinitely boring


def disagreement_reward(model: WorldModel, imagined: ImagineOutput) -> Array:
    """[N, H + 1] 0.1 * mean over dimensions of log std over members, of the predicted next embedding.

    Member k predicts e_{t+1} from (f_t, a_t), so that the reward is earned on arrival in s_{t+1}. That of s_0, which no
    imagined action led to, is a copy of the first, as published.
    """
    if model.ensemble is None:
        raise ValueError("The world model has no disagreement ensemble; build it with world_model.ensemble.")
    features = imagined.states.features[:, :-1]
    predictions = model.ensemble(jnp.concatenate([features, imagined.actions], axis=-1))  # [N, H, K, E]
    std = predictions.std(axis=-2, ddof=1)
    reward = SCALE * jnp.log(jnp.maximum(std, _MIN_STD)).mean(axis=-1)
    return jnp.concatenate([reward[:, :1], reward], axis=1)


INTRINSIC_REWARDS: dict[str, Reward] = {"disagreement": disagreement_reward}
