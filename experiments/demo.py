"""The main job: a robot imitates what it has only seen, from nothing to a report.

    python -m experiments.demo --workdir=runs/demo

An expert is trained with SAC and shows what it does, without its actions. Embodiment data come from elsewhere. A
world model learns the body from them; AIME infers the expert's actions and a policy with it. BCO(0) gets the same
data, BC also the true actions (an oracle). Every stage is a run of its own in WORKDIR, by the mains of this package;
what is done already is not done again.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments import baseline, collect, demo_report, imitate, pretrain
from experiments.configs import collect as collect_config
from experiments.main import launch, set_up_process
from experiments.run_directory import FREE_TO_CHANGE, RunDirectory, write_json


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs all stages and writes the report.

    Returns:
      {"aime": mean return in % of the expert, "bco": ..., "report": path, "seconds": {stage: seconds}}.
    """
    with RunDirectory(
        workdir, config, fresh=fresh, allow_changes=(*FREE_TO_CHANGE, "video", "title")
    ) as directory:
        summary = directory.result or run_everything(config, directory)
        print(summary["table"], flush=True)
        print(f"Report: {directory / 'report.html'}", flush=True)
        return summary


def run_everything(config, directory: RunDirectory) -> dict:
    """All stages and the report, in an opened directory."""
    stages = Stages(directory.path)
    results = run_stages(config, stages)
    with stages.timed("report"):
        summary = demo_report.write(config, directory.path, results, stages.seconds)
    return directory.mark_done(summary)


