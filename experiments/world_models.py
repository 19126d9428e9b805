"""World models as runs keep them: built from a config and data, saved with what shapes them, loaded with one call."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from flax import nnx

from agents.policies import TanhGaussianPolicy
from experiments.envs.sensors import observation_setup
from experiments.files import write_atomically
from worldmodels.checkpoints import Checkpoints
from worldmodels.dataset import statistics
from worldmodels.episodes import Episode
from worldmodels.training import select_seed
from worldmodels.world_model import WorldModel

ARCHITECTURE = "world_model.json"
POLICY = "policy.json"


def architecture(config: Mapping, env_name: str, setup: str, episodes: Sequence[Episode]) -> dict:
    """The constructor arguments of the world model that `config` and the data ask for; JSON values only.

    Args:
      config: section `world_model` of a config: options of `WorldModel`, and `standardize`.
      env_name, setup: decide which sensors are inputs, targets and probes.
      episodes: embodiment data; decide the sizes.
    """
    roles = observation_setup(env_name, setup)
    options = dict(config)
    standardize, use_probes = options.pop("standardize"), options.pop("use_probes")
    records = episodes[0].records
    names = list(dict.fromkeys((*roles.inputs, *roles.targets, *roles.probes)))
    missing = [name for name in names if name not in records]
    if missing:
        raise ValueError(
            f"The data lacks {', '.join(missing)}, which set-up {setup!r} of {env_name!r} needs; it has "
            f"{', '.join(sorted(records))}. Choose data of this environment or another set-up."
        )
    return dict(
        options,
        sizes={name: sensor_size(records[name]) for name in names},
        inputs=list(roles.inputs),
        targets=list(roles.targets),
        probes=list(roles.probes) if use_probes else [],
        action_size=int(records["pre_action"].shape[-1]),
        standardized=[name for name in names if records[name].ndim == 2] if standardize else [],
    )


def sensor_size(values: np.ndarray) -> int | list[int]:
    """d of a vector sensor [T, d], [y, x] of images [T, y, x, 3]."""
    return int(values.shape[-1]) if values.ndim == 2 else [int(n) for n in values.shape[1:3]]


def build(arch: Mapping, key: jax.Array, episodes: Sequence[Episode] | None = None) -> WorldModel:
    """A fresh world model; without `episodes` the statistics are placeholders, to be restored from a checkpoint."""
    arch = dict(arch)
    sizes, standardized = arch.pop("sizes"), arch.pop("standardized")
    if episodes is not None:
        moments = statistics(episodes, standardized)
    else:
        moments = {name: (np.zeros(sizes[name]), np.ones(sizes[name])) for name in standardized}
    return WorldModel(sizes, statistics=moments, rngs=nnx.Rngs(key), **arch)


def save_architecture(workdir: pathlib.Path, name: str, arch: Mapping) -> None:
    """Writes the constructor arguments beside the checkpoints."""
    write_atomically(workdir / name, json.dumps(arch, indent=2))


def read_architecture(workdir: str | pathlib.Path, name: str) -> dict:
    """Reads them back."""
    path = pathlib.Path(workdir).expanduser() / name
    if not path.is_file():
        main = "experiments.pretrain" if name == ARCHITECTURE else "experiments.imitate"
        raise ValueError(f"{path} does not exist; pass the --workdir of a run of {main}.")
    return json.loads(path.read_text())


def load_world_models(workdir: str | pathlib.Path) -> tuple[WorldModel, int]:
    """All world models of a pretraining run, leaves [num_seeds, ...], and their number."""
    workdir = pathlib.Path(workdir).expanduser()
    arch = read_architecture(workdir, ARCHITECTURE)
    num_seeds = arch.pop("num_seeds")
    like = jax.eval_shape(lambda: stacked(lambda key: build(arch, key), num_seeds))
    return restore(workdir / "model", like), num_seeds


def load_policies(workdir: str | pathlib.Path) -> tuple[TanhGaussianPolicy, int]:
    """All policies of an imitation run, leaves [num_seeds, ...], and their number."""
    workdir = pathlib.Path(workdir).expanduser()
    arch = read_architecture(workdir, POLICY)
    num_seeds = arch.pop("num_seeds")
    like = jax.eval_shape(lambda: stacked(lambda key: build_policy(arch, key), num_seeds))
    return restore(workdir / "policy", like), num_seeds


def build_policy(arch: Mapping, key: jax.Array) -> TanhGaussianPolicy:
    """A fresh policy over features."""
    return TanhGaussianPolicy(rngs=nnx.Rngs(key), **arch)


def stacked(create, num_seeds: int, seed: int = 0):
    """`create(key)` for seeds seed .. seed + num_seeds - 1, leaves [num_seeds, ...].

    Created one by one, so that a model does not depend on how many are made beside it.
    """
    models = [create(jax.random.key(seed + i)) for i in range(num_seeds)]
    return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *models)


def restore(directory: pathlib.Path, like):
    """The newest checkpoint in `directory`; an error if there is none."""
    restored = Checkpoints(directory).restore(like)
    if restored is None:
        raise ValueError(f"{directory} holds no checkpoint; the run has not finished. Run its command again.")
    return restored[1]


def one_seed(tree, index: int, num_seeds: int):
    """The model of one seed."""
    if not 0 <= index < num_seeds:
        raise ValueError(f"There is no seed {index}; the run has {num_seeds}, numbered from 0.")
    return select_seed(tree, index)
