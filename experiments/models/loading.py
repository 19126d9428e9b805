"""Finished runs, loaded with one call: to evaluate them, and to act, filter and imagine in a notebook.

run = load_run("runs/demo/aime")
model, policy = run.world_model(seed=0), run.policy(seed=0)
actor = run.actor(num_envs=1, seed=0)            # records {name: [1, ...]} -> actions [1, A]
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax

from agents.actors import FilterActor
from agents.frame_stack_actor import FrameStackActor
from agents.loop import Actor
from agents.planning import Planner, planning_actor
from agents.sac_rounds import SACActor
from experiments.data.evaluation import environment_of, expert_return
from experiments.data.folders import environment_of_setup
from experiments.models import frame_stacks, world_models
from experiments.models.sac_policies import best_policy, load_policy, saved_actor
from experiments.runs.paths import folders_of
from experiments.runs.settings import read_config
from worldmodels.data.episodes import load_episodes

DEFAULT_SEED = 0


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A run that can act.

    Attributes:
      path: its directory. kind: "aime", "dreamer", "baseline" or "sac".
      config: its configuration.
      env_name, env_options: the environment it was evaluated in.
      num_seeds: policies it holds.
      world_models, policies: stacked modules, leaves [num_seeds, ...]; world_models is None without any.
      critics: {reward: value network}, stacked, those that imagination was valued by; None without any.
      expert: mean return of its demonstrations, or None.
      make_actor: (num_envs, sample_action, key seed) -> actor of all seeds, a block of environments each.
    """

    path: pathlib.Path
    kind: str
    config: Mapping
    env_name: str
    env_options: Mapping
    num_seeds: int
    world_models: object
    policies: object
    expert: float | None
    make_actor: Callable[..., Actor]
    critics: dict | None = None

    def __repr__(self) -> str:
        parts = "policies" if self.world_models is None else "world models and policies"
        return f"LoadedRun({self.path}: {self.kind} in {self.env_name}; {parts} of {self.num_seeds} seeds)"

    def world_model(self, seed: int = DEFAULT_SEED):
        """The world model that goes with policy `seed`."""
        if self.world_models is None:
            raise ValueError(f"{self.path} is a run of kind {self.kind!r}, which has no world model.")
        return world_models.one_seed(self.world_models, seed, self.num_seeds)

    def policy(self, seed: int = DEFAULT_SEED):
        """The policy of one seed."""
        return world_models.one_seed(self.policies, seed, self.num_seeds)

    def make_planner(self, planner: Planner, num_envs: int, key_seed: int = 0) -> Actor:
        """An actor of all seeds, as `make_actor`, that plans in the world model instead of asking the policy alone."""
        if self.world_models is None:
            raise ValueError(
                f"{self.path} is a run of kind {self.kind!r}, which has no world model to plan in."
            )
        modules = (self.world_models, self.policies, self.critics)
        return planning_actor(planner, *modules, num_envs, jax.random.key(key_seed), num_seeds=self.num_seeds)

    def actor(self, num_envs: int = 1, seed: int = DEFAULT_SEED, *, sample_action: bool = False) -> Actor:
        """An actor with the policy of one seed."""
        if self.world_models is not None:
            key = jax.random.key(seed)
            return FilterActor(
                self.world_model(seed), self.policy(seed), num_envs, key, sample_action=sample_action
            )
        if self.kind == "baseline":
            return FrameStackActor(self.policy(seed))
        return self.make_actor(num_envs)


def load_run(path: str | pathlib.Path) -> LoadedRun:
    """Loads a finished run of a main that trains policies: imitate, dreamer, baseline, surrogate, or collect with SAC.

    Of the last two it is the best policy.

    Raises:
      ValueError: nothing there, or a run of another kind; the sentence says which.
    """
    path = pathlib.Path(path).expanduser()
    config = read_config(path)
    if is_latent(path):
        return _load_latent(path, config)
    if (path / frame_stacks.ARCHITECTURE).is_file():
        return _load_baseline(path, config)
    if has_sac(path):
        return _load_sac(path, config)
    if (path / world_models.ARCHITECTURE).is_file():
        raise ValueError(
            f"{path} is a pretraining run and has no policy; load its models with load_world_model."
        )
    raise ValueError(f"{path} holds no finished policy. Run its command again to finish it.")


