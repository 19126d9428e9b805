"""The main job: a robot imitates what it has seen without actions, from nothing to a report.

    python -m experiments demo --workdir=runs/demo

An expert is trained with SAC and shows what it does, without its actions. Embodiment data come from elsewhere. A
world model learns the body from them; AIME infers the expert's actions and a policy with it. BCO(0) gets the same
data, BC also the true actions (an oracle). Every stage is a run of its own in WORKDIR, by the mains of this package;
what is done already is not done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from experiments.analysis import published_results, report
from experiments.analysis.labels import label
from experiments.analysis.page import MediaSection
from experiments.analysis.scores import Results, cells_of, scores_of
from experiments.configs import collect as collect_config
from experiments.envs.sensors import SETUPS
from experiments.methods import baseline, collect, imitate, pretrain
from experiments.runs.directory import RunDirectory
from experiments.runs.stages import Stages, changed, run_study
from experiments.studies import demo_first
from experiments.studies.side_by_side import side_by_side
from worldmodels.data.episodes import load_episodes

METHODS = ("aime", "bco", "bc")
# How embodiment data are collected: what that is.
BODIES = {
    "uniform": "uniform noise",
    "coloured": "noise that is correlated in time",
    "rhythmic": "rhythms by chance: all joints swing with one period, and a new rhythm begins from time to time",
    "sac": "all that agents did while they learnt another task",
}


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs all stages and writes the report.

    Returns:
      {"table": Markdown, "return": {stage: mean return}, "seconds": {stage: seconds}}.
    """
    published_results.check_dataset(config.published_data)
    if config.relevance and config.few_demonstrations:
        raise ValueError(
            "With relevance=True the world model sees all demonstrations, so that few of them would not be few; "
            "set few_demonstrations=0."
        )
    # Only the last training may continue: finished stages have used the world model as it is.
    allow = ("imitate.num_updates", "video", "title")
    everything = demo_first.run_everything if config.bundle else run_everything
    return run_study(everything, config, workdir, fresh=fresh, allow_changes=allow)


def run_everything(config, directory: RunDirectory) -> dict:
    """Runs all stages and writes the report, in an opened directory."""
    stages = Stages(directory.path)
    results = run_stages(config, stages)
    with stages.timed("report"):
        table = write_report(config, directory.path, stages, results)
    means = {stage: result["return_mean"] for stage, result in results.items() if "return_mean" in result}
    return directory.mark_done({"table": table, "return": means, "seconds": stages.seconds})


def run_stages(config, stages: Stages) -> dict[str, dict]:
    """Runs every stage but the report; returns {stage: result of its main}."""
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

    runs = imitators(config, stages, body, observed, oracle, random_return)
    few = f"aime-{config.few_demonstrations}"
    # The two that take minutes train beside one another, on two cores.
    with stages.beside(few, *runs.pop(few)) if few in runs else contextlib.nullcontext() as wait_for_few:
        for name, (main, of_stage) in runs.items():
            results[name] = stages.run(name, main, of_stage)
        if wait_for_few:
            results[few] = wait_for_few()
    return results


def imitators(
    config, stages: Stages, body: Path, observed: str, oracle: str, random_return: float
) -> dict[str, tuple[Callable, ml_collections.ConfigDict]]:
    """Returns {stage: (main, config)} of all methods, with all demonstrations and with few.

    Args:
      body: folder of the embodiment data. observed, oracle: of the demonstrations, without and with actions.
      random_return: mean return of the random policy.
    """
    runs: dict[str, tuple[Callable, ml_collections.ConfigDict]] = {}
    for suffix, number in demonstration_counts(config).items():
        counts = dict(num_seeds=config.num_seeds, num_demonstrations=number)
        aime = changed(config.imitate, model=str(stages.path("pretrain")), demonstrations=observed, **counts)
        bco = changed(config.bco, setup=config.setup, embodiment=str(body), demonstrations=observed, **counts)
        bc = changed(config.bc, setup=config.setup, demonstrations=oracle, **counts)
        for name, main, method in (
            ("aime", imitate.run, aime),
            ("bco", baseline.run, bco),
            ("bc", baseline.run, bc),
        ):
            method.evaluation.random_return = random_return
            runs[name + suffix] = (main, method)
    return runs


def demonstrations(config, stages: Stages, with_actions: bool):
    """Returns the config of the episodes that the expert shows."""
    return changed(
        collect_config.get_config("demonstrations"),
        seed=config.expert.seed,
        num_envs=config.expert.num_envs,
        source=str(stages.path("expert")),
        num_episodes=config.num_demonstrations,
        sample=config.sample_demonstrations,
        with_actions=with_actions,
        **config.images,
    )


