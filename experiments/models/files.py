"""Models on disk: those of a run or an export, which are kept alike, and those that the papers' authors published.

`save` writes the models of a run, `load` opens whatever has some. A run of `imitate` keeps its policies alone where
the world model stays as it was; `load_complete` adds the world model that its config names.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

from agents.latent_action_model import LatentPolicy
from agents.pidm import PredictivePolicy
from experiments.models import architectures, former
from experiments.runs.directory import RunDirectory
from experiments.runs.settings import read_config
from experiments.runs.stages import seed_path
from worldmodels import export, hub
from worldmodels.checkpoints import named_leaves
from worldmodels.data.episodes import SUFFIXES
from worldmodels.export import Models
from worldmodels.published import files as published_files
from worldmodels.published import folder as published
from worldmodels.registry import Registry

Fresh = TypeVar("Fresh")

BUILDERS: Registry[object] = Registry(
    "kind of policy",
    {
        **dict(export.BUILDERS.items()),
        "frame_stack": architectures.build_frame_stack,
        "prompted": architectures.build_prompted,
        "latent_policy": functools.partial(architectures.build_network, network=LatentPolicy),
        "over_features": architectures.build_over_features,
        "pidm": functools.partial(architectures.build_network, network=PredictivePolicy),
        "sac": architectures.build_sac_actor,
    },
)
OVER_FEATURES = ("", "over_features")  # kinds that see through a world model
NEEDED = {
    "world_model": "no world model; pass the --workdir of a run of `pretrain`, a folder of `export`, or a published "
    "folder with config.yaml and model.pt",
    "policy": "no policy; pass a run of `imitate`, or a folder with a policy",
    "critic": "no critic; use a run of `dreamer` or a folder with one",
    "encoder": "no encoder of frames; pass the --workdir of a run of `pretrain`, which trains a world model or, with "
    "the preset dynamo or inverse_dynamics, an encoder, or a folder of `export` with one of them",
}


def save(run: pathlib.Path, config: Mapping, models: Models) -> None:
    """Writes the models of a run into its directory, with a card from its config."""
    facts = {
        "title": run.name,
        "environment": models.arguments.get("world_model", {}).get("environment") or config.get("env"),
        "data": config.get("embodiment"),
        "demonstrations": config.get("demonstrations"),
        "num_updates": config.get("num_updates"),
    }
    card = {name: value for name, value in facts.items() if value and isinstance(value, str | int)}
    models = dataclasses.replace(models, card=models.card | card)
    export.save(run / export.IN_A_RUN, models, replace=True)


def load(path: str | pathlib.Path, *needs: str) -> Models:
    """Opens the models of a run, an export (also on the Hub) or a published folder, leaves [num_seeds, ...].

    Args:
      needs: parts that are asked for.

    Raises:
      ValueError: a part is not there, or something does not fit; one sentence says what.
    """
    models = opened(path)
    for part in needs or ("world_model",) * (not models.parts):
        if part not in models.parts:
            raise without(models, part)
    return models


def is_model(folder: pathlib.Path) -> bool:
    """Returns True for a folder of `export`, or one that the papers' authors published."""
    return (folder / export.MODEL).is_file() or (folder / published_files.CONFIG).is_file()


def opened(path: str | pathlib.Path) -> Models:
    """Opens what models there are in a folder; see `load`. There may be none."""
    name, path = str(path), hub.local(path)
    config = read_config(path) if (path / "config.json").is_file() else None
    if any((folder / export.MODEL).is_file() for folder in (path, path / export.IN_A_RUN)):
        models = export.load(path, None, builders=BUILDERS)
    elif (path / published_files.CONFIG).is_file():
        models = published.load(path).stacked()
    elif found := former.read(path, config or {}):
        models = export.assemble(*found, path, BUILDERS)
    elif config is not None and not (path / "DONE").is_file():
        raise ValueError(f"{path} holds no model yet; the run has not finished. Run its command again.")
    else:
        models = Models({})
    return dataclasses.replace(models, path=name)


def without(models: Models, part: str) -> ValueError:
    """Returns the error of opened models that lack a part: what to pass, and what was found."""
    folder = hub.local(models.path)
    if models.parts:
        found = " and ".join(f"a {name.replace('_', ' ')}" for name in models.parts)
    elif not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
    elif any(path.suffix in SUFFIXES and path.stem.isdecimal() for path in files_of(folder)):
        found = "episodes"
    else:
        found = "neither models nor episodes"
    return ValueError(f"{models.path} holds {NEEDED[part]}; found: {found}.")


