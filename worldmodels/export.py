"""A trained model as one folder that explains itself and runs no code when it is opened.

    README.md     the model card
    model.json    constructor arguments, how it was trained, versions
    weights.npz   {path of a parameter: array}

`save` writes the folder atomically, `load` opens it. Weights are plain arrays (npz without pickle), so that they can
be read without this library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from flax import nnx

from worldmodels.checkpoints import named_leaves, with_leaves
from worldmodels.nets import MLP
from worldmodels.world_model import TanhGaussianHead, WorldModel

FORMAT = 1
MODEL, WEIGHTS, CARD = "model.json", "weights.npz", "README.md"
VERSIONS = ("jax", "flax", "numpy")


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported folder, loaded, or what is to become one.

    Attributes:
      world_model: with its weights. arguments: its constructor arguments, JSON values; `standardized` names sensors.
      policy: over features, or None. critic: {reward: (network, its target)}, features -> [..., 1], or None.
      loss: keyword arguments of the loss it was trained with.
      card: {title, description, data, environment, ...}: what the model card says, JSON values.
      policy_arguments, critic_arguments: constructor arguments, where there is a policy or a critic.
    """

    world_model: WorldModel
    arguments: dict
    policy: TanhGaussianHead | None = None
    critic: Mapping[str, tuple[MLP, MLP]] | None = None
    loss: dict = dataclasses.field(default_factory=dict)
    card: dict = dataclasses.field(default_factory=dict)
    policy_arguments: dict | None = None
    critic_arguments: dict | None = None


def build_world_model(arguments: Mapping, key: jax.Array, moments: Mapping | None = None) -> WorldModel:
    """A fresh world model from JSON values.

    Args:
      arguments: constructor arguments; `standardized` names the sensors that are standardised.
      moments: {sensor: (mean [d], std [d])}; without them placeholders, to be restored.
    """
    arguments = dict(arguments)
    sizes, standardized = arguments.pop("sizes"), arguments.pop("standardized", [])
    if moments is None:
        moments = {name: (np.zeros(sizes[name]), np.ones(sizes[name])) for name in standardized}
    return WorldModel(sizes, statistics=moments, rngs=nnx.Rngs(key), **arguments)


def build_policy(arguments: Mapping, key: jax.Array) -> TanhGaussianHead:
    """A fresh policy over features from its constructor arguments, JSON values.

    Raises:
      ValueError: `min_std`, which only acting uses, is no number.
    """
    if not isinstance(arguments.get("min_std", 0.0), int | float):
        raise ValueError(f"min_std of a policy is a number, got {arguments['min_std']!r}.")
    return TanhGaussianHead(rngs=nnx.Rngs(key), **arguments)