def learn_body(config, stages: Stages, body: Path, demonstrations: str = "") -> dict:
    """Pretrains the world model; with a folder of demonstrations, on what looks like them."""
    num_models = config.num_seeds * config.imitate.ensemble
    pretraining = changed(config.pretrain, setup=config.setup, num_seeds=num_models, embodiment=str(body))
    pretraining.relevance.demonstrations = demonstrations
    return stages.run("pretrain", pretrain.run, pretraining)


def embodiment_data(config, stages: Stages) -> tuple[Path, float]:
    """Collects what the world model learns from; returns the folder, and the return of the random policy."""
    flailing = dict(env=config.env, **config.images)
    random = stages.run("random", collect.run, changed(config.random, **flailing))
    sources = [stages.path("random")]
    for name, body in config.body.items():
        stages.run(name, collect.run, body if body.method == "sac" else changed(body, **flailing))
        sources.append(stages.path(name))
    mix = changed(collect_config.get_config("mix"), sources=tuple(str(path) for path in sources))
    stages.run("embodiment", collect.run, mix)
    return stages.path("embodiment") / "episodes", random["return_mean"]


def demonstration_counts(config) -> dict[str, int]:
    """Returns {suffix of the stages: number of demonstrations}."""
    counts = {"": config.num_demonstrations}
    if config.few_demonstrations:
        counts[f"-{config.few_demonstrations}"] = config.few_demonstrations
    return counts


def write_report(config, workdir: Path, stages: Stages, results: Mapping[str, dict]) -> str:
    """Writes tables, figures, the video and report.html from what the stages left on disk; returns the table."""
    expert = load_episodes(stages.path("oracle") / "episodes")
    random = load_episodes(stages.path("random") / "episodes", keys=())
    imitators = []
    for stage in ("aime", "bco"):
        by_seed = results[stage]["return_by_seed"]
        median = int(np.argsort(by_seed)[len(by_seed) // 2])
        which = " (median seed)" if len(by_seed) > 1 else ""
        imitators.append((f"{label(stage)}{which}", stages.path(stage), median))
    report.write(
        scores(config, stages, [e.return_ for e in random], [e.return_ for e in expert]),
        workdir,
        title=config.title,
        lead=lead(config),
        extra=[
            side_by_side(config.video, workdir, config.env, expert[0], imitators),
            foreseen(stages),
        ],
        seconds=stages.seconds,
        settings=workdir,
    )
    return (workdir / "tables" / "results.md").read_text()


def lead(config) -> str:
    """Says what the methods were given, and what the words on the page mean."""
    bodies = (
        f"{name} ({BODIES[body.method]})" for name, body in {"random": config.random, **config.body}.items()
    )
    members, together = config.imitate.ensemble, ""
    seeds = f" {config.num_seeds} seeds, trained in one program." if config.num_seeds > 1 else ""
    if members > 1:
        together = (
            f" Each {label('aime')} agent is an ensemble: {members} policies, each with a world model of its own, that "
            "act by the mean of their actions."
        )
    return (
        f"{config.env}: {label('aime')} and {label('bco')} have watched {config.num_demonstrations} demonstrations "
        f"without actions, and know the body from other data, {' and '.join(bodies)}. {label('bc')} is behaviour "
        f"cloning with the expert's true actions, which nobody else is shown. Set-up {config.setup}: "
        f"{SETUPS[config.setup]}.{seeds}{together}"
    )


def scores(config, stages: Stages, random: list[float], expert: list[float]) -> Results:
    """Reads the scores of all methods, with all demonstrations and with few."""
    runs = []
    for suffix, number in demonstration_counts(config).items():
        shared = dict(task=config.env, env=config.env, setup=config.setup, demonstrations=str(number))
        shared["dataset"] = config.published_data
        shared["variant"] = suffix and f"{number} demonstration{'s' * (number != 1)}"
        for method in METHODS:
            runs.append(scores_of(stages.path(method + suffix), shared | {"method": method}))
    return Results(cells_of(runs), {config.env: random}, expert={config.env: expert})


def foreseen(stages: Stages) -> MediaSection:
    """Shows the figure of the pretrained world model."""
    return MediaSection(
        "What the world model foresees",
        stages.path("pretrain") / "figures" / "open_loop.png",
        alt="Truth and open-loop prediction per dimension",
        caption="Truth and prediction of the first world model; the shaded records were shown to it.",
    )
