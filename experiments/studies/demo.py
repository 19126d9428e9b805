"""The main job: a robot imitates what it has only seen, from nothing to a report.

    python -m experiments demo --workdir=runs/demo

An expert is trained with SAC and shows what it does, without its actions. Embodiment data come from elsewhere. A
world model learns the body from them; AIME infers the expert's actions and a policy with it. BCO(0) gets the same
data, BC also the true actions (an oracle). Every stage is a run of its own in WORKDIR, by the mains of this package;
what is done already is not done again.
"""

from __future__ import annotations

from pathlib import Path

from experiments.analysis import published_results
from experiments.configs import collect as collect_config
from experiments.methods import baseline, collect, imitate, pretrain
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.stages import Stages, changed
from experiments.studies import demo_report
from experiments.studies.demo_report import demonstration_counts


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs all stages and writes the report.

    Returns:
      {"aime": mean return in % of the expert, "bco": ..., "report": path, "seconds": {stage: seconds}}.
    """
    published_results.check_dataset(config.published_data)
    if config.relevance and config.few_demonstrations:
        raise ValueError(
            "With relevance=True the world model is told of all demonstrations, so that few of them would not be few; "
            "set few_demonstrations=0."
        )
    # Only the last training may go on: a world model that did would not be the one that finished stages have used.
    allow = (*FREE_TO_CHANGE, "imitate.num_updates", "video", "title")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allow) as directory:
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
        **config.images,
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
    flailing = dict(env=config.env, **config.images)
    random = stages.run("random", collect.run, changed(config.random, **flailing))
    sources = [stages.path("random")]
    for name, body in config.body.items():
        stages.run(name, collect.run, body if body.method == "sac" else changed(body, **flailing))
        sources.append(stages.path(name))
    mix = changed(collect_config.get_config("mix"), sources=tuple(str(path) for path in sources))
    stages.run("embodiment", collect.run, mix)
    return stages.path("embodiment") / "episodes", random["return_mean"]
