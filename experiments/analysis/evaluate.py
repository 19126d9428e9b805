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
import sys
from collections.abc import Callable

from agents.loop import Actor
from agents.planning import PLANNERS
from experiments.analysis import tables
from experiments.data.evaluation import evaluate_seeds, scores
from experiments.drawing import rendered
from experiments.models.loading import LoadedRun, load_run
from experiments.runs.settings import write_json
from worldmodels.data.episodes import Episode


def run(config, workdir, *, run: str | None = None, fresh: bool = False) -> dict:
    """Plays `config.episodes` episodes with every policy of the run in directory `run`.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert", ...}; also written to `run/evaluation.json`.
    """
    if not run:
        raise ValueError("Which run? Pass its directory: --run=DIR.")
    loaded = load_run(run)
    episodes: list[Episode] = []
    result = evaluate_seeds(
        actor_factory(loaded, config),
        loaded.env_name,
        loaded.env_options,
        num_seeds=loaded.num_seeds,
        num_episodes=config.episodes,
        seed=config.seed,
        workers=config.workers,
        on_episode=(lambda episode: episodes.append(rendered.filmed(episode))) if config.video else None,
    )
    result |= scores(result["return"], loaded.expert, None)
    folder = pathlib.Path(workdir or run).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "evaluation.json", result | {"config": config.to_dict()})
    table = tables.results_table(
        [tables.MethodScores(pathlib.Path(run).name, result["return"])], random=None, expert=loaded.expert
    )
    print(table.markdown())
    if config.video:
        path, why_not = rendered.seeds_side_by_side(
            folder / "videos" / "evaluation.mp4",
            loaded.env_name,
            loaded.env_options,
            episodes,
            loaded.num_seeds,
        )
        print(f"Video: {path}" if path else f"No video: {why_not}", file=sys.stdout if path else sys.stderr)
    return result


def actor_factory(loaded: LoadedRun, config) -> Callable[[int], Actor]:
    """Returns (number of environments -> actor): the policies of the run, or planners in its world models."""
    if not config.planner:
        return functools.partial(loaded.make_actor, sample_action=config.sample_action, key_seed=config.seed)
    PLANNERS.choose(config.planner)
    planner = PLANNERS.make(config.planner_reward, name=config.planner, **config.options)
    return functools.partial(loaded.make_planner, planner, key_seed=config.seed)
