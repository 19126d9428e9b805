"""Data of TD-MPC2 (Hansen et al., ICLR 2024): the Meta-World part of `mt80`, and evaluation logs of its experts.

A chunk `chunk_*.pt` is a TensorDict [N, 101] of `obs` (padded to 39), `action` (padded to 6), `reward` and `task`.
Action t led to observation t, as in our records; that of record 0 is NaN. It is opened with `weights_only=True`: the
class TensorDict is not needed, its tensors are taken out of what the file says about it.

Chunks hold states only. `python -m experiments dataset` (preset render) plays them again for images, as published,
where the environment can be put into an observed state.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from worldmodels.data.episodes import Episode, EpisodeError, read_arrays
from worldmodels.data.records import canonical_records

FIRST_METAWORLD_ID = 30  # of `mt80`; below are tasks of DeepMind Control
OBSERVATION_SIZE, ACTION_SIZE = 39, 4
ACTION_REPEAT = 2

_BY_ID = """
    assembly basketball button-press-topdown button-press-topdown-wall button-press button-press-wall coffee-button
    coffee-pull coffee-push dial-turn disassemble door-open door-close drawer-close drawer-open faucet-open faucet-close
    hammer handle-press-side handle-press handle-pull-side handle-pull lever-pull peg-insert-side peg-unplug-side
    pick-out-of-hole pick-place pick-place-wall plate-slide plate-slide-side plate-slide-back plate-slide-back-side
    push-back push push-wall reach reach-wall shelf-place soccer stick-push stick-pull sweep-into sweep window-open
    window-close bin-picking box-close door-lock door-unlock hand-insert
"""
TASKS = tuple(_BY_ID.split())  # by id, from FIRST_METAWORLD_ID on
# Hard and very hard after Seo et al., Masked World Models (2022); the other 39 are easy or medium.
_DIFFICULT = """
    assembly hand-insert pick-out-of-hole pick-place push push-back
    shelf-place disassemble stick-pull stick-push pick-place-wall
"""
HARD = frozenset(_DIFFICULT.split())
# Published selections: (tasks, take every so many-th episode of a task, episodes per task).
SELECTIONS = {
    "mt50": (frozenset(TASKS), 1, 200),
    "mt39": (frozenset(TASKS) - HARD, 40, 250),
}


def chunk_episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Returns the episodes that a published selection takes from the chunks in the folder `config.source`.

    Args:
      config: selection ("mt50" or "mt39"), suffix, limit (episodes per task; None: as published).

    Raises:
      ValueError: no chunks, or one that is none or cannot be opened safely.
    """
    if config.selection not in SELECTIONS:
        raise ValueError(f"Unknown selection {config.selection!r}. Known: {', '.join(SELECTIONS)}.")
    tasks, every, most = SELECTIONS[config.selection]
    most = most if config.limit is None else min(config.limit, most)
    seen: Counter[str] = Counter()
    for path in chunk_paths(config.source):
        if all(seen[task] > (most - 1) * every for task in tasks):
            return
        chunk = read_chunk(path)
        for row, task_id in enumerate(chunk["task"]):
            task = TASKS[task_id - FIRST_METAWORLD_ID] if task_id >= FIRST_METAWORLD_ID else None
            if task not in tasks:
                continue
            count = seen[task]
            seen[task] += 1
            if count % every or count // every >= most:
                continue

            def make(row=row, task=task, count=count, chunk=chunk, path=path) -> Episode:
                return chunk_episode(chunk, row, task, {"file": path.name, "episode_of_task": count})

            yield f"metaworld-{task}/{count // every}{config.suffix}", make


def chunk_paths(folder: str) -> list[Path]:
    """`chunk_0.pt`, `chunk_1.pt`, ... in the order of their numbers."""
    found = {
        int(match[1]): path
        for path in Path(folder).glob("chunk_*.pt")
        if (match := re.search(r"_(\d+)$", path.stem))
    }
    if not found:
        raise ValueError(
            f"{folder} holds no chunk_*.pt; download the chunks of mt80 (Meta-World is in 11 to 13) into it."
        )
    return [found[number] for number in sorted(found)]


def chunk_episode(chunk: Mapping[str, np.ndarray], row: int, task: str, origin: Mapping) -> Episode:
    """One episode of a chunk, without images."""
    action = chunk["action"][row, :, :ACTION_SIZE]
    reward = chunk["reward"][row].reshape(len(action))
    return Episode(
        _records(chunk["obs"][row, :, :OBSERVATION_SIZE], action, reward),
        {
            "environment": f"metaworld-{task}",
            "action_repeat": ACTION_REPEAT,
            "source": "tdmpc2-mt80",
            **origin,
        },
    )


def _records(state: np.ndarray, action: np.ndarray, reward: np.ndarray) -> dict[str, np.ndarray]:
    """Records from arrays [T, ...] whose action t led to state t; what led to record 0 is nothing."""
    steps = np.arange(len(state))
    first = steps == 0
    return {
        "state": state,
        "pre_action": np.where(first[:, None], 0, action),
        "reward": np.where(first, 0, reward),
        "is_first": first,
        "is_last": steps == len(state) - 1,
        "is_terminal": np.zeros(len(state), bool),
    }


# Chunks -----------------------------------------------------------------------------------------------------


class _Kept:
    """Stands for a class of the package tensordict: remembers its state and does nothing."""

    def __setstate__(self, state: object) -> None:
        self.state = state


def _make_kept(kind: type, state: object) -> _Kept:
    """Stands for the function by which newer versions of that package make a TensorDict."""
    kept = _Kept()
    kept.state = state
    return kept


