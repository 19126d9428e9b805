"""Datasets of Minari (Farama Foundation) as episodes; needs the extra `minari`.

A vector of observations becomes the sensor `state`, images `image`, a dict of these its keys (as
`gymnasium:Id` has them). Minari stores T + 1 observations and T actions; action t led to observation t + 1. Actions are
scaled from the bounds of their space to [-1, 1], where ours live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from worldmodels.data.episodes import Episode


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """The episodes of the dataset `config.source`, e.g. "mujoco/halfcheetah/expert-v0".

    Args:
      config: download (whether to fetch what is not on this machine), suffix, limit.

    Raises:
      ValueError: minari is not installed, the dataset is not there, or its actions are not bounded vectors.
    """
    dataset = _load(config.source, config.download)
    low, high = _bounds(dataset.action_space, config.source)
    metadata = {"source": f"minari:{config.source}"}
    spec = getattr(dataset, "env_spec", None)
    if spec is not None:
        metadata["environment"] = f"gymnasium:{spec.id}"
    for number, data in enumerate(dataset.iterate_episodes()):
        if config.limit is not None and number >= config.limit:
            return
        yield (
            f"{number}{config.suffix}",
            lambda data=data, n=number: Episode(
                records_of(data, low, high, f"{config.source}, episode {n},"), metadata | {"episode": n}
            ),
        )


def records_of(data, low: np.ndarray, high: np.ndarray, where: str) -> dict[str, np.ndarray]:
    """Records of one `minari.EpisodeData`; `where` it is from, for the error if its arrays do not go together."""
    actions, sensors = np.asarray(data.actions), dict(_sensors(data.observations))
    num_records = len(actions) + 1 if actions.ndim else 1
    shapes = {"actions": actions.shape, "rewards": np.shape(data.rewards)}
    shapes |= {"terminations": np.shape(data.terminations)} | {n: v.shape for n, v in sensors.items()}
    expected = {"actions": (num_records - 1, *low.shape)} | dict.fromkeys(
        ("rewards", "terminations"), (num_records - 1,)
    )
    lengths = {len(value) for value in sensors.values()}
    if any(shapes[name] != shape for name, shape in expected.items()) or lengths != {num_records}:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"{where} has arrays of shapes {listed}; expected actions [T, {len(low)}], rewards and terminations [T], "
            "and one observation more."
        )
    actions = actions.astype(np.float32)
    steps = np.arange(num_records)
    scaled = 2 * (actions - low) / (high - low) - 1
    records = {
        "pre_action": np.concatenate([np.zeros_like(scaled[:1]), scaled]),
        "reward": np.concatenate([[0.0], np.asarray(data.rewards, np.float64)]),
        "is_first": steps == 0,
        "is_last": steps == num_records - 1,
        "is_terminal": np.concatenate([[False], np.asarray(data.terminations, bool)]),
    }
    success = data.infos.get("success") if isinstance(getattr(data, "infos", None), Mapping) else None
    if success is not None:
        success = np.reshape(np.asarray(success, bool), -1)[-num_records:]
        records["success"] = np.concatenate([np.zeros(num_records - len(success), bool), success])
    return records | sensors


def _sensors(observations: object, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(name, [T + 1, ...]) of an array or of dicts of arrays."""
    if isinstance(observations, Mapping):
        for name, value in observations.items():
            yield from _sensors(value, f"{prefix}_{name}" if prefix else name)
        return
    values = np.asarray(observations)
    if values.ndim == 4:
        yield prefix or "image", values
    else:
        values = np.atleast_1d(values)
        yield prefix or "state", values.reshape(len(values), int(np.prod(values.shape[1:])))


def _load(name: str, download: bool):
    """The dataset."""
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


def _bounds(space: object, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bounds [A] of the actions, float32."""
    low, high = (np.asarray(getattr(space, side, np.nan), np.float32) for side in ("low", "high"))
    if low.ndim != 1 or not np.isfinite([low, high]).all() or not (low < high).all():
        raise ValueError(
            f"{name} has the action space {space}; only bounded vectors of continuous actions are read."
        )
    return low, high
