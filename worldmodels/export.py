"""Model folders: trained networks as files that explain themselves and run no code when they are opened.

    README.md             the model card
    model.json            constructor arguments of each part, the loss, the facts of the card, versions
    weights.safetensors   {path of a parameter: array}; of several seeds every array is [num_seeds, ...]

`save` writes such a folder; `load` opens it, also in the directory of a run, where it is called `model`, and on the
Hugging Face Hub (`hf://USER/NAME`):

    models = load("models/backward")
    models.world_model, models.policy, models.critic, models.card

Weights are plain arrays, so that they can be read without this library. What an argument names is looked up in tables
of the code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels import describe, hub, weights
from worldmodels.action_head import TanhGaussianHead
from worldmodels.checkpoints import named_leaves
from worldmodels.encoders import FrameEncoder
from worldmodels.files import written
from worldmodels.nets import MLP
from worldmodels.registry import Registry, check_loaded, named
from worldmodels.training import select_seed
from worldmodels.two_hot import VALUE_NETWORKS
from worldmodels.world_model import WorldModel

FORMAT = 3  # 2 had weights.npz, 1 no `num_seeds`
IN_A_RUN = "model"
MODEL, CARD = "model.json", "README.md"
PARTS = ("world_model", "policy", "critic", "encoder")
VERSIONS = ("jax", "flax", "numpy")


@dataclasses.dataclass(frozen=True, repr=False)
class Models:
    """Networks that belong together: what a model folder contains, or is to contain.

    Attributes:
      arguments: {part: its constructor arguments}, JSON values, of the parts "world_model", "policy", "critic" and
        "encoder" that are there. `kind` among them is the network's name in a table of builders; without it, that of
        the part.
      world_model: WorldModel, or None.
      policy: TanhGaussianHead over features unless it is of another kind, or None.
      critic: {reward: (network, its target)}, features -> [..., 1], or None.
      encoder: FrameEncoder, or None; that of a world model is part of it.
      num_seeds: leaves are [num_seeds, ...]; None: there is one seed, and no axis of seeds.
      ensemble: so many seeds, one after the other, act together; 1: each alone.
      loss: keyword arguments of the loss that the world model was trained with.
      card: {title, description, environment, data, ...}: facts for the model card, JSON values.
      path: what was opened, "" of what was not.
    """

    arguments: dict[str, dict]
    world_model: WorldModel | None = None
    policy: nnx.Module | None = None
    critic: Mapping[str, tuple[MLP, MLP]] | None = None
    encoder: FrameEncoder | None = None
    num_seeds: int | None = None
    ensemble: int = 1
    loss: dict = dataclasses.field(default_factory=dict)
    card: dict = dataclasses.field(default_factory=dict)
    path: str = ""

    def __repr__(self) -> str:
        counts = [f"{name}: {describe.count(part):,} parameters" for name, part in self.parts.items()]
        return f"Models({', '.join(counts)}, num_seeds={self.num_seeds}, path={self.path!r})"

    @property
    def parts(self) -> dict:
        """{part: networks}, of those that are there."""
        return {name: getattr(self, name) for name in PARTS if getattr(self, name) is not None}

    def seed(self, index: int) -> Models:
        """Selects the models of one seed, without an axis of seeds.

        Raises:
          ValueError: there is no such seed.
        """
        if not 0 <= index < (self.num_seeds or 1):
            raise ValueError(
                f"There is no seed {index}; {self.path or 'the run'} has {self.num_seeds or 1}, numbered from 0."
            )
        return self if self.num_seeds is None else self._map(lambda part: select_seed(part, index), None)

    def agent(self, index: int) -> Models:
        """Selects the models that act together as agent `index`: of one seed, or those of an ensemble, stacked."""
        if self.ensemble == 1:
            return self.seed(index)
        first = index * self.ensemble
        self.seed(first)  # or it says that there is none
        members = slice(first, first + self.ensemble)
        return self._map(lambda part: jax.tree.map(lambda x: x[members], part), self.ensemble)

    def stacked(self) -> Models:
        """Returns the same models with an axis of seeds."""
        if self.num_seeds is not None:
            return self
        return self._map(lambda part: jax.tree.map(lambda x: jnp.asarray(x)[None], part), 1)

    def _map(self, function: Callable, num_seeds: int | None) -> Models:
        parts = {name: function(part) for name, part in self.parts.items()}
        ensemble = 1 if num_seeds is None else self.ensemble
        return dataclasses.replace(self, num_seeds=num_seeds, ensemble=ensemble, **parts)


def build_world_model(arguments: Mapping, key: jax.Array, moments: Mapping | None = None) -> WorldModel:
    """Makes a fresh world model from JSON values.

    Args:
      arguments: of the constructor; also `standardized`, the sensors that are standardised, and `environment`, where
        the data came from, which builds nothing.
      moments: {sensor: (mean [d], std [d])}; without them placeholders, to be restored.
    """
    return WorldModel(rngs=nnx.Rngs(key), **_with_statistics(arguments, moments))


def build_encoder(arguments: Mapping, key: jax.Array, moments: Mapping | None = None) -> FrameEncoder:
    """Makes a fresh encoder of frames from JSON values, as `build_world_model` does."""
    return FrameEncoder(rngs=nnx.Rngs(key), **_with_statistics(arguments, moments))


def _with_statistics(arguments: Mapping, moments: Mapping | None) -> dict:
    """Returns arguments of a constructor, with `statistics` in the place of `standardized`."""
    arguments = {name: value for name, value in arguments.items() if name != "environment"}
    sizes, standardized = arguments["sizes"], arguments.pop("standardized", [])
    if moments is None:
        moments = {name: (np.zeros(sizes[name]), np.ones(sizes[name])) for name in standardized}
    return arguments | {"statistics": moments}


def build_policy(arguments: Mapping, key: jax.Array) -> TanhGaussianHead:
    """Makes a fresh policy over features from its constructor arguments, JSON values.

    Raises:
      ValueError: `min_std`, which only acting uses, is no number.
    """
    if not isinstance(arguments.get("min_std", 0.0), int | float):
        raise ValueError(f"min_std of a policy is a number, got {arguments['min_std']!r}.")
    return TanhGaussianHead(rngs=nnx.Rngs(key), **arguments)


def build_critic(arguments: Mapping, key: jax.Array) -> dict[str, tuple[MLP, MLP]]:
    """Makes a pair of networks for each of `rewards`, from the constructor arguments of one."""
    arguments = {"name": "mlp", **arguments}  # folders of earlier releases lack it
    rewards, kind = arguments.pop("rewards"), VALUE_NETWORKS.get(arguments.pop("name"))
    network = kind(rngs=nnx.Rngs(key), **arguments)
    return {reward: (network, network) for reward in rewards}


# A kind of your own, `my.module:Name`, has the builder as its attribute `build`.
BUILDERS = Registry(
    "kind of policy",
    dict(world_model=build_world_model, policy=build_policy, critic=build_critic, encoder=build_encoder),
)


def _build(arguments: Mapping[str, dict], builders: Registry) -> dict:
    """Makes fresh networks of all parts."""
    parts, key = {}, jax.random.key(0)
    for name, values in arguments.items():
        values = dict(values)
        kind = values.pop("kind", name)
        builder = builders.get(kind)
        parts[name] = getattr(builder, "build", builder)(values, key)
    return parts


def save(folder: str | os.PathLike, models: Models, *, replace: bool = False) -> pathlib.Path:
    """Writes a model folder, which appears complete or not at all.

    Args:
      replace: a folder that is there already is written over.

    Raises:
      ValueError: the folder is there already or cannot be written, or a weight is not finite.
    """
    folder = pathlib.Path(folder).expanduser().absolute()
    if folder.exists() and not replace:
        raise ValueError(f"{folder} exists; choose another folder, or delete it first.")
    arrays = jax.device_get(named_leaves(models.parts))
    broken = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"The model is not worth keeping: {', '.join(broken[:5])} is not finite.")
    facts = {
        "format": FORMAT,
        **{name: models.arguments[name] if name in models.parts else None for name in PARTS},
        "num_seeds": models.num_seeds,
        "ensemble": models.ensemble,
        "loss": models.loss,
        "card": models.card,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "num_parameters": {name: describe.count(part) for name, part in models.parts.items()},
    }
    try:
        with written(folder) as temporary:
            temporary.mkdir()
            weights.write(temporary, arrays)
            (temporary / MODEL).write_text(json.dumps(facts, indent=2))
            (temporary / CARD).write_text(model_card(facts))
    except OSError as error:
        raise ValueError(
            f"Cannot write {folder}: {error.strerror or error}. Choose another folder."
        ) from error
    return folder


def model_card(facts: Mapping) -> str:
    """Writes the README.md of a model folder from the content of its model.json."""
    card, counts, rows = dict(facts["card"]), facts["num_parameters"], {}
    what = " and ".join(part.replace("_", " ") for part in counts)
    title, description = card.pop("title", what.capitalize()), card.pop("description", "")
    if arguments := facts.get("encoder"):
        rows = {"sensors": _sensors(arguments["sizes"])}
    if arguments := facts["world_model"]:
        of_u = (arguments.get("latent_actions") or {}).get("reads") == "u"
        rewards = ["reward"] if arguments.get("predict_reward") else []
        terminal = ["is_terminal"] if arguments.get("predict_terminal", True) else []
        rows = {
            "sensors": _sensors(arguments["sizes"]),
            "reads": ", ".join(arguments["inputs"]),
            "predicts": ", ".join((*arguments["targets"], *rewards, *terminal, *arguments.get("probes", ()))),
            "standardised": ", ".join(arguments.get("standardized", ())) or "nothing",
            "action size": arguments["action_size"] or "none: the model is action-free",
        } | ({"dynamics read": "latent actions, which policies decide on"} if of_u else {})
    rows |= {name.replace("_", " "): value for name, value in card.items() if value}
    rows |= {f"parameters of the {part.replace('_', ' ')}": f"{count:,}" for part, count in counts.items()}
    rows |= {"seeds": facts["num_seeds"] or 1} | facts["versions"]
    if (together := facts.get("ensemble", 1)) > 1:
        rows["seeds that act together"] = together
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    kind = (facts["policy"] or {}).get("kind", "policy")
    opener = "worldmodels.export" if ":" in kind or kind in BUILDERS else "experiments.models.files"
    own = dict.fromkeys(named({name: facts[name] or {} for name in PARTS}))
    imports = ["from worldmodels import registry"] * bool(own) + [f"from {opener} import load"]
    loads = [f'registry.load("{name}")  # yours, importable from here' for name in own]
    opening = "\n".join([*imports, "", *loads, 'models = load("THIS FOLDER")'])
    license = f"license: {card['license']}\n" if card.get("license") else ""
    return f"""---
