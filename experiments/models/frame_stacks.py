"""Frame-stack networks as runs keep them: built from a config and data, saved with their shape, loaded."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from flax import nnx

from agents.frame_stack import FrameStackNet
from experiments.envs.sensors import observation_setup
from experiments.models import world_models
from worldmodels.data.dataset import statistics
from worldmodels.data.episodes import Episode
from worldmodels.export import explained
from worldmodels.files import write_atomically

ARCHITECTURE = "frame_stack.json"


def architecture(config: Mapping, env_name: str, setup: str, episodes: Sequence[Episode]) -> dict:
    """What shapes the networks of a baseline, as JSON values: constructor arguments of the policy, and more.

    Args:
      config: of experiments/configs/baseline.py: `method`, `stack`, `network`, `standardize`, `num_seeds`.
      env_name, setup: decide which sensors are read.
      episodes: with actions; decide the sizes.
    """
    names = observation_setup(env_name, setup).inputs
    records = episodes[0].records
    missing = [name for name in names if name not in records]
    if missing:
        raise ValueError(
            f"The data lacks {', '.join(missing)}, which set-up {setup!r} of {env_name!r} needs; it has "
            f"{', '.join(sorted(records))}. Choose data of this environment or another set-up."
        )
    return dict(
        config["network"],
        sizes={name: world_models.sensor_size(name, records[name]) for name in names},
        action_size=int(records["pre_action"].shape[-1]),
        num_frames=config["stack"] or published_stack(setup, config["method"]),
        standardized=[name for name in names if records[name].ndim == 2] if config["standardize"] else [],
        num_seeds=config["num_seeds"],
    )


def published_stack(setup: str, method: str) -> int:
    """Frames that published policies read: one where it shows the whole state, else five (AIME v1) or three (v2)."""
    if setup == "mdp":
        return 1
    return 3 if method == "bco_alpha" else 5


def build(
    arch: Mapping,
    key: jax.Array,
    episodes: Sequence[Episode] | None = None,
    *,
    network: type[nnx.Module] = FrameStackNet,
    more_frames: int = 0,
) -> nnx.Module:
    """A fresh policy, or with `more_frames=1` an inverse model, or a forward model.

    Args:
      arch: of `architecture`.
      key: of the initial weights.
      episodes: data to standardise by; None leaves placeholders, to be restored from a checkpoint.
      network: class that takes the arguments of `FrameStackNet`.
    """
    arch = {name: value for name, value in arch.items() if name != "num_seeds"}
    standardized, num_frames = arch.pop("standardized"), arch.pop("num_frames")
    if episodes is not None:
        moments = statistics(episodes, standardized)
    else:
        sizes = arch["sizes"]
        moments = {name: (np.zeros(sizes[name]), np.ones(sizes[name])) for name in standardized}
    return network(num_frames=num_frames + more_frames, statistics=moments, rngs=nnx.Rngs(key), **arch)


def save_architecture(workdir: pathlib.Path, arch: Mapping) -> None:
    """Writes it beside the checkpoints."""
    write_atomically(workdir / ARCHITECTURE, json.dumps(arch, indent=2))


def read_architecture(workdir: pathlib.Path) -> dict:
    """Reads it back."""
    path = workdir / ARCHITECTURE
    if not path.is_file():
        raise ValueError(f"{path} does not exist; pass the --workdir of a run of `baseline`.")
    return world_models.read_architecture(workdir, ARCHITECTURE)


def load_policies(workdir: str | pathlib.Path) -> tuple[FrameStackNet, int]:
    """All policies of a run of `baseline`, leaves [num_seeds, ...], and their number."""
    workdir = pathlib.Path(workdir).expanduser()
    arch = read_architecture(workdir)
    with explained(workdir / ARCHITECTURE, "its arguments make no policy"):
        like = jax.eval_shape(lambda: world_models.stacked(lambda key: build(arch, key), arch["num_seeds"]))
    return world_models.restore(workdir / "policy", like), arch["num_seeds"]
