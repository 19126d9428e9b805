"""Datasets of Minari (Farama Foundation) as episodes; needs the extra `minari`.

Sensors and actions are those that the environment itself would have as `gymnasium:Id`, by the same spaces. Minari
stores T + 1 observations and T actions; action t led to observation t + 1.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.data.converters import files
from experiments.envs.spaces import ActionScale, Leaf, boxes_of, names_of, sensors_of
from worldmodels.data.episodes import Episode, read_episode


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Yields the episodes of the dataset `config.source`, e.g. "mujoco/halfcheetah/expert-v0".

    Args:
      config: download (whether to fetch what is not on this machine), arrays (sensors to keep; () for all), leave_out
        (sensors to drop), suffix, limit.

    Raises:
      ValueError: minari is not installed, the dataset is not there, or its spaces are not supported.
    """
    dataset = _load(config.source, config.download)
    actions = ActionScale.of(dataset.action_space, config.source)
    files.check_has([*config.arrays, *config.leave_out], names_of(dataset.observation_space), config.source)
    try:
        leaves = sensors_of(dataset.observation_space, config.source, functools.partial(_wanted, config))
    except ValueError as error:
        raise ValueError(f"{error} Of a dataset, --config.leave_out=NAME drops it.") from error
    metadata = {"source": f"minari:{config.source}", "action_bounds": actions.bounds()}
    spec = getattr(dataset, "env_spec", None)
    if spec is not None:
        metadata["environment"] = f"gymnasium:{spec.id}"
    for number, data in enumerate(dataset.iterate_episodes()):
        if config.limit is not None and number >= config.limit:
            return

        def make(data=data, number=number) -> Episode:
            where = f"{config.source}, episode {number},"
            return Episode(records_of(data, actions, leaves, where), metadata | {"episode": number})

        yield f"{number}{config.suffix}", make


def _wanted(config, name: str) -> bool:
    return name not in config.leave_out and (not config.arrays or name in config.arrays)


def records_of(data, scale: ActionScale, leaves: Sequence[Leaf], where: str) -> dict[str, np.ndarray]:
    """Returns the records of one `minari.EpisodeData`; `where` it is from, for the error if its arrays do not agree."""
    actions = np.asarray(data.actions)
    num_records = len(actions) + 1 if actions.ndim else 1
    sensors = {leaf.name: leaf.read(data.observations, where, num_axes=1) for leaf in leaves}
    shapes = {"actions": actions.shape, "rewards": np.shape(data.rewards)}
    shapes |= {"terminations": np.shape(data.terminations)} | {n: v.shape for n, v in sensors.items()}
    expected = {"actions": (num_records - 1, *scale.shape)} | dict.fromkeys(
        ("rewards", "terminations"), (num_records - 1,)
    )
    lengths = {len(value) for value in sensors.values()}
    if any(shapes[name] != shape for name, shape in expected.items()) or lengths != {num_records}:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"{where} has arrays of shapes {listed}; expected actions [T, {scale.low.size}], rewards and terminations "
            "[T], and one observation more."
        )
    steps, scaled = np.arange(num_records), scale.from_space(actions)
    records = {
        "pre_action": np.concatenate([np.zeros_like(scaled[:1]), scaled]),
        "reward": np.concatenate([[0.0], np.asarray(data.rewards, np.float64)]),
        "is_first": steps == 0,
        "is_last": steps == num_records - 1,
        "is_terminal": np.concatenate([[False], np.asarray(data.terminations, bool)]),
    }
    infos = data.infos if isinstance(getattr(data, "infos", None), Mapping) else {}
    success = next((infos[name] for name in ("success", "is_success") if name in infos), None)
    if success is not None:
        success = np.reshape(np.asarray(success, bool), -1)[-num_records:]
        records["success"] = np.concatenate([np.zeros(num_records - len(success), bool), success])
    return records | sensors


def export(paths: Sequence[Path], target: Path, fps: float | None = None) -> dict:
    """Writes episodes as the dataset `exported-v0` below a folder, where MINARI_DATASETS_PATH has to point to read it.

    Args:
      paths: of the episodes.
      target: the folder.
      fps: not used.

    Returns:
      {"num_episodes", "num_frames": steps}.

    Raises:
      ValueError: minari is not installed, or an episode has no actions.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise ValueError("Writing Minari datasets needs minari: pip install 'aime-jax[minari]'.") from error
    buffers = [EpisodeBuffer(id=number, **_buffered(path)) for number, path in enumerate(paths)]
    first = read_episode(paths[0])
    bounds = first.metadata.get("action_bounds") or {"low": [-1.0], "high": [1.0]}
    sensors = {name: first.records[name].shape[1:] for name in first.sensors}
    seen, actions = boxes_of(sensors, first.records["pre_action"].shape[1], bounds["low"], bounds["high"])
    target = target.absolute()  # for minari's files lead to one another
    target.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(target)
    try:
        spaces = dict(observation_space=seen, action_space=actions, data_format="hdf5")
        minari.create_dataset_from_buffers("exported-v0", buffers, **spaces)
    finally:
        os.environ.pop("MINARI_DATASETS_PATH")
        os.environ.update({} if before is None else {"MINARI_DATASETS_PATH": before})
    return {"num_episodes": len(buffers), "num_frames": sum(len(buffer.rewards) for buffer in buffers)}


def _buffered(path: Path) -> dict:
    """Returns the arrays of an `EpisodeBuffer`."""
    episode = read_episode(path)
    records, terminal = episode.records, episode.records["is_terminal"][1:]
    return {
        "observations": {name: records[name] for name in episode.sensors},
        "actions": files.unscaled_actions(episode, path),
        "rewards": records["reward"][1:],
        "terminations": terminal,
        "truncations": records["is_last"][1:] & ~terminal,
        "infos": {"success": records["success"]} if "success" in records else {},
    }


def _load(name: str, download: bool):
    """Returns the dataset."""
    try:
        import minari
    except ImportError as error:
        raise ValueError("Reading Minari datasets needs minari: pip install 'aime-jax[minari]'.") from error
    try:
        return minari.load_dataset(name, download=download)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ValueError(
            f"Minari has no dataset {name!r} here ({error}); --config.download=True fetches it, and "
            "`minari list remote` lists what there is."
        ) from error
    except Exception as error:  # minari asserts what its files should hold
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"The Minari dataset {name!r} cannot be read ({reason}); delete it and download it again."
        ) from error