library_name: aime-jax
{license}tags: [world-model, imitation-from-observation, jax]
---

# {title}

{description or f"{'An' if what[:1] in 'aeiou' else 'A'} {what} of the JAX implementation of AIME."}

| | |
|--|--|
{table}

Actions are in -1..1. `pre_action[t]` led to the sensors of record t.

```python
{opening}
{", ".join(counts)} = {", ".join(f"models.{part}" for part in counts)}
```

On the command line a world model stands where a pretraining run does: `python -m experiments imitate
--config.model=THIS FOLDER`. `model.json` has every constructor argument, `weights.safetensors` the weights by name;
opening them runs no code.
"""


def _sensors(sizes: Mapping) -> str:
    sizes = {
        name: size if isinstance(size, int) else f"{'x'.join(map(str, size))} pixels"
        for name, size in sizes.items()
    }
    return ", ".join(f"`{name}` ({size})" for name, size in sizes.items())


def load(folder: str | os.PathLike, seed: int | None = 0, *, builders: Registry = BUILDERS) -> Models:
    """Opens a model folder, or that of a finished run, or one on the Hub.

    Args:
      seed: of the models, if there are several; None: all of them, leaves [num_seeds, ...].
      builders: by the kind of a part, (arguments, key) -> networks.

    Raises:
      ValueError: nothing there, damaged, of another kind, or no such seed; the sentence says which.
    """
    folder = hub.local(folder)
    folder = folder / IN_A_RUN if (folder / IN_A_RUN / MODEL).is_file() else folder
    models = assemble(read_facts(folder), weights.read(folder), folder, builders)
    return models.stacked() if seed is None else models.seed(seed)


def assemble(
    facts: Mapping, arrays: Mapping[str, np.ndarray], folder: pathlib.Path, builders: Registry
) -> Models:
    """Puts weights into the networks that the content of a model.json describes; `folder` is for errors."""
    arguments = {name: facts[name] for name in PARTS if facts[name] is not None}
    num_seeds, environment = facts.get("num_seeds"), facts["card"].get("environment", "")
    if "world_model" in arguments:  # exports of format 1 have it in the card alone
        arguments["world_model"] = {"environment": environment} | arguments["world_model"]
    with explained(folder / MODEL, "its arguments make no model"):
        check_loaded(named(arguments))
        like = jax.eval_shape(lambda: _build(arguments, builders))
        check_parts(like, folder / MODEL, arguments.get("policy", {}).get("chunk", 1))
    if num_seeds is not None:
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype), like)
    parts = weights.with_leaves(like, arrays, str(weights.path_in(folder)))
    rest = dict(num_seeds=num_seeds, ensemble=facts.get("ensemble", 1))
    rest |= dict(loss=facts["loss"], card=facts["card"], path=str(folder))
    return Models(arguments, **parts, **rest)


def read_facts(folder: pathlib.Path) -> dict:
    """Reads the content of model.json and checks its form."""
    path = folder / MODEL
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; pass a folder that `export` has written, or a finished run."
        )
    try:
        facts = {"encoder": None, **json.loads(path.read_text())}  # earlier releases do not mention it
        version = facts["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); get an intact copy.") from error
    if not isinstance(version, int):
        raise ValueError(f"{path} is damaged (format {version!r} is no number); get an intact copy.")
    if version > FORMAT:
        raise ValueError(f"{path} was written by a newer version of this program; update it.")
    kinds = dict.fromkeys(PARTS, dict | None) | {"loss": dict, "card": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(facts.get(name, ...), kind)]
    number = facts.get("num_seeds")
    wrong += [] if number is None or (isinstance(number, int) and number > 0) else ["num_seeds"]
    together = facts.get("ensemble", 1)
    if not wrong and not (isinstance(together, int) and together > 0 and (number or 1) % together == 0):
        wrong = ["ensemble"]
    if wrong:
        raise ValueError(
            f"{path} is damaged ({', '.join(wrong)} missing or of another kind); get an intact copy."
        )
    return facts


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
    """Raises a ValueError for a policy or value networks that belong to another world model.

    Args:
      networks: {what it is called in the error: network}.
      path: of the networks.
      out_size: what each of them should return.
    """
    for name, network in networks.items():
        found = (network.first and network.first.in_features, network.out_size)
        if found != (model.feature_size, out_size):
            raise ValueError(
                f"{path}: {name} makes {found[1]} numbers of {found[0]} features, for the world model of this folder "
                f"they are {out_size} of {model.feature_size}; take it from the same run as the world model."
            )


def check_parts(parts: Mapping, path: pathlib.Path, chunk: int) -> None:
    """Raises a ValueError where policy and critic do not fit the world model; one without actions fits any policy.

    Args:
      path: of the parts.
      chunk: actions that the policy decides on at once.
    """
    if "world_model" not in parts:
        return
    model, critic = parts["world_model"], parts.get("critic", {})
    if isinstance(parts.get("policy"), TanhGaussianHead):
        network = parts["policy"].mean_net
        check_heads(model, {"policy": network}, path, chunk * model.read_size or network.out_size)
    check_heads(model, {name: pair[0] for name, pair in critic.items()}, path, 1)
