"""Environments by name: `make("walker-walk")`."""

from typing import Any

from experiments.envs import dmc_tasks, metaworld_tasks, variation
from experiments.envs.interface import Environment
from worldmodels.registry import Registry, find, is_loaded, load

_ADAPTERS = {"gymnasium": "experiments.envs.gymnasium_adapter:make"}
_FUNCTION_ADAPTER = "experiments.envs.function_adapter:make"
# Names to entry points, "module:name", so that a simulator is imported where one of its environments is made.
ENVIRONMENTS: Registry[str] = Registry(
    "environment",
    dict.fromkeys(dmc_tasks.names(), "experiments.envs.dmc:DMCEnvironment")
    | dict.fromkeys(metaworld_tasks.names(), "experiments.envs.metaworld:MetaWorldEnvironment")
    | {"fake-pointmass": "experiments.envs.fake:FakePointMass"},
)


def known() -> list[str]:
    """Returns the names of all registered environments."""
    return sorted(ENVIRONMENTS.names())


def register(name: str, entry_point: str) -> None:
    """Adds an environment.

    Args:
      name: "domain-task", without a colon.
      entry_point: "module:function"; the function takes the name and the keyword arguments of `make` and
        returns an Environment. A string, so that worker processes find it as well.
    """
    if entry_point.count(":") != 1:
        raise ValueError(f"Cannot register {name!r} as {entry_point!r}: an entry point is 'module:function'.")
    ENVIRONMENTS.register(name)(entry_point)


def entry_point(name: str) -> str:
    """Returns "module:function" of the factory for a name; raises ValueError if the name is unknown."""
    if not name:
        raise ValueError("The data do not say which environment they come from; pass --config.env=NAME.")
    base = variation.base_name(name)
    if base in ENVIRONMENTS:
        return ENVIRONMENTS.get(base)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _ADAPTERS and rest:
        return _ADAPTERS[prefix]
    if colon and prefix and rest.isidentifier():
        return _FUNCTION_ADAPTER
    raise ValueError(_unknown(base))


def imports_code(name: str) -> bool:
    """Returns whether the name itself says which module is imported, as "my.module:make_env" does.

    Users may give such names; files of data may not, unless the user has named the same one before (--import).
    "gymnasium:Id" only finds what installed packages have registered, but "gymnasium:module:Id" imports a module.
    """
    prefix, colon, rest = name.partition(":")
    return bool(colon) and (prefix not in _ADAPTERS or ":" in rest) and not is_loaded(name)


def trust(name: str) -> None:
    """Imports the code of a name that the user has given; from here on files may give it too."""
    if imports_code(name):
        load(name)


def trusted(name: str, who: str) -> str:
    """Returns a name that a file has chosen; raises a ValueError if it would import code; `who` begins the sentence."""
    if imports_code(name):
        raise ValueError(
            f"{who} the environment {name!r}, which would import code of their choice; if you know and trust it, "
            f"repeat the name: --config.env={name}, or --import={name}."
        )
    return name


def drawing_options(name: str) -> dict[str, str]:
    """Returns the options of `make` by which an environment of the user's own draws itself."""
    return {"render_mode": "rgb_array"} if ":" in name else {}


def make(
    name: str,
    *,
    seed: int = 0,
    render_size: int | tuple[int, int] | None = None,
    camera: int | str | None = None,
    action_repeat: int | None = None,
    reward_version: str = "v1",
    episode_length: int | None = None,
    **options: Any,
) -> Environment:
    """Makes an environment.

    Args:
      name: one of `known()`, "gymnasium:Id", or "my.module:make_env"; of `known()` perhaps with what varies between
        episodes, "walker-walk?mass=0.2", see `variation`.
      seed: of the first episode when `reset` is called without a seed.
      render_size: pixels, an integer or (height, width): adds the sensor `image`; None means no rendering.
      camera: of the image sensor; None means the published one.
      action_repeat: simulator steps per agent step; None means the published value.
      reward_version: which published definition of custom tasks and default action repeats, "v1" or "v2".
      episode_length: agent steps after which an episode is cut; None means the environment's own limit.
      **options: for the environment's own factory; where MuJoCo draws, render_quality="fast" leaves out shadows
        and reflections.
    """
    if reward_version not in ("v1", "v2"):
        raise ValueError(f"Unknown reward_version {reward_version!r}. Known: v1, v2.")
    factory = find(entry_point(name))
    variation.check(name, getattr(factory, "factors", ()))
    return factory(
        name,
        seed=seed,
        render_size=render_size,
        camera=camera,
        action_repeat=action_repeat,
        reward_version=reward_version,
        episode_length=episode_length,
        **options,
    )


def _unknown(name: str) -> str:
    """Returns the sentence for an unknown name: the tasks of its domain if that exists, else the domains."""
    domain, _, task = name.partition("-")
    tasks = [known_name.partition("-")[2] for known_name in known() if known_name.startswith(f"{domain}-")]
    if tasks:
        return f"Unknown task {task!r} of {domain!r}. Known: {', '.join(tasks)}."
    domains = sorted({known_name.partition("-")[0] for known_name in known()})
    return (
        f"Unknown environment {name!r}. Known domains: {', '.join(domains)} (as in 'walker-walk'); also "
        "'gymnasium:Id' and 'my.module:make_env'."
    )