class Stages:
    """Runs stages in subdirectories and remembers how long each took, over all attempts."""

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._file = workdir / "seconds.json"
        self.seconds: dict[str, float] = json.loads(self._file.read_text()) if self._file.is_file() else {}

    def path(self, name: str) -> Path:
        """Where a stage runs."""
        return self._workdir / name

    def run(self, name: str, main: Callable, config) -> dict:
        """Runs a main in its directory; finished stages return what they had returned."""
        print(f"== {name}", flush=True)
        with self.timed(name):
            return main(config, self.path(name))

    @contextlib.contextmanager
    def beside(self, name: str, main: Callable, config) -> Iterator[Callable[[], dict]]:
        """Runs a main in a process of its own while the block goes on; the block gets a function that waits for it.

        What it prints goes to `NAME.log`. It ends with the block: a block that fails or is interrupted stops it,
        saved, like any run.
        """
        log = self._workdir / f"{name}.log"
        print(f"== {name}, in a process of its own; what it prints is in {log}", flush=True)
        arguments = (main, config, self.path(name), log)
        process = multiprocessing.get_context("spawn").Process(target=run_logged, args=arguments)
        process.start()
        try:
            yield lambda: self._wait(name, process, log)
        finally:
            process.terminate()  # nothing happens to one that has ended
            process.join()

    def _wait(self, name: str, process, log: Path) -> dict:
        if process.is_alive():
            print(f"== waiting for {name}", flush=True)
        with self.timed(f"waiting for {name}"):
            process.join()
        if process.exitcode:
            raise ValueError(f"The stage {name!r} failed; {log} says why. The same command tries again.")
        return json.loads((self.path(name) / "DONE").read_text())

    def timed(self, name: str) -> Timer:
        """Context that adds its duration to a stage's."""
        return Timer(self, name)

    def add(self, name: str, seconds: float) -> None:
        """Adds to the time of a stage, on disk too."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        write_json(self._file, self.seconds)


def run_logged(main: Callable, config, workdir: Path, log: Path) -> dict:
    """Runs a main with what it prints going to a file; in a process of its own."""
    set_up_process()
    with (
        open(log, "a", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        return main(config, workdir)


class Timer:
    """Adds the time between enter and exit to a stage, also if it is interrupted."""

    def __init__(self, stages: Stages, name: str):
        self._stages, self._name = stages, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *exception) -> None:
        self._stages.add(self._name, time.perf_counter() - self._began)


def run_stages(config, stages: Stages) -> dict[str, dict]:
    """Every stage but the report: {stage: what its main returned}."""
    results = {}
    expert = changed(config.expert, env=config.env)
    # The expert trains on one core while the robot that will imitate it learns its body on another.
    with stages.beside("expert", collect.run, expert) as wait_for_expert:
        body, random_return = embodiment_data(config, stages)
        if not config.relevance:
            results["pretrain"] = learn_body(config, stages, body)
        results["expert"] = wait_for_expert()
    # The same episodes twice: what AIME and BCO(0) may see, and what the oracle and the report know.
    for name, with_actions in (("demonstrations", False), ("oracle", True)):
        stages.run(name, collect.run, demonstrations(config, stages, with_actions))
    observed, oracle = (str(stages.path(name) / "episodes") for name in ("demonstrations", "oracle"))
    if config.relevance:
        results["pretrain"] = learn_body(config, stages, body, demonstrations=observed)

    for suffix, number in demonstration_counts(config).items():
        counts = dict(num_seeds=config.num_seeds, num_demonstrations=number)
        aime = changed(config.imitate, model=str(stages.path("pretrain")), demonstrations=observed, **counts)
        bco = changed(config.bco, setup=config.setup, embodiment=str(body), demonstrations=observed, **counts)
        bc = changed(config.bc, setup=config.setup, demonstrations=oracle, **counts)
        for method in (aime, bco, bc):
            method.evaluation.random_return = random_return
        results[f"aime{suffix}"] = stages.run(f"aime{suffix}", imitate.run, aime)
        results[f"bco{suffix}"] = stages.run(f"bco{suffix}", baseline.run, bco)
        results[f"bc{suffix}"] = stages.run(f"bc{suffix}", baseline.run, bc)
    return results


def demonstrations(config, stages: Stages, with_actions: bool):
    """Config of the episodes that the expert shows."""
    return changed(
        collect_config.get_config("demonstrations"),
        seed=config.expert.seed,
        num_envs=config.expert.num_envs,
        source=str(stages.path("expert")),
        num_episodes=config.num_demonstrations,
        sample=config.sample_demonstrations,
        with_actions=with_actions,
    )


def learn_body(config, stages: Stages, body: Path, demonstrations: str = "") -> dict:
    """Pretrains the world model; with a folder of demonstrations, on what looks like them."""
    pretraining = changed(
        config.pretrain, setup=config.setup, num_seeds=config.num_seeds, embodiment=str(body)
    )
    pretraining.relevance.demonstrations = demonstrations
    return stages.run("pretrain", pretrain.run, pretraining)


def embodiment_data(config, stages: Stages) -> tuple[Path, float]:
    """Collects what the world model learns from; returns the folder, and the return of the random policy."""
    random = stages.run("random", collect.run, changed(config.random, env=config.env))
    sources = [stages.path("random")]
    for name, body in config.body.items():
        stages.run(name, collect.run, body if body.method == "sac" else changed(body, env=config.env))
        sources.append(stages.path(name))
    mix = changed(collect_config.get_config("mix"), sources=tuple(str(path) for path in sources))
    stages.run("embodiment", collect.run, mix)
    return stages.path("embodiment") / "episodes", random["return_mean"]


def demonstration_counts(config) -> dict[str, int]:
    """{suffix of the stage: number of demonstrations}."""
    counts = {"": config.num_demonstrations}
    if config.few_demonstrations:
        counts[f"-{config.few_demonstrations}"] = config.few_demonstrations
    return counts


def changed(config, **changes):
    """A copy of a config with some keys changed; the keys must exist."""
    config = config.copy_and_resolve_references()
    config.update(changes)
    return config


def main() -> None:
    """Command line."""
    launch(run, default_config="demo", default_workdir="runs/demo")


if __name__ == "__main__":
    main()
