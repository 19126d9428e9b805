"""Looks at the world model of a finished run: what it sees, foresees and makes of sequences.

    python -m experiments inspect --run=DIR
    python -m experiments inspect --run=DIR --config.data=OTHER_EPISODES --workdir=ELSEWHERE

Works on runs of `pretrain`, on their embodiment data, and of `imitate`, on their demonstrations
with the actions that the policy infers. Writes videos and figures into `DIR/videos` and `DIR/figures`, the numbers to
`DIR/inspection.json`, and all of it to TensorBoard.
"""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np

from aime.inference import infer_actions
from experiments.data.arena import Arena
from experiments.envs import registry
from experiments.models import architectures, files, inspection
from experiments.runs import inputs
from experiments.runs.metrics import read_rows
from experiments.runs.paths import folders_of
from experiments.runs.settings import read_config
from worldmodels.data.dataset import SequenceDataset, sample
from worldmodels.data.episodes import load_episodes
from worldmodels.structures import SequenceBatch


def run(config, workdir, *, run: str | None = None, fresh: bool = False) -> dict:
    """Looks at one model of the run in directory `run`.

    Returns:
      What `inspection.write` does; on demonstrations with true actions also "action_mse" of the inferred ones.
    """
    if not run:
        raise ValueError("Which run? Pass its directory: --run=DIR.")
    path = pathlib.Path(run).expanduser()
    check_windows(config)
    inputs.check_setups(inputs.describe({"model": run, "data": config.data}))
    run_config, models = read_config(path), files.load_complete(path).seed(config.model_seed)
    model, policy = models.world_model, models.policy
    if model is None:
        raise ValueError(f"{path} has no world model; pass a finished run of `pretrain` or `imitate`.")
    arch = models.arguments["world_model"]
    batch, metadata, arena = windows(config, run_config, model, arch)
    extra: dict[str, float] = {}
    title = "on embodiment data"
    if policy is not None:
        batch, extra, title = with_inferred_actions(model, policy, batch)
    folder = pathlib.Path(workdir).expanduser() if workdir else path
    updates = [row["update"] for row in read_rows(folder / "metrics.jsonl")]
    result = inspection.write(
        folder,
        model,
        batch,
        env_name=arena.name,
        metadata=metadata,
        context=min(config.context, batch.batch_shape[1] // 2),
        update=max(updates, default=run_config["num_updates"]),
        title=title,
        render_options=arena.options if config.render and arena else None,
    )
    print(json.dumps(result | extra, indent=2))
    written = ["inspection.json", "figures", *(["videos"] if result["videos"] else [])]
    print("Written: " + ", ".join(f"{folder}/{name}" for name in written))
    return result | extra


def check_windows(config) -> None:
    """Raises a ValueError for windows in which nothing can be foreseen."""
    if config.windows < 1:
        raise ValueError(f"windows is {config.windows}; look at one at least.")
    if config.length is not None and config.length < 2:
        raise ValueError(f"length is {config.length}; a window has two records at least.")
    if config.context < 1:
        raise ValueError(f"context is {config.context}; a prediction sees one record at least.")


def windows(config, run_config: dict, model, arch: dict) -> tuple[SequenceBatch, dict, Arena]:
    """Samples windows of the data of a run, or of the config's: (batch, metadata, environment)."""
    pretrained = "demonstrations" not in run_config
    folders = folders_of(config.data or run_config["embodiment" if pretrained else "demonstrations"])
    (first,) = load_episodes(folders, limit=1, images_on_disk=True)
    architectures.check_body(arch, [first], "data")
    recorded = registry.trusted(run_config["env"], "The files of the run name")
    arena = Arena.of_episodes([first], recorded)
    wanted = dict.fromkeys((*model.inputs, *model.targets, *model.probes))
    sensors = [name for name in wanted if name in first.records and name not in ("reward", "is_terminal")]
    keys = (*sensors, "pre_action")
    episodes = load_episodes(folders, config.num_episodes, keys, mode="uniform")
    with_actions = all(e.records["pre_action"].shape[-1] == model.action_size for e in episodes)
    data = SequenceDataset.create(
        episodes, length=config.length or run_config["length"], sensors=sensors, with_actions=with_actions
    )
    return sample(data, jax.random.key(config.seed), config.windows), first.metadata, arena


def with_inferred_actions(model, policy, batch: SequenceBatch) -> tuple[SequenceBatch, dict[str, float], str]:
    """Returns the batch with the actions that the policy infers, what is known of their error, and a title."""
    infer = jax.jit(lambda model, policy, batch: infer_actions(model, policy, batch).actions)
    actions = infer(model, policy, batch.without_actions())
    extra = {}
    if batch.prev_action is not None:
        extra["action_mse"] = float(np.mean((actions - batch.prev_action) ** 2))
    return batch.replace(prev_action=actions), extra, "of demonstrations, with inferred actions"