def is_latent(path: str | pathlib.Path) -> bool:
    """Whether a directory holds policies over the features of a world model."""
    return (pathlib.Path(path).expanduser() / world_models.POLICY).is_file()


def has_sac(path: str | pathlib.Path) -> bool:
    """Whether a directory holds policies of SAC, trained on whatever reward."""
    return (pathlib.Path(path).expanduser() / "policies").is_dir()


def load_world_model(path: str | pathlib.Path, seed: int = DEFAULT_SEED):
    """One world model of a run of `pretrain`."""
    models, num_seeds = world_models.load_world_models(path)
    return world_models.one_seed(models, seed, num_seeds)


def _load_latent(path: pathlib.Path, config: dict) -> LoadedRun:
    """A policy over the features of a world model: AIME, or Dreamer, which has no demonstrations."""
    policies, num_seeds = world_models.load_policies(path)
    trained_on = path if (path / world_models.ARCHITECTURE).is_file() else config["model"]
    models = world_models.resolve(trained_on).for_seeds(num_seeds)
    if "demonstrations" in config:
        kind, (name, options, expert) = "aime", _demonstrated(config, models.inputs)
    else:
        kind, (name, options), expert = "dreamer", _configured(config), None
    has_critic = (path / world_models.CRITIC).is_file()
    critics = world_models.load_critics(path)[0]["target"] if has_critic else None

    def make_actor(num_envs: int, sample_action: bool = False, key_seed: int = 0) -> FilterActor:
        key = jax.random.key(key_seed)
        return FilterActor(models, policies, num_envs, key, sample_action=sample_action, num_seeds=num_seeds)

    found = (num_seeds, models, policies, expert, make_actor, critics)
    return LoadedRun(path, kind, config, name, options, *found)


def _load_baseline(path: pathlib.Path, config: dict) -> LoadedRun:
    policies, num_seeds = frame_stacks.load_policies(path)
    name, options, expert = _demonstrated(config, tuple(frame_stacks.read_architecture(path)["sizes"]))

    def make_actor(num_envs: int, sample_action: bool = False, key_seed: int = 0) -> FrameStackActor:
        return FrameStackActor(policies, num_seeds=num_seeds)

    return LoadedRun(path, "baseline", config, name, options, num_seeds, None, policies, expert, make_actor)


def _load_sac(path: pathlib.Path, config: dict) -> LoadedRun:
    policy, facts = load_policy(best_policy(path))
    options = {
        key: value for key, value in facts["environment"].items() if key != "env" and value is not None
    }

    def make_actor(num_envs: int, sample_action: bool = False, key_seed: int = 0) -> SACActor:
        return saved_actor(policy, facts)

    env_name = facts["environment"]["env"]
    return LoadedRun(path, "sac", config, env_name, options, 1, None, policy, None, make_actor)


def _configured(config: dict) -> tuple[str, dict]:
    """(environment, its options) of a run that plays in it."""
    options = {key: value for key, value in environment_of_setup(config).items() if value is not None}
    return options.pop("env"), options


@functools.cache
def _expert(folder: str) -> float | None:
    return expert_return(load_episodes(folders_of(folder), keys=()))


def _demonstrated(config: dict, inputs: Sequence[str] = ()) -> tuple[str, dict, float | None]:
    """(environment, its options, expert's return) of a run on demonstrations."""
    first = load_episodes(folders_of(config["demonstrations"]), limit=1, images_on_disk=True)
    name, options = environment_of(config["env"], first, inputs)
    return name, options, _expert(config["demonstrations"])
