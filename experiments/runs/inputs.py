"""What a run is made from: fingerprints of the data and models that its config names, and what they have in common.

A run continues only from the inputs that it began with. They may have moved: what counts is their content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.runs import paths
from experiments.runs.settings import REMEDY, RunError, read_json
from worldmodels import hub
from worldmodels.data.episodes import EpisodeError, episode_paths, read_episode
from worldmodels.data.setups import check_together
from worldmodels.export import MODEL

FILE = "inputs.json"
_OUTPUTS_OF_RUNS = ("model", "policy", "checkpoints", "episodes")  # the first that is there is read by others
_OUTPUTS_FOR_A_MIX = ("episodes",)
_BLOCK, _BLOCKS = 2**16, 16  # of a file with more bytes than these, so many are read
_RECORDED = ("environment", "action_repeat", "control_seconds", "action_bounds")


def describe(config: Mapping[str, Any]) -> dict[str, dict]:
    """Describes the inputs that a config names and that are there.

    Args:
      config: {dotted key: value}.

    Returns:
      {dotted key: {"files": number, "fingerprint": of names and contents, "setups": [what their metadata record]}}.
    """
    found = {key: [Path(name) for name in _inputs(key, value)] for key, value in config.items()}
    return {key: _described(key, names) for key, names in found.items() if names}


def read(run: str | os.PathLike) -> dict[str, dict]:
    """Reads what `describe` said when a run began; nothing for runs of earlier releases.

    Raises:
      RunError: it is damaged.
    """
    path = Path(run) / FILE
    entries = read_json(path) if path.is_file() else {}
    for key, entry in entries.items():
        if not (isinstance(entry, dict) and entry.keys() >= {"files", "fingerprint"} and _are_setups(entry)):
            raise RunError(f"{path} is damaged (its entry of {key!r} is of another kind); {REMEDY}.")
    return entries


def _are_setups(entry: Mapping) -> bool:
    """Returns True if the set-ups of an entry are what `check_together` takes."""
    setups = entry.get("setups")
    return isinstance(setups, list) and all(map(_is_setup, setups))


def _is_setup(setup: Any) -> bool:
    bounds = setup.get("action_bounds") if isinstance(setup, dict) else None
    return isinstance(setup, dict) and (
        bounds is None or isinstance(bounds, dict) and bounds.keys() == {"low", "high"}
    )


def is_same(key: str, before: Mapping, now: Mapping) -> bool:
    """Returns whether an input has the content that it had, wherever it is."""
    return key in before and key in now and _content_is_same(before[key], now[key]) and now[key]["files"] > 0


def check_unchanged(before: Mapping, now: Mapping, run: str | os.PathLike) -> None:
    """Raises a RunError that names the inputs whose content is another than when the run began."""
    changed = [key for key in before.keys() & now.keys() if not _content_is_same(before[key], now[key])]
    if changed:
        numbers = {key: (before[key]["files"], now[key]["files"]) for key in sorted(changed)}
        listed = ", ".join(
            f"{key} ({'other content' if old == new else f'{old} files then, {new} now'})"
            for key, (old, new) in numbers.items()
        )
        raise RunError(
            f"{run} was begun with other inputs: {listed}. Restore them, use another --workdir, or --fresh to delete "
            "the run and start over."
        )


def check_setups(inputs: Mapping[str, Mapping], action_repeat: int | None = None) -> None:
    """Raises an EpisodeError if inputs are of different bodies, action repeats or lengths of a step.

    Args:
      inputs: as `describe` returns them.
      action_repeat: of the config, if it has one.
    """
    known = [(key, setup) for key, entry in inputs.items() for setup in entry["setups"]]
    if action_repeat is not None:
        known.append(("config.action_repeat", {"action_repeat": action_repeat}))
    for index, (key, setup) in enumerate(known):
        for earlier, other in known[:index]:
            names = (earlier, key) if earlier != key else (f"one folder of {key}", "another")
            check_together(other, setup, names, images=False)


def check_policy(config: Mapping[str, Any]) -> None:
    """Raises a ValueError if the policy to start from was trained on another world model.

    What counts is the content of the model, as it was when that run began. A folder that does not record it, such as
    an export, is taken as it is; that its sizes fit is checked when it is read.
    """
    path = config["policy_from"]
    before = read(path).get("model") if path else None
    if before is None or not config["model"]:
        return
    now = describe({"model": config["model"], "policy_from": path})
    if before != now.get("model") and now.get("policy_from") != now.get("model"):
        raise ValueError(
            f"The policy of {path} belongs to another world model than {config['model']}, whose states mean something "
            "else to it; pass --config.model of that run, or train a policy on this one with `imitate`."
        )


def _content_is_same(before: Mapping, now: Mapping) -> bool:
    """Compares content; of the set-up, earlier releases may have recorded less."""
    return all(before[fact] == now[fact] for fact in ("files", "fingerprint"))


def _inputs(key: str, value: Any) -> Iterator[str]:
    """Yields the paths of inputs that a value of a config names and that exist; downloads models on the Hub."""
    if key.rpartition(".")[2] not in ("run", "runs"):
        names = paths.named(key, value)
        yield from filter(os.path.exists, (hub.local(name) if hub.is_name(name) else name for name in names))


def _described(key: str, names: Sequence[Path]) -> dict:
    digest, number, setups = hashlib.blake2b(digest_size=16), 0, []
    is_data = key.rpartition(".")[2] in paths.FOLDERS
    for index, name in enumerate(names):
        outputs = _OUTPUTS_FOR_A_MIX if key.rpartition(".")[2] == "sources" else _OUTPUTS_OF_RUNS
        files = episode_paths(name) if is_data else sorted(_files(name, outputs))
        for path in files:
            place = path.relative_to(name).as_posix() if path != name else ""
            digest.update(f"{index}:{place}:{path.stat().st_size}\n".encode())
            digest.update(_content(path))
        number += len(files)
        with contextlib.suppress(EpisodeError):  # whoever reads the episode says what is wrong
            if is_data and files:
                metadata = read_episode(files[0], keys=()).metadata
                setups.append({fact: metadata[fact] for fact in _RECORDED if fact in metadata})
        if not is_data and name.is_dir():
            setups += [setup for entry in read(name).values() for setup in entry["setups"]]
            setups += _setup_of_export(name)
    return {"files": number, "fingerprint": digest.hexdigest(), "setups": _distinct(setups)}


def setup_of_run(run: str | os.PathLike) -> dict:
    """Returns what a run has learnt from, as far as it has recorded it: its action repeat, bounds of actions, ..."""
    setups = [setup for entry in read(run).values() for setup in entry["setups"]]
    return {fact: value for setup in reversed(setups) for fact, value in setup.items()}


def _setup_of_export(folder: Path) -> list[dict]:
    """Returns the same of a folder of `export`, from its card, in a list; an empty one of other folders."""
    path = folder / MODEL
    card = read_json(path).get("card") if path.is_file() else None
    setup = {fact: card[fact] for fact in _RECORDED if fact in card} if isinstance(card, Mapping) else {}
    return [setup] if setup else []


def _files(name: Path, outputs: Sequence[str]) -> list[Path]:
    """Returns the files of a model or of a source: of a run the first of its `outputs` that is there."""
    if name.is_file():
        return [name]
    if (name / "config.json").is_file():
        name = next((name / part for part in outputs if (name / part).is_dir()), name)
    return [path for path in name.rglob("*") if path.is_file() and ".lock" not in path.name]


def _content(path: Path) -> bytes:
    """Reads a file, or of a large one blocks at its beginning, at its end and evenly between them."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if size <= _BLOCK * _BLOCKS:
            return file.read()
        parts = []
        for index in range(_BLOCKS):
            file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
            parts.append(file.read(_BLOCK))
    return b"".join(parts)


def _distinct(setups: Sequence[dict]) -> list[dict]:
    return [setup for index, setup in enumerate(setups) if setup not in setups[:index]]
