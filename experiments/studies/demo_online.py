"""Online imitation, from nothing to a report: AIME-v2 learns a task that its body's data do not contain.

    python -m experiments demo_online --workdir=runs/demo-online

Scripted experts of *other* tasks, more or less noisy, give the embodiment data; the expert of the task shows it without
actions. Offline AIME imitates with the model of the other tasks. AIME-v2 continues to learn in the environment, with
each surrogate reward, without a reward, and without the regulariser. Every stage is a run of its own in WORKDIR, by the
mains of this package; what is done already is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from agents.loop import episode_summary
from experiments.analysis import report
from experiments.analysis.page import TextSection
from experiments.analysis.scores import Cell, Results, cells_of, scores_of
from experiments.configs import collect as collect_config
from experiments.data.evaluation import SUCCESS_RULES
from experiments.data.scripted import environments_of
from experiments.methods import collect, imitate, online, pretrain
from experiments.runs.directory import RunDirectory
from experiments.runs.stages import Stages, changed, run_study
from experiments.studies.demo import foreseen
from experiments.studies.side_by_side import side_by_side
from worldmodels.data.episodes import load_episodes

DATA = {"embodiment": "Embodiment data", "demonstrations": "Demonstrations"}


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs all stages and writes the report.

    Returns:
      {"table": Markdown, "success": {method: mean success of the final evaluations}, "seconds": {stage: seconds}}.
    """
    allow = ("video", "title", "num_seeds")
    return run_study(run_everything, config, workdir, fresh=fresh, allow_changes=allow)


def run_everything(config, directory: RunDirectory) -> dict:
    """Runs all stages and writes the report, in an opened directory."""
    stages = Stages(directory.path)
    run_stages(config, stages)
    with stages.timed("report"):
        found = scores(config, stages)
        table = write_report(config, directory.path, stages, found)
    success = {cell.name: mean_success(cell) for cell in found.cells}
    return directory.mark_done({"table": table, "success": success, "seconds": stages.seconds})


def run_stages(config, stages: Stages) -> None:
    """Runs every stage but the report."""
    shown = environments_of(config.task)
    others = environments_of(config.body.tasks)
    if set(shown) & set(others) and not config.body_may_hold_task:
        raise ValueError(
            f"The embodiment data must be of other tasks than {config.task!r}; it is among body.tasks."
        )
    stages.run("embodiment", collect.run, config.body)
    for name, with_actions in (("demonstrations", False), ("oracle", True)):
        stages.run(name, collect.run, demonstrations(config, with_actions))
    body, observed = (str(stages.path(name) / "episodes") for name in ("embodiment", "demonstrations"))
    model = changed(config.pretrain, embodiment=body, setup=config.setup)
    reward_model = changed(config.reward_model, embodiment=observed, setup=config.setup)
    with stages.beside("reward-model", pretrain.run, reward_model) as wait_for_reward_model:
        stages.run("pretrain", pretrain.run, model)
        wait_for_reward_model()
    for pair in pairs(list(methods(config, stages))):
        run_together(stages, pair)


def methods(config, stages: Stages) -> Iterator[tuple[str, Callable, object]]:
    """Yields (stage, main, config) of every method and seed."""
    model, reward_model = str(stages.path("pretrain")), str(stages.path("reward-model"))
    body, observed = (str(stages.path(name) / "episodes") for name in ("embodiment", "demonstrations"))
    oracle = str(stages.path("oracle") / "episodes")
    for seed in range(config.num_seeds):
        common = dict(seed=seed, model=model, demonstrations=observed)
        for name, variant in config.variants.items():
            run_config = changed(config.online, embodiment=body, **common)
            run_config.reward.model = reward_model
            run_config.analysis.demonstrations = oracle
            run_config.update(variant.to_dict())
            yield f"{name}-{seed}", online.run, run_config
        yield f"aime-{seed}", imitate.run, changed(config.imitate, **common)


def demonstrations(config, with_actions: bool):
    """Returns the config of the successful episodes that the expert shows, with or without actions."""
    return changed(
        collect_config.get_config("scripted-demonstrations"),
        tasks=config.task,
        seed=config.body.seed + 1,
        num_episodes=config.num_demonstrations,
        with_actions=with_actions,
        workers=0,
    )


def pairs(items: list) -> Iterator[list]:
    """Yields two at a time, for two cores."""
    for start in range(0, len(items), 2):
        yield items[start : start + 2]


def run_together(stages: Stages, pair: list[tuple[str, Callable, object]]) -> None:
    """Runs one method in a process of its own and one in this."""
    if len(pair) == 1 or all((stages.path(name) / "DONE").is_file() for name, *_ in pair):
        for stage in pair:
            stages.run(*stage)
        return
    with stages.beside(*pair[0]) as wait:
        stages.run(*pair[1])
        wait()


def scores(config, stages: Stages) -> Results:
    """Reads the final evaluations of all methods and seeds; the expert is what the demonstrations show."""
    (env_name,) = environments_of(config.task)
    shared = dict(
        task=config.task, env=env_name, setup=config.setup, demonstrations=str(config.num_demonstrations)
    )
    methods = {"aime": "aime"} | {stage: f"aime-v2-{stage}" for stage in config.variants}
    runs = [
        scores_of(stages.path(f"{stage}-{seed}"), shared | {"method": method, "seed": str(seed)})
        for stage, method in methods.items()
        for seed in range(config.num_seeds)
    ]
    shown = load_episodes(stages.path("demonstrations") / "episodes", keys=())
    return Results(cells_of(runs), {}, expert={config.task: [episode.return_ for episode in shown]})


def mean_success(cell: Cell) -> float:
    """Returns the share of the episodes of all seeds with success at any step."""
    rates = cell.success("any")
    assert rates is not None, "the tasks of this demo define success"
    return float(np.mean(rates))


def write_report(config, workdir: Path, stages: Stages, found: Results) -> str:
    """Writes tables, figures, the video and report.html; returns the tables."""
    offline, *learnt = found.cells
    imitators = [(cell.name, cell.runs[0].path, 0) for cell in (offline, max(learnt, key=mean_success))]
    (demonstration,) = load_episodes(stages.path("oracle") / "episodes", limit=1)
    report.write(
        found,
        workdir,
        title=config.title,
        lead=(
            f"A robot that knows other tasks only ({config.body.tasks}) imitates {config.task} from "
            f"{config.num_demonstrations} demonstrations without actions. Offline AIME knows no more than that; "
            "AIME-v2 continues to learn in the environment, and sees neither its reward nor success."
        ),
        extra=[
            TextSection("What there was to learn from", [data_text(stages, name) for name in DATA]),
            side_by_side(config.video, workdir, offline.env, demonstration, imitators),
            foreseen(stages),
        ],
        seconds=stages.seconds,
        settings=workdir,
    )
    return "\n".join((workdir / "tables" / f"{name}.md").read_text() for name in ("success", "results"))


def data_text(stages: Stages, name: str) -> str:
    """Says how many episodes a stage has collected, and how many of them succeed in their own task."""
    summaries = [episode_summary(each) for each in load_episodes(stages.path(name) / "episodes", keys=())]
    rates = {rule: 100 * np.mean([found[f"success_{rule}"] for found in summaries]) for rule in SUCCESS_RULES}
    listed = ", ".join(f"{rule} {rate:.0f}%" for rule, rate in rates.items())
    mean = np.mean([found["return"] for found in summaries])
    return f"{DATA[name]}: {len(summaries)} episodes, mean return {mean:.0f}, success in their own tasks: {listed}."
