"""Plan2Explore (Sekar et al. 2020): Dreamer whose policy seeks what the world model has yet to learn.

The reward is an intrinsic one (`worldmodels/intrinsic_reward.py`) in place of a reward head; all else is
`agents/dreamer.py`. Which networks of the world model give it, and learn for it, `side_networks` says.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.imagination import Reward, head_reward
from worldmodels.dynamics import ImagineOutput
from worldmodels.intrinsic_reward import intrinsic_reward
from worldmodels.structures import Array
from worldmodels.world_model import WorldModel

REWARDS = ("true", "disagreement", "lbs")


def curiosity(model: WorldModel, imagined: ImagineOutput) -> Array:
    """[N, H + 1] the intrinsic reward of imagined states, to be used as an `agents.imagination.Reward`."""
    return intrinsic_reward(model, imagined.states.features, imagined.actions)


def rewards_of(name: str) -> dict[str, Reward]:
    """{key of the critic: what gives the imagined rewards} for one of `REWARDS`.

    "true" is the environment's, as the model predicts it; "disagreement" that of an ensemble; "lbs" latent Bayesian
    surprise.
    """
    if name not in REWARDS:
        raise ValueError(f"Unknown reward {name!r}. Known: {', '.join(REWARDS)}.")
    return {"reward": head_reward("reward")} if name == "true" else {"intrinsic_reward": curiosity}


def side_networks(name: str, *, ensemble: Mapping, reward_probe: Mapping) -> dict:
    """Options of the `WorldModel` for one of `REWARDS`.

    Args:
      ensemble: options of the disagreement ensemble, used for "disagreement" only.
      reward_probe: options of a network that reads the intrinsic reward off a state. "lbs" always has it, trained on
        the surprise; "disagreement" only with target="disagreement" (published: without).
    """
    if name == "disagreement":
        if ensemble.get("num_members", 0) < 2:
            raise ValueError(
                "Disagreement needs an ensemble of two or more; set world_model.ensemble.num_members (published: 5)."
            )
        return dict(predict_reward=False, ensemble=dict(ensemble), reward_probe=dict(reward_probe))
    target = {"true": "none", "lbs": "surprise"}[name]
    return dict(
        predict_reward=name == "true",
        ensemble=dict(ensemble, num_members=0),
        reward_probe=dict(reward_probe, target=target),
    )
