"""AIME against every baseline that the data allow: one table, one figure, one page.

    python -m experiments compare --config=compare:small --config.embodiment=DIR \\
        --config.demonstrations=DIR --workdir=DIR

Every method is a run of its own in WORKDIR, by the main of this package that trains it; what is done already is not
done again, so that methods can be added later. Writes tables/results, figures/comparison and report.html.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from experiments.analysis import published_results, report
from experiments.analysis.labels import label
from experiments.analysis.scores import Results, cells_of, read_scores
from experiments.configs import baseline as baseline_config
from experiments.data.evaluation import environment_of, expert_return
from experiments.envs.sensors import observation_setup
from experiments.methods import baseline, imitate, pretrain, surrogate
from experiments.methods.baseline import BASELINES
from experiments.methods.baseline_recipes import has_actions
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.stages import Stages, changed
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.registry import Registry


@dataclasses.dataclass(frozen=True)
class Method:
    """A method that can be compared.

    Attributes:
      label: in table and figure.
      needs: as of `Baseline`, and "vectors": no images.
      run: the main that trains it.
    """

    label: str
    needs: Sequence[str]
    run: Callable


METHODS = Registry(
    "method",
    {
        "aime": Method(label("aime"), ("world model",), imitate.run),
        "gaifo": Method(label("gaifo"), ("vectors",), surrogate.run),
        "ot": Method(label("ot"), ("vectors",), surrogate.run),
        **{name: Method(part.label, part.needs, baseline.run) for name, part in BASELINES.items()},
    },
)


def method_of(name: str) -> Method:
    """Returns a method by its name in `config.methods`, that of the project or of a baseline of the user's own."""
    if ":" not in name:
        return METHODS.get(name)
    own = BASELINES.choose(name)
    return Method(own.label, own.needs, baseline.run)


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Runs the methods and writes the report.

    Returns:
      {"returns": {method: `[num_seeds][episodes]`}, "expert": mean return, "left_out": {method: why},
      "table": Markdown, "labels": {method: name in the table}, "seconds": {stage: seconds}}.
    """
    published_results.check_dataset(config.published_data)
    # Only the last training may continue: finished stages have used the world model as it is.
    allow = (*FREE_TO_CHANGE, "aime.num_updates", "title", "methods", "published_data", "random_return")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allow) as directory:
        summary = directory.result or compare(config, directory)
        print(summary["table"], flush=True)
        print(f"Report: {directory / 'report.html'}", flush=True)
        return summary


def compare(config, directory: RunDirectory) -> dict:
    """Runs all stages and writes the report, in an opened directory."""
    for name in ("embodiment", "demonstrations"):
        if not config[name]:
            raise ValueError(f"A comparison needs a folder of episodes; pass --config.{name}=DIR.")
    env_name, episodes, body = read_data(config)
    expert = expert_return(load_episodes(config.demonstrations, keys=()))  # of all, as the stages have it
    if expert is None or expert <= 0:
        raise ValueError(
            f"Scores are in % of the expert, and the demonstrations in {config.demonstrations} record no "
            "return above 0; use episodes with rewards."
        )
    methods, left_out = applicable(config, env_name, episodes, body)
    for method, why in left_out.items():
        print(f"Without {method_of(method).label}: {why}", flush=True)
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
            lead=" ".join(f"Without {method_of(method).label}: {why}" for method, why in left_out.items()),
            seconds=stages.seconds,
            settings=directory.path,
        )
    table = (directory / "tables" / "results.md").read_text()
    returns = {method: result["return"] for method, result in results.items()}
    summary = {"returns": returns, "expert": expert, "left_out": left_out, "table": table}
    summary["labels"] = {method: method_of(method).label for method in results}
    return directory.mark_done(summary | {"seconds": stages.seconds})


def read_data(config) -> tuple[str, list[Episode], list[Episode]]:
    """Reads (environment, demonstrations, up to two episodes of the embodiment data), as far as the set-up does.

    Raises:
      ValueError: episodes lack a sensor of the set-up.
    """
    first = load_episodes(config.demonstrations, limit=1, images_on_disk=True)
    env_name, _ = environment_of(config.env, first)
    inputs = observation_setup(env_name, config.setup).inputs
    body = load_episodes(config.embodiment, limit=1, images_on_disk=True)
    for name, some in (("demonstrations", first), ("embodiment", body)):
        missing = [sensor for sensor in inputs if sensor not in some[0].records]
        if missing:
            raise ValueError(
                f"The episodes in {config[name]} lack {', '.join(missing)}, which set-up {config.setup!r} of "
                f"{env_name!r} needs; they have {', '.join(some[0].sensors)}. Use others for --config.{name}, or "
                "another set-up."
            )
    options = dict(keys=(*inputs, "pre_action"), images_on_disk=True)
    episodes = load_episodes(config.demonstrations, limit=config.num_demonstrations, **options)
    return env_name, episodes, load_episodes(config.embodiment, limit=2, **options)


def applicable(
    config, env_name: str, episodes: list[Episode], body: list[Episode]
) -> tuple[list[str], dict[str, str]]:
    """Returns the methods that these data allow, in the config's order, and {method that they do not: why}.

    Args:
      episodes: the demonstrations.
      body: two episodes of the embodiment data, or the only one.

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
        method: [why for need, why in reasons.items() if need in method_of(method).needs]
        for method in config.methods
    }
    left_out = {method: why[0] for method, why in found.items() if why}
    return [method for method in config.methods if method not in left_out], left_out


def run_methods(config, stages: Stages, methods: list[str]) -> dict[str, dict]:
    """Returns {method: result of its main}; the world model is pretrained once for the methods that use it."""
    if any("world model" in method_of(method).needs for method in methods):
        stages.run("pretrain", pretrain.run, pretraining(config))
    return {
        method: stages.run(stage_of(method), method_of(method).run, method_config(config, stages, method))
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
    shared = dict(
        demonstrations=config.demonstrations,
        num_demonstrations=config.num_demonstrations,
        env=config.env,
        seed=config.seed,
        num_seeds=config.num_seeds,
    )
    if "world model" in method_of(method).needs:
        shared["model"] = str(stages.path("pretrain"))
    else:
        shared |= {"setup": config.setup, "embodiment": config.embodiment}
    own = ":" in method
    section = baseline_config.get_config(f"{method}{config.suffix}") if own else config[method]
    return changed(section, **shared)


def scores(config, stages: Stages, env_name: str, methods: list[str], num_demonstrations: int) -> Results:
    """Reads the scores of all methods from their stages."""
    labels = dict(task=env_name, env=env_name, setup=config.setup, dataset=config.published_data)
    labels |= dict(seed=str(config.seed), demonstrations=str(num_demonstrations))
    runs = [read_scores(stages.path(stage_of(method)), labels | {"method": method}) for method in methods]
    return Results(cells_of([dataclasses.replace(run, random=config.random_return) for run in runs]), {})
