"""Online imitation, from nothing to a report: AIME-v2 learns a task of which its body's data hold nothing.

    python -m experiments demo_online --workdir=runs/demo-online

Scripted experts of *other* tasks, more or less noisy, give the embodiment data; the expert of the task shows it without
actions. Offline AIME imitates with the model of the other tasks. AIME-v2 goes on learning in the environment, with each
surrogate reward, without a reward, and without the regulariser. Every stage is a run of its own in WORKDIR, by the
mains of this package; what is done already is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from experiments.configs import collect as collect_config
from experiments.data.scripted import environments_of
from experiments.methods import collect, imitate, online, pretrain
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.studies import demo_online_report
from experiments.studies.demo import Stages, changed


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs all stages and writes the report.

    Returns:
      {"table": Markdown, "success": {method: mean success of the final evaluations}, "seconds": {stage: seconds}}.
    """
    allowed = (*FREE_TO_CHANGE, "video", "title", "num_seeds")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        summary = directory.result or run_everything(config, directory)
        print(summary["table"], flush=True)
        print(f"Report: {directory / 'report.html'}", flush=True)
        return summary


def run_everything(config, directory: RunDirectory) -> dict:
    """All stages and the report, in an opened directory."""
    stages = Stages(directory.path)
    results = run_stages(config, stages)
    with stages.timed("report"):
        summary = demo_online_report.write(config, directory.path, results, stages.seconds)
    return directory.mark_done(summary)


def run_stages(config, stages: Stages) -> dict[str, dict]:
    """Every stage but the report: {stage: what its main returned}."""
    shown = environments_of(config.task)
    others = environments_of(config.body.tasks)
    if set(shown) & set(others) and not config.body_may_hold_task:
        raise ValueError(
            f"The embodiment data must be of other tasks than {config.task!r}; it is among body.tasks."
        )
    results = {"embodiment": stages.run("embodiment", collect.run, config.body)}
    for name, with_actions in (("demonstrations", False), ("oracle", True)):
        results[name] = stages.run(name, collect.run, demonstrations(config, with_actions))
    body, observed = (str(stages.path(name) / "episodes") for name in ("embodiment", "demonstrations"))
    model = changed(config.pretrain, embodiment=body, setup=config.setup)
    reward_model = changed(config.reward_model, embodiment=observed, setup=config.setup)
    with stages.beside("reward-model", pretrain.run, reward_model) as wait_for_reward_model:
        results["pretrain"] = stages.run("pretrain", pretrain.run, model)
        results["reward-model"] = wait_for_reward_model()
    for pair in pairs(list(methods(config, stages))):
        results |= run_together(stages, pair)
    return results


def methods(config, stages: Stages) -> Iterator[tuple[str, Callable, object]]:
    """(stage, main, config) of every method and seed."""
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
    """Config of the successful episodes that the expert shows; the same ones with and without actions."""
    return changed(
        collect_config.get_config("scripted-demonstrations"),
        tasks=config.task,
        seed=config.body.seed + 1,
        num_episodes=config.num_demonstrations,
        with_actions=with_actions,
        workers=0,
    )


def pairs(items: list) -> Iterator[list]:
    """Two at a time, for two cores."""
    for start in range(0, len(items), 2):
        yield items[start : start + 2]


def run_together(stages: Stages, pair: list[tuple[str, Callable, object]]) -> dict[str, dict]:
    """One method in a process of its own and one in this; {stage: result}."""
    if len(pair) == 1 or all((stages.path(name) / "DONE").is_file() for name, *_ in pair):
        return {name: stages.run(name, main, config) for name, main, config in pair}
    (beside, main, config), here = pair
    with stages.beside(beside, main, config) as wait:
        result = stages.run(*here)
        return {here[0]: result, beside: wait()}
