"""Finished runs and exports, loaded with one call: to evaluate them, and to act, filter and imagine in a notebook.

run = load_run("runs/demo/aime")                 # or a folder of `export`
model, policy = run.world_model(seed=0), run.policy(seed=0)
actor = run.actor(num_envs=1, seed=0)            # records {name: [1, ...]} -> actions [1, A]
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from agents import sac
from agents.chunks import filter_actor, frame_stack_actor
from agents.loop import Actor
from agents.observer import Observer
from agents.planning import Planner, planning_actor
from agents.sac_rounds import SACActor
from experiments.data.arena import Arena
from experiments.data.demonstrations import Demonstrations
from experiments.envs import registry
from experiments.models import files
from experiments.runs.paths import folders_of
from experiments.runs.settings import read_config
from worldmodels import hub
from worldmodels.data.episodes import read_episode, some_episode_paths
from worldmodels.export import Models
from worldmodels.structures import SequenceBatch

DEFAULT_SEED = 0


@runtime_checkable
class MakesActors(Protocol):
    """A kind of policy of the user's own, which acts."""

    def make_actor(self, models: Models, num_envs: int, seed: int) -> Actor:
        """Returns an actor with `models.policy`, leaves [num_seeds, ...]."""


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A run that can act, by its policies or by planning in its world models.

    Attributes:
      path: its directory. kind: "aime", "dreamer", "baseline", "sac" or "own"; "pretraining" has no policies.
      config: its configuration; {} of an export.
      models: its networks, leaves [num_seeds, ...].
      arena: where it was evaluated; an export does not say, and is nowhere.
      expert: mean return of its demonstrations, or None.
    """

    path: pathlib.Path
    kind: str
    config: Mapping
    models: Models
    arena: Arena
    expert: float | None = None

    @property
    def num_seeds(self) -> int | None:
        """Number of agents, policies or ensembles of them; None: a single policy, without an axis of seeds."""
        policies = self.models.num_seeds
        return policies if policies is None else policies // self.models.ensemble

    @property
    def best(self) -> int:
        """Seed of the agent of `surrogate` that had the highest return when it was saved; of other runs the first."""
        returns = self.models.card.get("returns", [])
        return int(np.argmax([np.mean(row) for row in returns])) if len(returns) == self.num_seeds else 0

    @property
    def world_models(self):
        """World models of all seeds, or None."""
        return self.models.world_model

    @property
    def policies(self):
        """Policies of all seeds, or None."""
        return self.models.policy

    @property
    def reader(self) -> Mapping:
        """Arguments of what reads the sensors: the world model, or the policy where it has none."""
        return self.models.arguments.get("world_model") or self.models.arguments["policy"]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Sensors that are read."""
        reader = self.reader
        return tuple(
            reader.get("inputs") or reader.get("sizes") or reader.get("observer", {}).get("sensors", ())
        )

    @property
    def critics(self) -> dict | None:
        """{reward: value network} of all seeds, the targets of imagination; or None."""
        pairs = self.models.critic
        return None if pairs is None else {reward: target for reward, (_, target) in pairs.items()}

    def __repr__(self) -> str:
        names = {"world models": self.world_models, "policies": self.policies}
        parts = " and ".join(name for name, part in names.items() if part is not None)
        return f"LoadedRun({self.path}: {self.kind} in {self.arena.name}; {parts} of {self.num_seeds} seeds)"

    def world_model(self, seed: int = DEFAULT_SEED):
        """Returns the world model of policy `seed`."""
        self._check_world_model()
        return self.models.seed(seed).world_model

    def policy(self, seed: int = DEFAULT_SEED):
        """Returns the policy of one seed; those of an ensemble are counted one by one."""
        return self.models.seed(seed).policy

    def make_planner(
        self,
        planner: Planner,
        num_envs: int,
        key_seed: int = 0,
        demonstrations: SequenceBatch | None = None,
    ) -> Actor:
        """Makes an actor of all seeds, as `make_actor`, that plans in the world model; see `planning_actor`."""
        self._check_world_model(" to plan in")
        if self.models.ensemble > 1:
            raise ValueError(f"{self.path} is a run of ensembles, and plans are made in one world model.")
        # Plans are guided by one action at a time.
        several = self.models.arguments.get("policy", {}).get("kind") == "over_features"
        return planning_actor(
            planner,
            *(self.world_models, None if several else self.policies, self.critics),
            num_envs,
            jax.random.key(key_seed),
            demonstrations=demonstrations,
            num_seeds=self.num_seeds,
        )

    def make_actor(self, num_envs: int, sample_action: bool = False, key_seed: int = 0) -> Actor:
        """Makes an actor of all seeds, a block of environments each; a ValueError of a run without policies."""
        if self.policies is None:
            raise ValueError(
                f"{self.path} is a world model without a policy; imitate with it, or plan in it: `evaluate` with "
                "--config.planner=tracking --config.demonstrations=DIR. load_world_model loads its models."
            )
        if self.kind == "sac":
            return make_sac_actors(self.models)
        chunk, key = self.models.arguments["policy"].get("chunk", 1), jax.random.key(key_seed)
        if self.kind == "baseline":
            return frame_stack_actor(self.policies, key, chunk, num_seeds=self.num_seeds)
        if self.kind == "own":
            own = files.BUILDERS.get(self.models.arguments["policy"]["kind"])
            if not isinstance(own, MakesActors):
                raise ValueError(f"{self.path} has a policy of your own, whose kind has no `make_actor`.")
            return own.make_actor(self.models, num_envs, key_seed)
        return filter_actor(
            self.world_models,
            self.policies,
            num_envs,
            key,
            chunk,
            sample_action=sample_action,
            num_seeds=self.num_seeds,
            ensemble=self.models.ensemble,
        )

    def actor(self, num_envs: int = 1, seed: int = DEFAULT_SEED, *, sample_action: bool = False) -> Actor:
        """Makes an actor with the policy, or the ensemble, of one seed."""
        single = dataclasses.replace(self, models=self.models.agent(seed))
        return single.make_actor(num_envs, sample_action, key_seed=seed)

    def _check_world_model(self, purpose: str = "") -> None:
        if self.world_models is None:
            raise ValueError(
                f"{self.path} is a run of kind {self.kind!r}, which has no world model{purpose}."
            )


