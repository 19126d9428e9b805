"""Pretrains an encoder of single frames, which `baseline`, `surrogate` and the matching rewards of `online` take.

    python -m experiments pretrain --config=pretrain:dynamo --config.embodiment=DIR --workdir=DIR

dynamo: latent dynamics of observations (agents/dynamo.py); inverse_dynamics: the action between frames, by an inverse
model as that of BCO (agents/bco.py). Only the encoder is kept.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
from flax import nnx

from agents.bco import inverse_dynamics_loss
from agents.dynamo import DynaMo, dynamo_loss
from agents.frame_stack import FrameStackNet
from experiments.data.arena import Arena
from experiments.models import architectures, files
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import diverged_result, last_values
from experiments.runs.paths import folders_of
from experiments.runs.training import Schedule, create_states, optimizer_from, print_storage, train
from worldmodels import export
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.data.loops import make_loops
from worldmodels.data.storage import open_dataset
from worldmodels.devices.sharding import place
from worldmodels.export import Models
from worldmodels.registry import Registry
from worldmodels.training import make_update

PREFIX = "train/encoder/"


@dataclasses.dataclass(frozen=True)
class EncoderLoss:
    """A loss that teaches an encoder.

    Attributes:
      network: class of a `FrameEncoder` and what else the loss needs, of windows of `num_frames` records.
      loss: (network, batch, key, **config.loss) -> (loss, metrics).
      reads_actions: False: it gets windows without actions.
    """

    network: type[nnx.Module]
    loss: Callable
    reads_actions: bool = False


LOSSES = Registry(
    "loss of an encoder",
    {
        "dynamo": EncoderLoss(DynaMo, dynamo_loss),
        "inverse_dynamics": EncoderLoss(FrameStackNet, inverse_dynamics_loss, reads_actions=True),
    },
)


def pretrain_encoder(directory: RunDirectory) -> dict:
    """Trains `config.num_seeds` encoders in one program, in an opened directory.

    Returns:
      {metric of the loss: [num_seeds] over the newest updates, "num_updates", "num_episodes"}, and "diverged" as of
      `diverged_result`.
    """
    config, num_seeds = directory.config, directory.config["num_seeds"]
    chosen = LOSSES.get(config["method"])
    placement = place(config["devices"], batch_sizes=[config["batch_size"]], num_seeds=num_seeds)
    arch, episodes = load(config, chosen)
    networks = architectures.stacked(make_network(config, chosen, arch, episodes), num_seeds, config["seed"])
    data = open_dataset(
        episodes,
        storage=config["storage"],
        length=config["length"],
        sensors=list(arch["sizes"]),
        with_actions=chosen.reads_actions,
        with_reward=False,
        on_storage=print_storage("Data"),
        placement=placement,
    )
    counts = dict(num_updates=config["num_updates"], num_episodes=len(episodes))
    del episodes  # images are large, and the dataset has them now
    optimizer = optimizer_from(config["optimizer"], config["num_updates"])
    update = make_update(functools.partial(chosen.loss, **config["loss"]), optimizer)
    draw = dict(batch_size=config["batch_size"], num_seeds=num_seeds, placement=placement)
    state = train(
        directory,
        create_states(networks, optimizer, config["seed"], num_seeds),
        make_loops(update, (data,), **draw),
        Schedule(config["num_updates"], config["updates_per_dispatch"], config["save_every"]),
        prefix=PREFIX,
        description=f"encoder by {config['method']}",
        placement=placement,
    )
    encoder = architectures.encoder_of(state.model, arch)
    files.save(directory.path, config, Models({"encoder": arch}, encoder=encoder, num_seeds=num_seeds))
    found = last_values(directory.path, PREFIX)
    result = {name: found[name] for name in found if name not in ("finite", "grad_norm")} | counts
    return directory.mark_done(result | diverged_result(state.step < config["num_updates"], state.step))


def load(config: dict, chosen: EncoderLoss) -> tuple[dict, list[Episode]]:
    """Reads the folders that the config names; returns the arguments of the encoder, and the episodes.

    Raises:
      ValueError: no folder, a sensor is missing, nothing is encoded, or a loss reads actions and there are none.
    """
    folders = folders_of(config["embodiment"])
    if not folders:
        raise ValueError("Pretraining needs a folder of episodes; pass --config.embodiment=DIR.")
    first = load_episodes(folders, limit=1, images_on_disk=True)
    env_name = Arena.of_episodes(first, config["env"]).name
    setup = architectures.chosen_setup(config, env_name, first[0])
    arch = architectures.encoder(config, env_name, setup, first)
    if not jax.tree.leaves(jax.eval_shape(lambda: export.build_encoder(arch, jax.random.key(0)).encoder)):
        raise ValueError("The identity has nothing to learn; pass --config.network.encoder.name=mlp.")
    keys = [*arch["sizes"], *(["pre_action"] if chosen.reads_actions else [])]
    episodes = load_episodes(folders, limit=config["num_episodes"], keys=keys, images_on_disk=True)
    if chosen.reads_actions:
        architectures.check_actions(episodes, "embodiment data")
    return arch, episodes


def make_network(
    config: dict, chosen: EncoderLoss, arch: dict, episodes: list[Episode]
) -> Callable[[jax.Array], nnx.Module]:
    """Returns key -> the network around a fresh encoder of one seed."""
    arguments = {name: value for name, value in arch.items() if name != "environment"}
    arguments |= config["dynamics"] | {"num_frames": config["length"]}
    if chosen.reads_actions:
        arguments["action_size"] = episodes[0].records["pre_action"].shape[-1]
    options = dict(episodes=episodes, network=chosen.network)
    return functools.partial(architectures.build_frame_stack, arguments, **options)
