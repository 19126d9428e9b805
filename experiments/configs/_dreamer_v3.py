"""DreamerV3's actor-critic, the last part of a preset: "v3", "small-v3", ..."""

import ml_collections

from experiments.configs import _presets


def of_dreamer(config: ml_collections.ConfigDict) -> None:
    """Of `dreamer`, where the reward is predicted over bins, too."""
    actor_critic(config)
    config.imagination.entropy_scale = 3e-4
    config.world_model.heads = dict(reward=two_hot_head(config))


def of_online(config: ml_collections.ConfigDict) -> None:
    """Of the value part of AIME-v2; the weights of both parts of the policy's loss stay."""
    actor_critic(config)
    config.reward.head = two_hot_head(config)


def actor_critic(config: ml_collections.ConfigDict) -> None:
    """Two-hot critic that begins at zero and is held back by its target, and returns divided by their range."""
    config.imagination.update(normalise_returns=True, bootstrap="critic", slow_scale=1.0)
    config.critic.name = "two_hot"
    config.target_rate = 0.02


def two_hot_head(config: ml_collections.ConfigDict) -> dict:
    """Returns options of a reward head with the sizes of the critic."""
    return dict(
        name="two_hot", hidden_size=config.critic.hidden_size, hidden_layers=config.critic.hidden_layers
    )


def added(presets: dict[str, _presets.Changes], change) -> dict[str, _presets.Changes]:
    """Returns the presets, and each with the change as NAME-v3."""
    return _presets.combined(presets, {"": (), "v3": (change,)})
