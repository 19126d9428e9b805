"""A user's own function as an environment: `make("my.module:make_env")`."""

import inspect
from collections.abc import Mapping
from typing import Any

from experiments.envs.gymnasium_adapter import GymnasiumEnvironment
from experiments.envs.interface import Environment
from worldmodels.registry import find

# Options that the adapter can provide itself for a gymnasium.Env.
_ADAPTED = ("seed", "render_size", "action_repeat", "episode_length")
_INTERFACE = ("observation_spec", "action_spec", "action_repeat", "reset", "step", "metadata")


def make(name: str, **options: Any) -> Environment:
    """Calls the user's function and returns its environment.

    The function returns an `interface.Environment` or a `gymnasium.Env`. It is given those options of
    `registry.make` that it has parameters for; of a `gymnasium.Env` the adapter provides the seed, images,
    action repeat and episode length itself where the function does not name them.

    Raises:
      ValueError: it returns something else, hands options on to what does not take them, or lacks what was asked for.
    """
    function = find(name)
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    given = {key: value for key, value in options.items() if takes_all or key in parameters}
    try:
        environment = function(**given)
    except TypeError as error:
        if not (takes_all and "unexpected keyword argument" in str(error)):
            raise
        raise ValueError(
            f"{name!r} takes any keyword, so it was given {', '.join(given)}, and handed them on ({error}); let it "
            "name the parameters that it needs."
        ) from error
    rest = {key: value for key, value in options.items() if key not in parameters}
    if hasattr(environment, "observation_space"):
        adapted = {key: options.get(key) for key in _ADAPTED if options.get(key) is not None}
        environment = GymnasiumEnvironment(
            environment, name, repeats_itself="action_repeat" in parameters, **adapted
        )
        rest = {key: value for key, value in rest.items() if key not in _ADAPTED}
    ignored = ("seed", "reward_version", "render_mode")  # seeds are given to `reset`
    refused = [key for key, value in rest.items() if value is not None and key not in ignored]
    if refused and not takes_all:
        raise ValueError(
            f"Environment {name!r} does not take {', '.join(refused)}; add parameters of these names."
        )
    _check(environment, name, options)
    return environment


def _check(environment: Any, name: str, options: dict[str, Any]) -> None:
    """Raises ValueError unless the environment has our interface, the images and the repeat that were asked for."""
    missing = [key for key in _INTERFACE if not hasattr(environment, key)]
    if missing or not isinstance(environment.observation_spec, Mapping):
        raise ValueError(
            f"{name!r} returned {type(environment).__name__}, which is neither a gymnasium.Env nor has the interface "
            f"of experiments.envs.interface.Environment (lacks {', '.join(missing) or 'a dict observation_spec'})."
        )
    if options.get("render_size") is not None and "image" not in environment.observation_spec:
        raise ValueError(
            f"{name!r} was asked for images and has no sensor `image`; leave image_size at None."
        )
    repeat = options.get("action_repeat")
    if repeat not in (None, environment.action_repeat):
        raise ValueError(
            f"{name!r} was asked for action_repeat={repeat} and has {environment.action_repeat}; add a parameter of "
            "this name, or leave it out."
        )
