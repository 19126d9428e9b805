"""AIME against every baseline that the data allow: one table, one figure, one page.

    python -m experiments compare --config=compare:small --config.embodiment=DIR \\
        --config.demonstrations=DIR --workdir=DIR

Every method is a run of its own in WORKDIR, by the main of this package that trains it; what is done already is not
done again, so that methods can be added later. Writes tables/results, figures/comparison and report.html.
"""

from __future__ import annotations

import dataclasses
import functools

from experiments.analysis import published_results, report
from experiments.analysis.labels import label
from experiments.analysis.scores import Results, cells_of, scores_of
from experiments.configs import baseline as baseline_config
from experiments.configs import surrogate as surrogate_config
from experiments.data.demonstrations import Demonstrations
from experiments.envs.sensors import observation_setup
from experiments.methods import baseline, imitate, pretrain, surrogate
from experiments.methods.baseline import BASELINES
from experiments.methods.baseline_data import has_actions
from experiments.runs.directory import RunDirectory
from experiments.runs.method import Method
from experiments.runs.paths import folders_of
from experiments.runs.stages import Stages, changed, run_study
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.registry import Registry


class AIME(Method):
    """AIME, whose world model is pretrained here."""

    command = "imitate"
    label = label("aime")
    needs = ("world model",)


MAINS = {"imitate": imitate.run, "baseline": baseline.run, "surrogate": surrogate.run}
CONFIGS = {"baseline": baseline_config, "surrogate": surrogate_config}
METHODS = Registry(
    "method", {"aime": AIME, **dict(surrogate.METHODS.items()), **dict(BASELINES.items())}, base=Method
)
OF_THE_BODY = {"embodiment", "world model", "two episodes"}  # needs that embodiment data meet


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs the methods and writes the report.

    Returns:
      {"returns": {method: `[num_seeds][episodes]`}, "expert": mean return, "left_out": {method: why},
      "table": Markdown, "labels": {method: name in the table}, "seconds": {stage: seconds}}.
    """
    published_results.check_dataset(config.published_data)
    # Only the last training may continue: finished stages have used the world model as it is.
    allow = ("aime.num_updates", "title", "methods", "published_data", "random_return")
    return run_study(compare, config, workdir, fresh=fresh, allow_changes=allow)


def compare(config, directory: RunDirectory) -> dict:
    """Runs all stages and writes the report, in an opened directory."""
    if not config.demonstrations:
        raise ValueError("A comparison needs a folder of episodes; pass --config.demonstrations=DIR.")
    for chosen in () if config.embodiment else map(METHODS.choose, config.methods):
        if OF_THE_BODY.intersection(chosen.needs):
            raise ValueError(
                f"{chosen.label} needs embodiment data; pass --config.embodiment=DIR, or leave it out of "
                "--config.methods."
            )
    shown, body = read_data(config)
    env_name, episodes = shown.arena.name, shown.episodes
    if unit := unit_of(shown.expert, config.random_return):
        print(unit, flush=True)
    methods, left_out = applicable(config, env_name, episodes, body)
    for method, why in left_out.items():
        print(f"Without {METHODS.choose(method).label}: {why}", flush=True)
    if config.published_data and not published_results.cells_of(
        env_name, config.published_data, config.setup
    ):
        print(
            f"Without published numbers: there are none for {config.published_data!r} data, {env_name!r}, set-up "
            f"{config.setup!r}.",
            flush=True,
        )
    stages = Stages(directory.path)
    results = run_methods(config, stages, methods)
    with stages.timed("report"):
        report.write(
            scores(config, stages, env_name, methods, len(episodes)),
            directory.path,
            title=config.title or f"{env_name}, {config.setup}, {len(episodes)} demonstrations",
            lead=" ".join(
                [unit, *(f"Without {METHODS.choose(name).label}: {why}" for name, why in left_out.items())]
            ),
            seconds=stages.seconds,
            settings=directory.path,
        )
    table = (directory / "tables" / "results.md").read_text()
    returns = {method: result["return"] for method, result in results.items()}
    summary = {"returns": returns, "expert": shown.expert, "left_out": left_out, "table": table}
    summary["labels"] = {method: METHODS.choose(method).label for method in results}
    return directory.mark_done(summary | {"seconds": stages.seconds})


def unit_of(expert: float | None, random: float | None) -> str:
    """Says what scores are in where they are not in % of the expert."""
    if expert is None:
        return "Scores are plain returns: the demonstrations record no rewards."
    if expert > 0:
        return ""
    if random is not None and expert > random:
        return f"The expert's return, {expert:.1f}, is not above 0: 0% is the random policy, 100% the expert."
    return (
        f"Scores are plain returns: the expert's, {expert:.1f}, is not above 0; with a lower one of the random policy, "
        "--config.random_return, they are normalised between the two."
    )


def read_data(config) -> tuple[Demonstrations, list[Episode]]:
    """Reads the demonstrations and up to two episodes of the embodiment data, if there are any, as the set-up does.

    Raises:
      ValueError: episodes lack a sensor of the set-up.
    """

    def sensors(name: str, env_name: str, first: Episode) -> list[str]:
        inputs = observation_setup(env_name, config.setup).inputs
        missing = [sensor for sensor in inputs if sensor not in first.records]
        if missing:
            raise ValueError(
                f"The episodes in {config[name]} lack {', '.join(missing)}, which set-up {config.setup!r} of "
                f"{env_name!r} needs; they have {', '.join(first.sensors)}. Use others for --config.{name}, or "
                "another set-up."
            )
        return list(inputs)

    choose = functools.partial(sensors, "demonstrations")
    options = dict(env=config.env, sensors=choose)
    shown = Demonstrations.read(config.demonstrations, config.num_demonstrations, **options)
    folders = folders_of(config.embodiment)
    if not folders:
        return shown, []
    (first,) = load_episodes(folders, limit=1, images_on_disk=True)
    keys = (*sensors("embodiment", shown.arena.name, first), "pre_action")
    return shown, load_episodes(folders, limit=2, keys=keys, images_on_disk=True)


def applicable(
    config, env_name: str, episodes: list[Episode], body: list[Episode]
) -> tuple[list[str], dict[str, str]]:
    """Returns the methods that these data allow, in the config's order, and {method that they do not: why}.

    Args:
      episodes: the demonstrations.
      body: two episodes of the embodiment data, or the only one; [] where no method needs them.

    Raises:
      ValueError: an unknown method.
    """
    inputs = observation_setup(env_name, config.setup).inputs
    records = episodes[0].records
    reasons = {}
    if min(len(episodes), len(body), config.bco_alpha.num_embodiment or 2) < 2:
        reasons["two episodes"] = (
            "it validates on whole episodes and needs two demonstrations and two episodes of embodiment data."
        )
    if not has_actions(body):
        reasons["embodiment"] = reasons["world model"] = "the embodiment data have no actions."
    if not has_actions(episodes):
        reasons["actions"] = "the demonstrations have no actions."
    if any(records[name].ndim != 2 for name in inputs if name in records):
        reasons["vectors"] = f"set-up {config.setup!r} reads images, and it learns from vectors."
    found = {
        method: [why for need, why in reasons.items() if need in METHODS.choose(method).needs]
        for method in config.methods
    }
    left_out = {method: why[0] for method, why in found.items() if why}
    return [method for method in config.methods if method not in left_out], left_out


def run_methods(config, stages: Stages, methods: list[str]) -> dict[str, dict]:
    """Returns {method: result of its main}; the world model is pretrained once for the methods that use it."""
    if any("world model" in METHODS.choose(method).needs for method in methods):
        stages.run("pretrain", pretrain.run, pretraining(config))
    return {
        method: stages.run(
            stage_of(method), MAINS[METHODS.choose(method).command], method_config(config, stages, method)
        )
        for method in methods
    }


def stage_of(method: str) -> str:
    """Returns the name of a method's stage."""
    return method.replace(":", ".")


