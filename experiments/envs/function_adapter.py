"""A user's own function as an environment: `make("my.module:make_env")`."""

import inspect
from typing import Any

from experiments.envs.gymnasium_adapter import GymnasiumEnvironment
from experiments.envs.interface import Environment
from worldmodels.registry import find

# Options that the adapter can provide itself for a gymnasium.Env.
_ADAPTED = ("seed", "render_size", "action_repeat", "episode_length")


def make(name: str, **options: Any) -> Environment:
    """Calls the user's function and returns its environment.

    The function returns an `interface.Environment` or a `gymnasium.Env`. It is given those options of
    `registry.make` that it has parameters for; of a `gymnasium.Env` the adapter provides the seed, images,
    action repeat and episode length itself.
    """
    function = find(name)
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    taken = {key: value for key, value in options.items() if takes_all or key in parameters}
    environment = function(**taken)
    rest = {key: value for key, value in options.items() if key not in taken}
    rest.pop("reward_version", None)
    if hasattr(environment, "observation_space"):
        adapted = {key: rest.pop(key) for key in _ADAPTED if key in rest}
        environment = GymnasiumEnvironment(environment, name, **adapted)
    rest.pop("seed", None)  # `reset(seed)` is how seeds are given
    refused = [key for key, value in rest.items() if value is not None]
    if refused:
        raise ValueError(
            f"Environment {name!r} does not take {', '.join(refused)}; add parameters of these names."
        )
    return environment
