"""From a table of a paper to runs: tasks x embodiment data x set-ups x methods x seeds, and their stages."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experiments.configs import baseline, surrogate
from experiments.runs import own_parts
from launch.runs import Output, Run, in_order, load_config, product, seed_folder

AXES = ("task", "dataset", "setup", "method", "seed")
SHOWN_SEEDS = 1000  # demonstrations start elsewhere than the embodiment data of their seed


@dataclasses.dataclass(frozen=True)
class Stage:
    """A kind of run.

    Attributes:
      main: command. config: file and preset.
      settings: config keys, the same for all its runs; `...` is filled in by the cell, None leaves a key out that the
        main gets otherwise.
      model: stage that trains its world model, or its encoder, where it has one.
    """

    main: str
    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: str = "model"


@dataclasses.dataclass(frozen=True)
class Suite:
    """A table.

    Attributes:
      text: what it is, in one line.
      tasks: {name: environment}; several may have the same, and be `shown` differently.
      datasets: {name of embodiment data: how they come about}: the name of a stage that explores, of a task (the
        replay of its expert), a tuple of them (a mixture), {task: one of these}, or a folder of the user ("data/NAME").
      setups: what the robot senses.
      methods: {name: stage that trains the policy}; a baseline without a stage gets one of the size of BCO(0)'s.
      stages: {name: Stage}, among them "model" and, unless all tasks are `shown`, "expert".
      seeds: of the table.
      demonstrations: shown per task.
      shown: {task: stage that collects its demonstrations}, where the expert is that of the first task, or needs no
        training; other tasks are shown by experts of their own.
      unlabelled: the embodiment data that are seen without their actions, and that stages with `sources` take some of;
        "" for those of the cell.
      repeats_data: every seed has an expert, demonstrations and embodiment data of its own, so that intervals are over
        whole pipelines; False: only world models and policies differ, as in the papers.
      demonstration_folder: "" for those of our experts; else a folder of the user, with a folder per environment.
    """

    text: str
    tasks: Mapping[str, str]
    datasets: Mapping[str, Any]
    setups: Sequence[str]
    methods: Mapping[str, str]
    stages: Mapping[str, Stage]
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    demonstrations: int = 100
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unlabelled: str = ""
    repeats_data: bool = False
    demonstration_folder: str = ""

    def axes(self) -> dict[str, list[Any]]:
        """Returns what varies, with all its values."""
        values = (self.tasks, self.datasets, self.setups, self.methods, self.seeds)
        return {axis: list(entries) for axis, entries in zip(AXES, values, strict=True)}


def runs_of_suite(name: str, suite: Suite, chosen: Mapping[str, Sequence[Any]] | None = None) -> list[Run]:
    """Runs of a suite, each after those that it needs.

    Args:
      name: of the suite, for directories and messages.
      suite: the table.
      chosen: {axis: values} to take some cells only, `{"method": ["aime", "my.module:Baseline"]}`, and
        {"stage.key": [value]} to change config keys of a stage, `{"model.num_updates": [1000]}`,
        `{"aime.loss.kl_only": [True]}`.

    Raises:
      ValueError: unknown names; the sentence lists the known ones.
    """
    chosen = dict(chosen or {})
    suite = _with_baselines(suite, chosen.get("method", ()))
    axes = suite.axes()
    for axis in [key for key in chosen if key in axes]:
        values = chosen.pop(axis)
        unknown = [value for value in values if axis != "seed" and value not in axes[axis]]
        if unknown:
            raise ValueError(
                f"{name} has no {axis} {unknown[0]!r}. Known: {', '.join(map(str, axes[axis]))}."
            )
        axes[axis] = list(values)
    planner = _Planner(name.replace(":", "-"), _with_settings(name, suite, chosen), axes)
    for cell in product(axes):
        planner.add_cell(**cell)
    return in_order(planner.runs.values())


def _with_baselines(suite: Suite, methods: Sequence[str]) -> Suite:
    """Adds methods without a stage, also `my.module:Name`, in the size of the suite's BCO(0)."""
    stages, known = dict(suite.stages), dict(suite.methods)
    for method in methods:
        if ":" in method or method in (*baseline.METHODS, *surrogate.METHODS):
            known.setdefault(method, method)
    for method, stage in known.items():
        if stage in stages:
            continue
        main = own_parts.command_of(method) if ":" in method else "baseline"
        main = "surrogate" if method in surrogate.METHODS else main
        config = suite.stages["bco"].config.replace("baseline:bco", f"{main}:{method}")
        keys = load_config(config)
        settings = {key: None for key in _INPUTS[main] if key not in keys}
        stages[method] = Stage(main, config, settings | ({"model": ...} if "model" in keys else {}))
    return dataclasses.replace(suite, stages=stages, methods=known)