def files_of(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the files of a folder and of those in it, but no deeper."""
    yield from folder.glob("*")
    yield from folder.glob("*/*")


def load_complete(path: str | pathlib.Path) -> Models:
    """Opens the models of a run with the world model that its policies see through, wherever that is kept."""
    models = load(path)
    kind = models.arguments.get("policy", {}).get("kind", "")
    of_a_run = (pathlib.Path(path).expanduser() / "config.json").is_file()
    sees = kind in OVER_FEATURES or (":" in kind and of_a_run and read_config(path).get("model"))
    if models.world_model is not None or models.encoder is not None or not sees:
        return models
    seen = load(read_config(path)["model"], "world_model")
    arch = seen.arguments["world_model"]
    return dataclasses.replace(
        models,
        arguments=models.arguments | {"world_model": arch},
        world_model=for_seeds(seen, models.num_seeds or 1),
        loss=seen.loss,
        card={"environment": arch.get("environment", "")}
        | {name: seen.card[name] for name in ("data",) if name in seen.card}
        | models.card,
    )


def load_encoder(path: str | pathlib.Path) -> Models:
    """Opens an encoder of frames, or that of a world model, leaves [num_seeds, ...]; see `load`."""
    models = opened(path)
    if models.encoder is not None:
        return models
    if models.world_model is None:
        raise without(models, "encoder")
    whole = models.arguments["world_model"]
    arch = {
        "sizes": {name: whole["sizes"][name] for name in whole["inputs"]},
        "standardized": [name for name in whole.get("standardized", []) if name in whole["inputs"]],
        "environment": whole.get("environment", ""),
        "encoder": whole.get("encoder") or {"name": "mlp"},
        "image_encoder": whole.get("image_encoder"),
    }
    encoder = architectures.encoder_of(models.world_model, arch)
    return Models({"encoder": arch}, encoder=encoder, num_seeds=models.num_seeds, path=models.path)


def for_seeds(models: Models, num_seeds: int, part: str = "world_model"):
    """Returns a part with leaves [num_seeds, ...]: one per policy, or the same for all."""
    if models.num_seeds == num_seeds:
        return models.parts[part]
    if models.num_seeds == 1:
        return jax.tree.map(lambda x: jnp.repeat(x, num_seeds, axis=0), models.parts[part])
    what = part.replace("_", " ")
    raise ValueError(
        f"{models.path} holds {models.num_seeds} {what}s, the run asks for {num_seeds} policies; "
        f"use as many, or a run with one {what}."
    )


def merge(runs: Sequence[str | pathlib.Path]) -> Models:
    """Joins the models of several runs with the same architecture, as those of one run with as many seeds."""
    models = [load(run) for run in runs]
    parts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(each.parts for each in models))
    returns = [row for each in models for row in each.card.get("returns", [])]
    card = models[0].card | ({"returns": returns} if returns else {})
    return dataclasses.replace(
        models[0], num_seeds=sum(each.num_seeds or 1 for each in models), card=card, **parts
    )


def save_seeds(directory: RunDirectory) -> None:
    """Writes the models of seeds, which have directories of their own, into that of their run; see `merge`."""
    seeds = range(directory.config["num_seeds"])
    save(directory.path, directory.config, merge([seed_path(directory, index) for index in seeds]))


# Starting from kept parameters ---------------------------------------------------------------------------------------


def adopt(fresh: Fresh, pretrained: object) -> tuple[Fresh, list[bool]]:
    """Gives `fresh` every parameter that `pretrained` has under the same name and with the same shape.

    New heads stay fresh, and heads that are not wanted any more are left behind.

    Returns:
      The model, and for each of its leaves whether it was adopted.
    """
    known = {(name, leaf.shape): leaf for name, leaf in named_leaves(pretrained).items()}
    keys = [(name, leaf.shape) for name, leaf in named_leaves(fresh).items()]
    leaves, treedef = jax.tree.flatten(fresh)
    leaves = [known.get(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, leaves), [key in known for key in keys]


def policy_in_place_of(fresh, path: str | pathlib.Path, seed: int, key: str):
    """Gives a fresh policy the parameters of one that is kept.

    Args:
      seed: which; beyond the last one they are counted from 0 again.
      key: of the config that names `path`.

    Raises:
      ValueError: it is of another size.
    """
    models = load(path, "policy")
    return _replaced(fresh, models.seed(seed % (models.num_seeds or 1)).policy, key)


def critic_in_place_of(fresh: Mapping, path: str | pathlib.Path, seed: int, key: str) -> tuple[dict, dict]:
    """Gives fresh value networks {reward: network} kept parameters, as `policy_in_place_of` does.

    Returns:
      The networks and their targets.

    Raises:
      ValueError: it is of other rewards or of another size.
    """
    models = load(path, "critic")
    pairs = models.seed(seed % (models.num_seeds or 1)).critic or {}
    if not fresh or set(fresh) - set(pairs):
        raise ValueError(
            f"The critic that --config.{key} names is of the reward {', '.join(pairs)}, this run seeks "
            f"{', '.join(fresh) or 'none'}; seek the same one, or begin with a fresh critic: --config.{key}=''."
        )
    networks, targets = (_replaced(fresh, {name: pairs[name][i] for name in fresh}, key) for i in (0, 1))
    # AIME v1 has published no target, its network stands for it: a copy, because both are donated to updates.
    return networks, jax.tree.map(jnp.copy, targets)


def _replaced(fresh, kept, key: str):
    """Gives `fresh` the parameters of `kept`, all of them."""
    model, adopted = adopt(fresh, kept)
    if not all(adopted) or len(adopted) != len(named_leaves(kept)):
        raise ValueError(
            f"What --config.{key} names has other sizes than this run asks for; give this run the same sizes "
            "(config.policy, config.critic or config.sac, and the world model by config.model)."
        )
    return model
