"""Where policies play: an environment by name, with the options that a config asks for or that data record."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Self

from experiments.envs import registry, variation
from experiments.envs.interface import ArraySpec
from experiments.envs.sensors import observation_setup
from experiments.envs.vector import VectorEnvironment
from worldmodels.data.episodes import Episode

CONFIGURED = ("env", "action_repeat", "reward_version", "episode_length")
RECORDED = (
    *("action_repeat", "reward_version", "episode_length"),
    *("goal_visible", "goal_seed", "mirrored"),
)
NOWHERE = "none"  # as --config.env


@dataclasses.dataclass(frozen=True)
class Arena:
    """An environment and how it is made.

    Attributes:
      name: as in the registry; "" is nowhere: data alone, and nothing is played.
      options: of `registry.make`, JSON values; an option that is missing has its default.
    """

    name: str
    options: Mapping = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.name)

    @classmethod
    def of(cls, config: Mapping) -> Self:
        """Returns the environment that a config describes, without images."""
        return cls.of_facts({key: config[key] for key in CONFIGURED})

    @classmethod
    def of_facts(cls, facts: Mapping) -> Self:
        """Returns the environment whose `facts` these are; None stands for a default."""
        given = {key: value for key, value in facts.items() if value is not None}
        return cls(given.pop("env"), given)

    @classmethod
    def of_setup(cls, config: Mapping) -> Self:
        """Returns the same as `of`, with images where the set-up of sensors of the config reads or predicts them."""
        roles = observation_setup(config["env"], config["setup"])
        arena = cls.of(config)
        return arena.with_images(config) if "image" in (*roles.inputs, *roles.targets) else arena

    @classmethod
    def of_episodes(cls, episodes: Sequence[Episode], name: str = "", inputs: Sequence[str] = ()) -> Self:
        """Returns the environment that data come from.

        Args:
          episodes: their metadata name the environment, its action repeat and its reward version.
          name: takes the place of what the data say; "" takes it from them, unless it is a name that imports code;
            "none" is nowhere, whatever they say.
          inputs: sensors that a policy reads; `image` the environment draws as it was drawn for the data.

        Returns:
          The arena; nowhere, if the data name no environment.

        Raises:
          ValueError: the data name an environment that imports code of their choice.
        """
        metadata = episodes[0].metadata
        recorded = metadata.get("environment") or ""
        name = name or registry.trusted(recorded, "The data name")
        if name in ("", NOWHERE):
            return cls("")
        same = variation.base_name(recorded) == variation.base_name(name)
        options = {key: metadata[key] for key in RECORDED if same and key in metadata}
        drawn = episodes[0].records.get("image") if "image" in inputs else None  # others it gives of itself
        return cls(name, options | (_rendering_of(metadata, drawn.shape[1:3]) if drawn is not None else {}))

    @property
    def facts(self) -> dict:
        """{"env": name, option: value, ...}, to be kept as JSON; `of_facts` reads it back."""
        return {"env": self.name, **self.options}

    def with_images(self, config: Mapping) -> Self:
        """Adds the images that a config asks for by `image_size`, if it does."""
        if config["image_size"] is None:
            return self
        options = {"render_size": config["image_size"]}
        if config["render_quality"] != "published":
            options["render_quality"] = config["render_quality"]
        return dataclasses.replace(self, options={**self.options, **options})

    def make(
        self, num_envs: int, *, seed: int, first_episode: int = 0, workers: int = 0
    ) -> VectorEnvironment:
        """Environments that step together.

        Args:
          workers: processes; 0 means this one, but for images as many as there are processors: OpenGL may hang or
            crash beside JAX, which costs a worker then and not the run, and drawing is most of the work.
        """
        if not workers and self.options.get("render_size") is not None:
            workers = len(os.sched_getaffinity(0))
        start = dict(seed=seed, first_episode=first_episode, workers=min(workers, num_envs))
        return VectorEnvironment(self.name, num_envs, **start, **self.options)

    def check(self, sizes: Mapping[str, int | Sequence[int]], action_size: int, workers: int = 0) -> None:
        """Raises a ValueError if the environment cannot be made, or lacks sensors or actions; see `check_specs`.

        Of nowhere it says so.
        """
        if not self:
            print("Nothing is evaluated: no environment is known; --config.env=NAME names one.", flush=True)
            return
        with self.make(1, seed=0, workers=workers) as envs:
            check_specs(envs, sizes, action_size)


def check_specs(envs: VectorEnvironment, sizes: Mapping[str, int | Sequence[int]], action_size: int) -> None:
    """Raises a ValueError if environments do not give these sensors or take these actions.

    Args:
      envs: with `name`, `observation_spec` and `action_spec`.
      sizes: {sensor that a policy reads: d, or (y, x) of images}.
      action_size: of the policy.
    """
    specs: Mapping[str, ArraySpec] = envs.observation_spec
    another = "Choose another one with --config.env=NAME."
    for sensor, size in sizes.items():
        if sensor not in specs:
            raise ValueError(
                f"The environment {envs.name!r} does not give {sensor!r}, which the model reads or predicts; it gives "
                f"{', '.join(specs)}. {another}"
            )
        shape = (size,) if isinstance(size, int) else (*size, 3)
        if tuple(specs[sensor].shape) != shape:
            raise ValueError(
                f"The environment {envs.name!r} gives {sensor!r} of shape {list(specs[sensor].shape)}, the model was "
                f"built for {list(shape)}. {another}"
            )
    if action_size != envs.action_spec.shape[0]:
        raise ValueError(
            f"The environment {envs.name!r} takes actions of size {envs.action_spec.shape[0]}, the policy gives "
            f"{action_size}. {another}"
        )


def _rendering_of(metadata: Mapping, size: Sequence[int]) -> dict:
    """Options of `registry.make` for images of a size (y, x) like those that the metadata belong to."""
    drawn, options = metadata.get("rendering") or {}, {"render_size": [int(n) for n in size]}
    if drawn.get("camera") is not None:
        options["camera"] = drawn["camera"]
    # Published data, and environments that know no qualities, are drawn with all that there is.
    if drawn.get("quality", "published") != "published":
        options["render_quality"] = drawn["quality"]
    return options