def _with_settings(name: str, suite: Suite, chosen: Mapping[str, Sequence[Any]]) -> Suite:
    """Returns the suite with some config keys of its stages changed."""
    stages = dict(suite.stages)
    for key, values in chosen.items():
        stage, dot, option = key.partition(".")
        if not dot or stage not in stages:
            raise ValueError(
                f"{name} has no axis {key!r}. Known: {', '.join(AXES)}, and STAGE.KEY with a stage out of "
                f"{', '.join(stages)}."
            )
        if len(values) != 1:
            raise ValueError(
                f"{key} has {len(values)} values; in a suite a config key has one. Vary it in a grid."
            )
        settings = {**stages[stage].settings, option: values[0]}
        stages[stage] = dataclasses.replace(stages[stage], settings=settings)
    return dataclasses.replace(suite, stages=stages)


class _Planner:
    """Collects the runs of the cells of a suite, every stage once."""

    def __init__(self, name: str, suite: Suite, axes: Mapping[str, Sequence[Any]]):
        self._name, self._suite, self._axes = name, suite, axes
        # Of the suite, not of the cells that were chosen: the same directory has the same data for all of them.
        self._images = {"image_size": 64} if "visual" in suite.setups else {}
        self.runs: dict[str, Run] = {}

    def add_cell(self, task: str, dataset: str, setup: str, method: str, seed: int) -> str:
        """Adds the run of a cell, and all that it needs; returns its name."""
        suite, stage = self._suite, self._suite.methods[method]
        model = suite.stages[stage].model
        self._random_policy(task)
        values = {
            "demonstrations": lambda: self._demonstrations(task, seed),
            "num_demonstrations": lambda: suite.demonstrations,
            "embodiment": lambda: self._data(dataset, task, seed),
            "unlabelled": lambda: self._data(suite.unlabelled or dataset, task, seed),
            **dict.fromkeys(
                ("model", "encoder"), lambda: Output(self._model(model, dataset, task, setup, seed))
            ),
            "reward.model": lambda: Output(self._likelihood_model(task, setup, seed)),
            "policy_from": lambda: Output(self.add_cell(task, dataset, setup, "aime", seed)),
            "analysis.demonstrations": lambda: self._demonstrations(task, seed),
            "env": lambda: suite.tasks[task],
            "setup": lambda: setup,
            "seed": lambda: seed,
        }
        wanted = {**_INPUTS[suite.stages[stage].main], **suite.stages[stage].settings}
        settings = {key: values[key]() for key, value in wanted.items() if value is ...}
        if not {"embodiment", "model", "encoder"} & settings.keys():
            dataset = ""  # the same for all of them
        labels = {"task": task, "method": method, "setup": setup, "dataset": dataset, "seed": seed}
        name = "-".join(filter(None, (method.replace(":", "."), dataset, setup)))
        return self._add(task, name, seed, stage, settings, labels)

    def _add(self, task: str, method: str, seed: int, stage: str, settings: dict, labels: dict) -> str:
        name = f"{self._name}-{task}/{method}/{seed_folder(seed)}"
        if name not in self.runs:
            chosen = self._suite.stages[stage]
            labels = {"suite": self._name, **labels, "env": self._suite.tasks.get(task, "")}
            fixed = {k: v for k, v in chosen.settings.items() if v is not None and v is not ...}
            settings = {**settings, **fixed}
            self.runs[name] = Run(name, chosen.main, chosen.config, settings, labels)
        return name

    def _add_data(self, name: str, seed: int, stage: str, settings: dict, label: str) -> str:
        """Plans data: one for all seeds of the table, unless it repeats them."""
        if self._suite.repeats_data:
            settings = {"seed": seed} | settings
        return self._add(
            "data", name, seed if self._suite.repeats_data else 0, stage, settings, {"stage": label}
        )

    def _expert(self, task: str, seed: int) -> str:
        settings = {"env": self._suite.tasks[task], "demonstrations.num_episodes": self._suite.demonstrations}
        return self._add_data(task, seed, "expert", settings | self._images, "expert")

    def _demonstrations(self, task: str, seed: int) -> Output | str:
        suite = self._suite
        if suite.demonstration_folder:
            return f"{suite.demonstration_folder}/{suite.tasks[task]}"
        if task not in suite.shown:
            return Output(self._expert(task, seed), "demonstrations")
        values: dict[str, Callable[[], Any]] = {
            "source": lambda: Output(self._expert(next(iter(suite.tasks)), seed)),
            "num_episodes": lambda: suite.demonstrations,
            **dict.fromkeys(("env", "tasks"), lambda: suite.tasks[task]),
        }
        wanted = suite.stages[suite.shown[task]].settings
        settings = {key: values[key]() for key, value in wanted.items() if value is ...} | self._images
        settings["seed"] = seed + SHOWN_SEEDS
        name = self._add_data(f"shown-{task}", seed, suite.shown[task], settings, "demonstrations")
        return Output(name, "episodes")

    def _data(self, dataset: str, task: str, seed: int) -> Output | str:
        """Plans embodiment data with the robot of a task."""
        source = self._suite.datasets.get(dataset, dataset)
        if isinstance(source, Mapping):
            source = source[task]
        if isinstance(source, tuple):
            settings: dict[str, Any] = {"sources": tuple(self._data(name, task, seed) for name in source)}
            name = self._add_data(self._with_robot(dataset, task), seed, "mix", settings, "data")
            return Output(name, "episodes")
        if source in self._suite.tasks:
            return Output(self._expert(source, seed), "episodes")
        if source in self._suite.stages:
            settings = self._origin(source, task, seed)
            if self._images and self._suite.stages[source].main == "dreamer":
                settings["setup"] = "visual"  # it records the images that it sees, and no others
            name = self._add_data(self._with_robot(dataset, task), seed, source, settings, "data")
            return Output(name, "episodes")
        return source

    def _origin(self, stage: str, task: str, seed: int) -> dict[str, Any]:
        """Returns where a stage has its embodiment data from: other data that it takes some of, or a robot."""
        wanted = self._suite.stages[stage].settings
        if "sources" in wanted:
            return {"sources": (self._data(self._suite.unlabelled, task, seed),)}
        key = "tasks" if "tasks" in wanted else "env"
        return {key: next(self._with_the_robot_of(task))} | self._images

    def _with_the_robot_of(self, task: str) -> Iterator[str]:
        """Yields the environments with the robot of a task."""
        robot = _robot(self._suite.tasks[task])
        return (env for env in self._suite.tasks.values() if _robot(env) == robot)

    def _with_robot(self, dataset: str, task: str) -> str:
        """Returns "p2e"; "p2e-hopper" where the suite has several robots, "other-hop" where every task has its own."""
        if isinstance(self._suite.datasets.get(dataset), Mapping):
            return f"{dataset}-{task}"
        robots = set(map(_robot, self._suite.tasks.values()))
        return f"{dataset}-{_robot(self._suite.tasks[task])}" if len(robots) > 1 else dataset

    def _model(self, stage: str, dataset: str, task: str, setup: str, seed: int) -> str:
        data = self._data(dataset, task, seed)
        settings = {"embodiment": data, "setup": setup, "seed": seed}
        if "unlabelled" in self._suite.stages[stage].settings:
            settings["unlabelled"] = self._data(self._suite.unlabelled or dataset, task, seed)
        other = () if stage == "model" else (stage,)
        name = "-".join((self._with_robot(dataset, task), setup, *other))
        return self._add("model", name, seed, stage, settings, {"stage": "model"})

    def _likelihood_model(self, task: str, setup: str, seed: int) -> str:
        settings = {"embodiment": self._demonstrations(task, seed), "setup": setup, "seed": seed}
        return self._add("model", f"viper-{task}-{setup}", seed, "viper", settings, {"stage": "model"})

    def _random_policy(self, task: str) -> None:
        """Plans the random policy, the other end of the normalisation."""
        if "random_policy" in self._suite.stages:
            labels = {"task": task, "method": "random", "seed": 0}
            self._add(task, "random", 0, "random_policy", {"env": self._suite.tasks[task]}, labels)


def _robot(env: str) -> str:
    """Returns the first part of an environment's name, with its variation: another variation has data of its own."""
    base, _, variation = env.partition("?")
    return "-".join(filter(None, (base.partition("-")[0], variation.replace("&", "-"))))


# What the mains of the methods get of a cell. In the settings of a stage `...` asks for more of it, None for less.
_INPUTS = {
    "imitate": dict.fromkeys(("model", "demonstrations", "num_demonstrations", "seed"), ...),
    **dict.fromkeys(
        ("baseline", "surrogate"),
        dict.fromkeys(("embodiment", "demonstrations", "num_demonstrations", "setup", "seed"), ...),
    ),
    "online": dict.fromkeys(("model", "embodiment", "demonstrations", "num_demonstrations", "seed"), ...),
}