_STAND_INS: list[Callable | tuple[Callable, str]] = [
    (_Kept, "tensordict._td.TensorDict"),
    (_Kept, "tensordict.tensordict.TensorDict"),
    (_make_kept, "tensordict._reductions._make_td"),
    (dict, "tensordict.utils._StringOnlyDict"),  # of versions 0.2 to 0.5
]


def read_chunk(path: Path) -> dict[str, np.ndarray]:
    """Reads a chunk without running code from it.

    Returns:
      {"obs": [N, T, 39], "action": [N, T, 6], "reward": [N, T], "task": [N] int}.

    Raises:
      ValueError: it asks for anything but tensors, is damaged, lacks one of the four, or they are of other shapes.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError("Reading .pt files needs PyTorch: pip install 'aime-jax[published]'.") from error
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch's own, and whatever a damaged file causes
        reason = str(error).strip().split("\n")[0].rstrip(".")
        because = "" if "Weights only load failed" in reason else f" ({reason})"  # advice to open it unsafely
        raise ValueError(
            f"{path} cannot be opened safely: it is damaged or asks for more than tensors, and nothing of it was run"
            f"{because}."
        ) from error
    state = content.state if isinstance(content, _Kept) else content
    tensors = state.get("_tensordict", state) if isinstance(state, Mapping) else {}
    missing = [name for name in ("obs", "action", "reward", "task") if not torch.is_tensor(tensors.get(name))]
    if missing:
        raise ValueError(f"{path} has no tensors {', '.join(missing)}; is it a chunk of TD-MPC2's mt80?")
    arrays = {name: tensors[name].detach().numpy() for name in ("obs", "action", "reward", "task")}
    return _checked_chunk(arrays, path)


def _checked_chunk(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays with one id per episode, or a ValueError if they are of other shapes than those of mt80."""
    shapes = {name: list(value.shape) for name, value in arrays.items()}
    sizes = {"obs": OBSERVATION_SIZE, "action": ACTION_SIZE}
    wide = all(arrays[name].ndim == 3 and shapes[name][2] >= size for name, size in sizes.items())
    rows = shapes["obs"][:2]
    together = wide and shapes["action"][:2] == rows and shapes["reward"] in (rows, [*rows, 1])
    if not together or 0 in rows or shapes["task"][:1] != rows[:1] or 0 in shapes["task"]:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{path} has arrays of shapes {listed}; expected obs [N, T, {OBSERVATION_SIZE}], action [N, T, A] with A "
            f"of at least {ACTION_SIZE}, reward [N, T] and task [N, T], as in a chunk of TD-MPC2's mt80."
        )
    task = arrays["task"].reshape(rows[0], -1)[:, 0]
    unknown = task[~np.isin(task, np.arange(FIRST_METAWORLD_ID + len(TASKS)))]
    if unknown.size:
        raise ValueError(
            f"{path} has task {unknown[0]}; the tasks of TD-MPC2's mt80 are numbered from 0 to "
            f"{FIRST_METAWORLD_ID + len(TASKS) - 1}."
        )
    return arrays | {"task": task.astype(int)}


# Logs of experts --------------------------------------------------------------------------------------------

_LOGGED = ("obs", "action", "reward", "success")


def expert_episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Successful episodes of evaluation logs `0.npz`, `1.npz`, ... with obs, action, reward, success, perhaps image.

    Args:
      config: source (a folder), env ("metaworld-<task>"), suffix, limit (the public converter keeps 10, the data card
        says 50; None for all).
    """
    paths = sorted(
        (p for p in Path(config.source).glob("*.npz") if p.stem.isdecimal()), key=lambda p: int(p.stem)
    )
    if not paths:
        raise EpisodeError(f"{config.source} holds no logs 0.npz, 1.npz, ...; check the path.")
    metadata = {"action_repeat": ACTION_REPEAT, "source": "tdmpc2-expert"}
    metadata |= {"environment": config.env} if config.env else {}
    number = 0
    for path in paths:
        if config.limit is not None and number >= config.limit:
            return
        records = expert_records(path)
        if records["success"][-1]:
            file = metadata | {"file": path.name}
            yield f"{number}{config.suffix}", functools.partial(Episode, records, file)
            number += 1


def expert_records(path: Path) -> dict[str, np.ndarray]:
    """Records of one log.

    Raises:
      EpisodeError: it lacks an array, one is of another shape, or they do not go together.
    """
    arrays, _ = read_arrays(path)
    missing = [name for name in _LOGGED if name not in arrays]
    if missing:
        raise EpisodeError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(arrays))}.")
    state, action, reward = (arrays[name] for name in ("obs", "action", "reward"))
    if state.ndim != 2 or action.ndim != 2:
        raise EpisodeError(
            f"{path} has obs {list(state.shape)}, action {list(action.shape)}; expected obs [T, D] and action [T, A]."
        )
    num_records = len(state)
    if len(action) == num_records - 1:  # as an environment is stepped, without the record of the reset
        action = np.concatenate([np.zeros_like(action[:1]), action])
        reward = np.concatenate([[0], np.reshape(reward, -1)])
    if not len(action) == np.size(reward) == num_records:
        raise EpisodeError(
            f"{path} has {num_records} observations, {len(action)} actions and {np.size(reward)} rewards; "
            "expected as many, or one observation more."
        )
    records = _records(state, action, np.reshape(reward, -1))
    success = np.reshape(arrays["success"], -1) > 0.5
    if not 1 <= len(success) <= num_records:
        raise EpisodeError(
            f"{path} says {len(success)} times whether there was success, of {num_records} records; expected as many."
        )
    records["success"] = np.concatenate([np.zeros(num_records - len(success), bool), success])
    if "image" in arrays:
        records["image"] = arrays["image"]
    return canonical_records(records, path)
