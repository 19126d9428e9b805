"""Datasets of Minari (Farama Foundation) as episodes; needs the extra `minari`.

Sensors and actions are those that the environment itself would have as `gymnasium:Id`, by the same spaces. Minari
stores T + 1 observations and T actions; action t led to observation t + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from experiments.data.converters import files
from experiments.envs.spaces import ActionScale, Leaf, sensors_of
from worldmodels.data.episodes import Episode


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Yields the episodes of the dataset `config.source`, e.g. "mujoco/halfcheetah/expert-v0".

    Args:
      config: download (whether to fetch what is not on this machine), what `files.adapted` takes, suffix, limit.

    Raises:
      ValueError: minari is not installed, the dataset is not there, or its spaces are not supported.
    """
    dataset = _load(config.source, config.download)
    actions = ActionScale.of(dataset.action_space, config.source)
    leaves = sensors_of(dataset.observation_space, config.source)
    metadata = {"source": f"minari:{config.source}"}
    spec = getattr(dataset, "env_spec", None)
    if spec is not None:
        metadata["environment"] = f"gymnasium:{spec.id}"
    for number, data in enumerate(dataset.iterate_episodes()):
        if config.limit is not None and number >= config.limit:
            return

        def make(data=data, number=number) -> Episode:
            where = f"{config.source}, episode {number},"
            records = files.adapted(records_of(data, actions, leaves, where), config, where)
            return Episode(records, metadata | {"episode": number})

        yield f"{number}{config.suffix}", make


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