def load_run(path: str | pathlib.Path, env: str = "") -> LoadedRun:
    """Loads a finished run of imitate, online, dreamer, baseline, surrogate, collect with SAC, or pretrain.

    Of `collect` with SAC it is the best policy; a run of `pretrain` has none, and acts by planning alone. A folder of
    `export`, also on the Hub, and a published one are loaded alike; they do not say where they played.

    Args:
      path: its directory.
      env: the environment, if it is code of the user's and named by them, not only by the files of the run. What is no
        run plays there, with the options that are its defaults.

    Raises:
      ValueError: nothing there, or a run of another kind; the sentence says which.
    """
    folder = hub.local(path)
    of_a_run = (folder / "config.json").is_file() or not files.is_model(folder)
    config, models = read_config(folder) if of_a_run else {}, files.load_complete(path)
    if config.get("env") != env:
        registry.trusted(config.get("env") or "", f"The files of {path} name")
    if models.encoder is not None:
        raise ValueError(
            f"{path} holds an encoder, which does not act; pass a run of what was trained with it."
        )
    run = LoadedRun(folder, _kind(models, config), config, models, Arena(""))
    if run.kind == "sac":
        if models.card["environment"] != env:
            registry.trusted(models.card["environment"], f"The files of {path} name")
        run = dataclasses.replace(
            run, arena=Arena(models.card["environment"], models.card["environment_options"])
        )
        if "num_seeds" in config or not of_a_run:
            return run
        return dataclasses.replace(run, models=models.seed(run.best).stacked())
    if not of_a_run:
        drawn = run.reader["sizes"]["image"] if "image" in run.inputs else None
        return dataclasses.replace(run, arena=Arena(env, {"render_size": drawn} if drawn else {}))
    if run.kind == "pretraining":
        first = read_episode(some_episode_paths(folders_of(config["embodiment"])[0])[0], images_on_disk=True)
        return dataclasses.replace(run, arena=Arena.of_episodes([first], config["env"], run.inputs))
    if run.kind == "dreamer":
        return dataclasses.replace(run, arena=Arena.of_setup(config))
    shown = Demonstrations.read(config["demonstrations"], 1, env=config["env"], inputs=run.inputs)
    return dataclasses.replace(run, arena=shown.arena, expert=shown.expert)


def _kind(models: Models, config: Mapping) -> str:
    """Returns the `kind` of a loaded run."""
    if models.policy is None:
        return "pretraining"
    kind = models.arguments["policy"].get("kind", "")
    if kind == "sac":
        return kind
    if config and "demonstrations" not in config:
        return "dreamer"
    if kind in files.OVER_FEATURES:
        return "aime"
    return "own" if ":" in kind else "baseline"


def load_world_model(path: str | pathlib.Path, seed: int = DEFAULT_SEED):
    """Loads one world model of a run of `pretrain`, or of whatever else has one."""
    return files.load(path, "world_model").seed(seed).world_model


def make_sac_actors(models: Models) -> Actor:
    """Makes an actor of all seeds of SAC, a block of environments each."""
    actors = [make_sac_actor(models.seed(index)) for index in range(models.num_seeds or 1)]

    def act(records: Mapping[str, np.ndarray]) -> np.ndarray:
        blocks = {name: np.split(values, len(actors)) for name, values in records.items()}
        own = [{name: parts[index] for name, parts in blocks.items()} for index in range(len(actors))]
        return np.concatenate([actor(block) for actor, block in zip(actors, own, strict=True)])

    return act


def make_sac_actor(models: Models, rng: np.random.Generator | None = None) -> SACActor:
    """Makes an actor of one seed of SAC at its first record, which reads what the policy was trained on."""
    observer = Observer(**models.arguments["policy"]["observer"])
    assert isinstance(models.policy, sac.Actor), "the kind of the policy is sac"
    return SACActor(sac.NumpyPolicy(models.policy), observer.sensors, rng, observer=observer)
