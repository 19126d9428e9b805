"""Evaluates a finished run in its environment.

    python -m experiments evaluate --run=DIR
    python -m experiments evaluate --run=DIR --config.episodes=100 --config.video=True
    python -m experiments evaluate --run=DIR '--config.env=cheetah-run?mass=0.5'
    python -m experiments evaluate --run=DIR --config.planner=cem
    python -m experiments evaluate --run=DIR --config.planner=guided --config.planner_reward=ail_reward
    python -m experiments evaluate --run=DIR --config.planner=tracking --config.demonstrations=DIR
    python -m experiments evaluate --run=FOLDER --config.demonstrations=DIR --workdir=ELSEWHERE

Works on runs of `imitate`, `online`, `dreamer`, `baseline`, `surrogate`, and `collect` with SAC; planning on those with
a world model, and on runs of `pretrain`. FOLDER is what `export` has written, also on the Hub, or a published model: it
plays as the demonstrations were played. Writes `DIR/evaluation.json` (with --workdir there instead), and with `video`
`videos/evaluation.mp4` of the first episode of every seed. Repeated, it says what was reached; --fresh plays again.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

from agents.planners import PLANNERS
from agents.planning import Planner
from experiments.analysis import tables
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Evaluation
from experiments.envs import registry
from experiments.methods.online_parts import whole_episodes
from experiments.models import architectures
from experiments.models.loading import LoadedRun, load_run
from experiments.runs import inputs
from experiments.runs.outcome import sentence
from experiments.runs.settings import plain_config, read_json, write_json
from worldmodels.structures import SequenceBatch

FILE = "evaluation.json"


def run(config, workdir, *, run: str | None = None, fresh: bool = False) -> dict:
    """Plays `config.episodes` episodes with every policy of the run, or the export, in directory `run`.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert", ...}; also written to `run/evaluation.json`.
    """
    if not run:
        raise ValueError("Which run? Pass its directory: --run=DIR.")
    registry.trust(config.env)
    loaded, demonstrations = load_run(run, config.env), None
    if not (workdir or loaded.config):
        raise ValueError(
            f"{run} is no run, and stays as it is; say where the evaluation goes: --workdir=DIR."
        )
    folder = pathlib.Path(workdir or run).expanduser()
    facts = facts_of(config, run)
    if not fresh and (row := finished(folder, facts)) is not None:
        print(sentence(row, folder / FILE, again=True))
        return row
    inputs.check_setups(facts["inputs"])
    planner = make_planner(config)
    follows = getattr(planner, "uses_demonstrations", False)
    if config.demonstrations or follows:
        loaded, demonstrations = with_demonstrations(loaded, config, follows)
    if config.env:
        loaded = dataclasses.replace(loaded, arena=dataclasses.replace(loaded.arena, name=config.env))
    if not loaded.arena:
        raise ValueError(
            f"{run} does not say in which environment it plays; pass --config.demonstrations=DIR, in "
            "whose environment it then plays, or --config.env=NAME."
        )
    evaluation = Evaluation(loaded.arena, loaded.num_seeds or 1, loaded.expert, workers=config.workers)
    video = folder / "videos" / "evaluation.mp4" if config.video else None
    make_actor = functools.partial(loaded.make_actor, sample_action=config.sample_action)
    if planner:
        make_actor = functools.partial(loaded.make_planner, planner, demonstrations=demonstrations)
    make_actor = functools.partial(make_actor, key_seed=config.seed)
    scores = evaluation.play(make_actor, config.episodes, config.seed, video=video)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, scores.row() | facts)
    method = tables.MethodScores(pathlib.Path(run).name, scores.returns)
    print(tables.results_table([method], random=None, expert=loaded.expert).markdown())
    print(sentence(scores.row(), folder / FILE, again=False))
    return scores.row()


def facts_of(config, run: str) -> dict:
    """Returns what scores depend on: the config, and the content of the models and demonstrations that it names."""
    given = {"model": run, "demonstrations": config.demonstrations}
    return {"config": plain_config(config), "inputs": inputs.describe(given)}


def finished(folder: pathlib.Path, facts: Mapping) -> dict | None:
    """Returns the scores in a folder, if they are those of an evaluation with the same facts; else None."""
    if not (folder / FILE).is_file():
        return None
    kept = read_json(folder / FILE)
    known = {name: kept.pop(name, None) for name in facts}
    return kept if known == facts else None


def make_planner(config) -> Planner | None:
    """Makes the planner that a config names, or none."""
    if not config.planner:
        return None
    PLANNERS.choose(config.planner)
    return PLANNERS.make(config.planner_reward, name=config.planner, **config.options)


def with_demonstrations(loaded: LoadedRun, config, follows: bool) -> tuple[LoadedRun, SequenceBatch | None]:
    """Reads demonstrations of the config or of the run; returns the run where they were played, and a batch of them.

    Args:
      follows: a planner follows them; otherwise there is no batch.

    Raises:
      ValueError: there are none, or they are of another body.
    """
    source, limit = config.demonstrations, config.num_demonstrations
    if not source:
        source = loaded.config.get("demonstrations")
        limit = loaded.config.get("num_demonstrations") if limit is None else limit
    if not source:
        raise ValueError(
            f"{config.planner} follows demonstrations; pass --config.demonstrations=DIR (their actions are not used)."
        )
    if follows:
        loaded.world_model()  # or the error that there is none
    shown = Demonstrations.read(source, limit, inputs=loaded.inputs)
    if "sizes" in loaded.reader:
        reader = "policy" if loaded.world_models is None else "world model"
        architectures.check_body(loaded.reader, shown.episodes, "demonstrations", reader=reader)
    batch = whole_episodes(shown.episodes, loaded.inputs)[0] if follows else None
    if not config.demonstrations:
        return loaded, batch
    return dataclasses.replace(loaded, arena=shown.arena or loaded.arena, expert=shown.expert), batch
