"""Evaluates a finished run in its environment.

    python -m experiments evaluate --run=DIR
    python -m experiments evaluate --run=DIR --config.episodes=100 --config.video=True
    python -m experiments evaluate --run=DIR --config.planner=cem
    python -m experiments evaluate --run=DIR --config.planner=guided --config.planner_reward=ail_reward

Works on runs of `imitate`, `online`, `dreamer`, `baseline`, `surrogate`, and `collect` with SAC; planning
on those with a world model that predicts a reward. Writes `DIR/evaluation.json` (with --workdir there instead), and
with `video` `videos/evaluation.mp4` of the first episode of every seed.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable

from agents.loop import Actor
from agents.planning import PLANNERS
from experiments.analysis import tables
from experiments.data.evaluation import Evaluation
from experiments.models.loading import LoadedRun, load_run
from experiments.runs.settings import write_json


def run(config, workdir, *, run: str | None = None, fresh: bool = False) -> dict:
    """Plays `config.episodes` episodes with every policy of the run in directory `run`.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert", ...}; also written to `run/evaluation.json`.
    """
    if not run:
        raise ValueError("Which run? Pass its directory: --run=DIR.")
    loaded = load_run(run)
    folder = pathlib.Path(workdir or run).expanduser()
    if not loaded.arena:
        raise ValueError(
            f"{run} learnt from data of no known environment, so that there is nothing to play in."
        )
    evaluation = Evaluation(loaded.arena, loaded.num_seeds, loaded.expert, workers=config.workers)
    video = folder / "videos" / "evaluation.mp4" if config.video else None
    scores = evaluation.play(actor_factory(loaded, config), config.episodes, config.seed, video=video)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "evaluation.json", scores.row() | {"config": config.to_dict()})
    method = tables.MethodScores(pathlib.Path(run).name, scores.returns)
    print(tables.results_table([method], random=None, expert=loaded.expert).markdown())
    return scores.row()


def actor_factory(loaded: LoadedRun, config) -> Callable[[int], Actor]:
    """Returns (number of environments -> actor): the policies of the run, or planners in its world models."""
    if not config.planner:
        return functools.partial(loaded.make_actor, sample_action=config.sample_action, key_seed=config.seed)
    PLANNERS.choose(config.planner)
    planner = PLANNERS.make(config.planner_reward, name=config.planner, **config.options)
    return functools.partial(loaded.make_planner, planner, key_seed=config.seed)
