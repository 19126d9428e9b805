"""Evaluates a finished run in its environment.

    python -m experiments evaluate --run=DIR
    python -m experiments evaluate --run=DIR --config.episodes=100 --config.video=True
    python -m experiments evaluate --run=DIR '--config.env=cheetah-run?mass=0.5'
    python -m experiments evaluate --run=DIR --config.planner=cem
    python -m experiments evaluate --run=DIR --config.planner=guided --config.planner_reward=ail_reward
    python -m experiments evaluate --run=DIR --config.planner=tracking --config.demonstrations=DIR

Works on runs of `imitate`, `online`, `dreamer`, `baseline`, `surrogate`, and `collect` with SAC; planning on those with
a world model, and on runs of `pretrain`. Writes `DIR/evaluation.json` (with --workdir there instead), and
with `video` `videos/evaluation.mp4` of the first episode of every seed.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

from agents.planners import PLANNERS
from agents.planning import Planner
from experiments.analysis import tables
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Evaluation
from experiments.envs import registry
from experiments.methods.online_parts import whole_episodes
from experiments.models import architectures
from experiments.models.loading import LoadedRun, load_run
from experiments.runs.settings import write_json
from worldmodels.structures import SequenceBatch


def run(config, workdir, *, run: str | None = None, fresh: bool = False) -> dict:
    """Plays `config.episodes` episodes with every policy of the run in directory `run`.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert", ...}; also written to `run/evaluation.json`.
    """
    if not run:
        raise ValueError("Which run? Pass its directory: --run=DIR.")
    registry.trust(config.env)
    loaded, demonstrations = load_run(run, config.env), None
    planner = make_planner(config)
    if planner and (config.demonstrations or getattr(planner, "uses_demonstrations", False)):
        loaded, demonstrations = with_demonstrations(loaded, config)
    if config.env:
        loaded = dataclasses.replace(loaded, arena=dataclasses.replace(loaded.arena, name=config.env))
    folder = pathlib.Path(workdir or run).expanduser()
    if not loaded.arena:
        raise ValueError(
            f"{run} learnt from data of no known environment, so that there is nothing to play in."
        )
    evaluation = Evaluation(loaded.arena, loaded.num_seeds or 1, loaded.expert, workers=config.workers)
    video = folder / "videos" / "evaluation.mp4" if config.video else None
    make_actor = functools.partial(loaded.make_actor, sample_action=config.sample_action)
    if planner:
        make_actor = functools.partial(loaded.make_planner, planner, demonstrations=demonstrations)
    make_actor = functools.partial(make_actor, key_seed=config.seed)
    scores = evaluation.play(make_actor, config.episodes, config.seed, video=video)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "evaluation.json", scores.row() | {"config": config.to_dict()})
    method = tables.MethodScores(pathlib.Path(run).name, scores.returns)
    print(tables.results_table([method], random=None, expert=loaded.expert).markdown())
    return scores.row()


def make_planner(config) -> Planner | None:
    """Makes the planner that a config names, or none."""
    if not config.planner:
        return None
    PLANNERS.choose(config.planner)
    return PLANNERS.make(config.planner_reward, name=config.planner, **config.options)


def with_demonstrations(loaded: LoadedRun, config) -> tuple[LoadedRun, SequenceBatch]:
    """Reads what a planner follows, of the config or of the run; returns the run where that was played, and the batch.

    Raises:
      ValueError: there are none, there is no world model, or it is one of another body.
    """
    source, limit = config.demonstrations, config.num_demonstrations
    if not source:
        source = loaded.config.get("demonstrations")
        limit = loaded.config.get("num_demonstrations") if limit is None else limit
    if not source:
        raise ValueError(
            f"{config.planner} follows demonstrations; pass --config.demonstrations=DIR (their actions are not used)."
        )
    inputs = loaded.world_model().inputs
    shown = Demonstrations.read(source, limit, inputs=inputs)
    architectures.check_body(loaded.models.arguments["world_model"], shown.episodes, "demonstrations")
    batch, _ = whole_episodes(shown.episodes, inputs)
    if not config.demonstrations:
        return loaded, batch
    return dataclasses.replace(loaded, arena=shown.arena or loaded.arena, expert=shown.expert), batch