def save(folder: str | os.PathLike, exported: Exported) -> pathlib.Path:
    """Writes the folder; it appears complete or not at all.

    Raises:
      ValueError: the folder is there already, or a weight is not finite.
    """
    folder = pathlib.Path(folder).expanduser().absolute()
    if folder.exists():
        raise ValueError(f"{folder} exists; choose another folder, or delete it first.")
    weights = {name: np.asarray(leaf) for name, leaf in named_leaves(_parts(exported)).items()}
    broken = [name for name, value in weights.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"The model is not worth keeping: {', '.join(broken[:5])} is not finite.")
    facts = {
        "format": FORMAT,
        "world_model": exported.arguments,
        "policy": exported.policy_arguments if exported.policy is not None else None,
        "critic": (
            {"rewards": list(exported.critic), **exported.critic_arguments} if exported.critic else None
        ),
        "loss": exported.loss,
        "card": exported.card,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "num_parameters": {part: _count(tree) for part, tree in _parts(exported).items()},
    }
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.writing")
    try:
        temporary.mkdir(parents=True)
        np.savez(temporary / WEIGHTS, **weights)
        (temporary / MODEL).write_text(json.dumps(facts, indent=2))
        (temporary / CARD).write_text(model_card(facts))
        for path in temporary.iterdir():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        os.rename(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ValueError(
            f"Cannot write {folder}: {error.strerror or error}. Choose another folder."
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def load(folder: str | os.PathLike) -> Exported:
    """Opens an exported folder; the sentence of a ValueError says what is wrong with it."""
    folder = pathlib.Path(folder).expanduser()
    facts, weights = read_facts(folder), read_weights(folder / WEIGHTS)
    policy_arguments, critic_arguments = facts["policy"], dict(facts["critic"] or {})
    rewards = critic_arguments.pop("rewards", [])

    def create() -> dict:
        key = jax.random.key(0)
        parts = {"world_model": build_world_model(facts["world_model"], key)}
        if policy_arguments:
            parts["policy"] = build_policy(policy_arguments, key)
        if rewards:
            network = MLP(rngs=nnx.Rngs(key), **critic_arguments)
            parts["critic"] = {reward: (network, network) for reward in rewards}
        return parts

    with explained(folder / MODEL, "its arguments make no model"):
        like = jax.eval_shape(create)
        check_parts(like, folder / MODEL)
    parts = with_leaves(like, weights, str(folder / WEIGHTS))
    return Exported(
        parts["world_model"],
        facts["world_model"],
        parts.get("policy"),
        parts.get("critic"),
        facts["loss"],
        facts["card"],
        policy_arguments,
        critic_arguments or None,
    )


def read_facts(folder: pathlib.Path) -> dict:
    """What model.json says."""
    path = folder / MODEL
    if not path.is_file():
        raise ValueError(f"{path} does not exist; pass a folder that `export` has written.")
    try:
        facts = json.loads(path.read_text())
        version = facts["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); get an intact copy.") from error
    if not isinstance(version, int):
        raise ValueError(f"{path} is damaged (format {version!r} is no number); get an intact copy.")
    if version > FORMAT:
        raise ValueError(f"{path} was written by a newer version of this program; update it.")
    kinds = {"world_model": dict, "policy": dict | None, "critic": dict | None, "loss": dict, "card": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(facts.get(name, ...), kind)]
    if wrong:
        raise ValueError(
            f"{path} is damaged ({', '.join(wrong)} missing or of another kind); get an intact copy."
        )
    return facts


def read_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
    """{name: array of numbers} of weights.npz; runs no code from it."""
    try:
        with zipfile.ZipFile(path):  # np.load would open a lone array too
            pass
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged directory of a zip file may fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged ({reason}); get an intact copy.") from error
    other = [f"{name} ({value.dtype})" for name, value in weights.items() if value.dtype.kind not in "fiu"]
    if other:
        raise ValueError(f"{path} is damaged, not real numbers: {', '.join(other[:5])}; get an intact copy.")
    return weights


@contextlib.contextmanager
def explained(path: pathlib.Path, what: str) -> Iterator[None]:
    """Turns whatever a file of another layout causes inside into one ValueError that names it."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        if isinstance(error, ValueError) and str(error).endswith("."):  # Python's own are no sentences
            if path.name in str(error):
                raise
            raise ValueError(f"{path}: {error}") from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"
        raise ValueError(f"{path} is damaged or of another kind: {what} ({reason}).") from error


def check_heads(
    model: WorldModel, networks: Mapping[str, MLP], path: str | os.PathLike, out_size: int
) -> None:
    """An error for a policy or value networks that belong to another world model.

    Args:
      networks: {what it is called in the error: network}.
      path: of the networks.
      out_size: what each of them should return.
    """
    for name, network in networks.items():
        found = (network.first.in_features, network.out_size)
        if found != (model.feature_size, out_size):
            raise ValueError(
                f"{path}: {name} makes {found[1]} numbers of {found[0]} features, with the world model beside it they "
                f"are {out_size} of {model.feature_size}; take it from the same run as the world model."
            )


def check_parts(parts: Mapping, path: pathlib.Path) -> None:
    """An error where policy and critic do not fit the world model; a model without actions fits any policy."""
    model = parts["world_model"]
    if "policy" in parts:
        network = parts["policy"].mean_net
        check_heads(model, {"policy": network}, path, model.action_size or network.out_size)
    check_heads(model, {name: pair[0] for name, pair in parts.get("critic", {}).items()}, path, 1)


def _parts(exported: Exported) -> dict:
    """What has weights."""
    parts = {"world_model": exported.world_model, "policy": exported.policy, "critic": exported.critic}
    return {name: part for name, part in parts.items() if part is not None}


def _count(tree) -> int:
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(tree))


def model_card(facts: Mapping) -> str:
    """The README.md of an exported folder."""
    card, arguments = facts["card"], facts["world_model"]
    sizes = ", ".join(
        f"`{name}` ({size if isinstance(size, int) else 'x'.join(map(str, size)) + ' pixels, uint8'})"
        for name, size in arguments["sizes"].items()
    )
    switched = ["reward"] if arguments.get("predict_reward") else []
    switched += ["is_terminal"] if arguments.get("predict_terminal", True) else []
    rows = {
        "environment": card.get("environment") or "not recorded",
        "sensors": sizes,
        "reads": ", ".join(arguments["inputs"]),
        "predicts": ", ".join((*arguments["targets"], *switched, *arguments.get("probes", ()))),
        "standardised": ", ".join(arguments.get("standardized", ())) or "nothing",
        "action size": arguments["action_size"] or "none: the model is action-free",
        "parameters": ", ".join(f"{part} {count:,}" for part, count in facts["num_parameters"].items()),
        "trained on": card.get("data") or "not recorded",
        "demonstrations": card.get("demonstrations") or "none",
        "updates": card.get("num_updates") or "not recorded",
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    parts = " and ".join(part.replace("_", " ") for part in facts["num_parameters"])
    return f"""# {card.get("title") or "World model"}

{card.get("description") or f"A {parts} of the JAX implementation of AIME."}

| | |
|--|--|
{table}

Actions are in -1..1. `pre_action[t]` led to the sensors of record t.

```python
from worldmodels.export import load

exported = load("THIS FOLDER")
model, policy = exported.world_model, exported.policy
```

On the command line it stands where a pretraining run does: `python -m experiments imitate --config.model=THIS FOLDER`.
`model.json` holds every constructor argument, `weights.npz` the weights by name; opening them runs no code.
"""