def pretraining(config):
    """Returns the config of the world model's stage."""
    pretrained = changed(
        config.pretrain,
        embodiment=config.embodiment,
        env=config.env,
        setup=config.setup,
        seed=config.seed,
        num_seeds=config.num_seeds,
    )
    if config.relevance:
        # Those that the methods see, and no others.
        pretrained.relevance.demonstrations = config.demonstrations
        pretrained.relevance.num_demonstrations = config.num_demonstrations
    return pretrained


def method_config(config, stages: Stages, method: str):
    """Returns the config of a method's stage: its own section, and what all methods share."""
    chosen, section = METHODS.choose(method), config.get(method)
    if section is None:  # of the user's own
        section = CONFIGS[chosen.command].get_config(f"{method}{config.suffix}")
    names = ("demonstrations", "num_demonstrations", "env", "seed", "num_seeds")
    shared = {name: config[name] for name in names}
    if "world model" in chosen.needs:
        shared["model"] = str(stages.path("pretrain"))
    else:
        shared |= {"setup": config.setup, "embodiment": config.embodiment}
    return changed(section, **shared)


def scores(config, stages: Stages, env_name: str, methods: list[str], num_demonstrations: int) -> Results:
    """Reads the scores of all methods from their stages."""
    labels = dict(task=env_name, env=env_name, setup=config.setup, dataset=config.published_data)
    labels |= dict(seed=str(config.seed), demonstrations=str(num_demonstrations))
    runs = [scores_of(stages.path(stage_of(method)), labels | {"method": method}) for method in methods]
    return Results(cells_of([dataclasses.replace(run, random=config.random_return) for run in runs]), {})
