"""AIME phase 1: trains a world model on embodiment data (observations and actions, any behaviour).

    python -m experiments pretrain --config=pretrain --config.embodiment=DIR --workdir=DIR

With the presets dynamo and inverse_dynamics it trains an encoder of frames alone, see `pretrain_encoder`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import optax

from aime.latent_actions import latent_action_loss
from experiments.data.arena import Arena
from experiments.methods.pretrain_encoder import pretrain_encoder
from experiments.models import architectures, files, inspection
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import diverged_result, last_elbo
from experiments.runs.paths import folders_of
from experiments.runs.processes import open_run
from experiments.runs.training import Schedule, create_states, optimizer_from, print_storage, train
from worldmodels import report
from worldmodels.data.dataset import SequenceDataset, sample
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.data.loops import Dataset, make_loops
from worldmodels.data.relevance import weighted_windows
from worldmodels.data.storage import open_dataset
from worldmodels.devices.sharding import Placement, place
from worldmodels.export import Models
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.training import make_update, select_seed

CONTEXT = 10  # records that open-loop predictions see


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains `config.num_seeds` world models in one program, or encoders of frames.

    Returns:
      Of encoders see `pretrain_encoder`. Of world models {"elbo_per_record": [num_seeds], "open_loop_mse": {sensor:
      [num_seeds]}, "num_updates", "num_episodes", "num_actions", "num_unlabelled"}, and "diverged" as of
      `diverged_result`.
    """
    with open_run(workdir, config, fresh=fresh) as directory:
        if directory.done:
            return directory.result
        return (pretrain_encoder if "method" in directory.config else pretrain)(directory)


def pretrain(directory: RunDirectory) -> dict:
    """Runs in an opened directory."""
    config = directory.config
    num_seeds = config["num_seeds"]
    if not config["embodiment"]:
        raise ValueError("Pretraining needs a folder of episodes with actions; pass --config.embodiment=DIR.")
    placement = place(config["devices"], batch_sizes=[config["batch_size"]], num_seeds=num_seeds)
    first = load_episodes(folders_of(config["embodiment"]), limit=1, images_on_disk=True)
    env_name = Arena.of_episodes(first, config["env"]).name
    setup = architectures.chosen_setup(config, env_name, first[0])
    named = {"use_probes": True} if config["probes"] else {}
    arch = architectures.world_model(config["world_model"] | named, env_name, setup, first)
    if config["unlabelled"]:
        arch["latent_actions"] = config["latent_actions"]
    elif config["latent_actions"]["reads"] != "action":
        raise ValueError(
            "Dynamics read latent actions where some actions are unknown; pass --config.unlabelled=DIR (the embodiment "
            "data themselves, if there are no others), or latent_actions.reads=action."
        )
    if config["action_free"]:
        arch["action_size"] = 0
    keys = (*arch["sizes"], "pre_action")
    options = dict(limit=config["num_episodes"], keys=keys, images_on_disk=True)
    episodes = load_episodes(folders_of(config["embodiment"]), **options)
    build = functools.partial(architectures.build_world_model, arch, episodes=episodes)
    models = architectures.stacked(build, num_seeds, config["seed"])
    data = embodiment_windows(config, arch, episodes, placement)
    metadata, counts = episodes[0].metadata, dict(num_episodes=len(episodes))
    counts["num_actions"] = sum(episode.length for episode in episodes) if arch["action_size"] else 0
    del build, episodes  # images are large, and the dataset has them now
    unlabelled, counts["num_unlabelled"] = unlabelled_windows(config, arch, placement)
    print(f"Actions that are known: {counts['num_actions']}, of {counts['num_episodes']} episodes.")

    optimizer = optimizer_from(config["optimizer"], config["num_updates"])
    state = create_states(models, optimizer, config["seed"], num_seeds)
    loss = latent_action_loss if unlabelled else elbo_loss
    update = update_of(loss, LossOptions(**config["loss"]), optimizer)
    draw = {name: config[name] for name in ("batch_size", "first_fraction")}
    state = train(
        directory,
        state,
        make_loops(update, (data, *unlabelled), num_seeds=num_seeds, placement=placement, **draw),
        Schedule(config["num_updates"], config["updates_per_dispatch"], config["save_every"]),
        prefix="train/model/",
        description="world model",
        placement=placement,
    )
    elbo = last_elbo(directory.path, "train/model/", config["length"])
    models = Models({"world_model": arch}, state.model, num_seeds=num_seeds, loss=config["loss"], card=elbo)
    files.save(directory.path, config, models)
    result = elbo | assess(directory, state.model, data, placement, env_name, metadata)
    result |= dict(num_updates=config["num_updates"]) | counts
    return directory.mark_done(result | diverged_result(state.step < config["num_updates"], state.step))


@functools.lru_cache(maxsize=16)
def update_of(loss: Callable, options: LossOptions, optimizer: optax.GradientTransformation) -> Callable:
    """Returns the update of a loss, the same one for equal arguments, so that it is compiled once."""
    return make_update(functools.partial(loss, options=options), optimizer)


@functools.partial(jax.jit, static_argnames="context")
def open_loop_errors(models, batch, context: int) -> dict:
    """Computes {sensor: [num_seeds]} of `report.open_loop_error`."""
    error = functools.partial(report.open_loop_error, context=context)
    return jax.vmap(error, in_axes=(0, None))(models, batch)


def assess(
    directory: RunDirectory, models, data: Dataset, placement: Placement, env_name: str, metadata: dict
) -> dict:
    """Measures what the models foresee of embodiment data, and draws what the first one does.

    Returns:
      {"open_loop_mse": {sensor: [num_seeds]}}.
    """
    config = directory.config
    draw = functools.partial(sample, batch_size=config["batch_size"])
    batch = placement.draw(draw, data, jax.random.key(config["seed"]))
    context = min(CONTEXT, config["length"] // 2)
    errors = open_loop_errors(models, batch, context)
    found = {name: value.tolist() for name, value in errors.items()}
    if directory.leads:
        inspection.write(
            directory.path,
            select_seed(models, 0),
            batch,
            env_name=env_name,
            metadata=metadata,
            context=context,
            update=config["num_updates"],
            title="on embodiment data",
        )
    return {"open_loop_mse": found}


def embodiment_windows(config: dict, arch: dict, episodes: list[Episode], placement: Placement) -> Dataset:
    """Returns the windows that the model learns from: all alike (published), or by their likeness to demonstrations."""
    with_reward = config["world_model"]["predict_reward"]
    options = dict(length=config["length"])
    data = open_dataset(
        episodes,
        storage=config["storage"],
        sensors=list(arch["sizes"]),
        with_reward=with_reward,
        on_storage=print_storage("Embodiment data"),
        placement=placement,
        **options,
    )
    relevance = dict(config["relevance"])
    source, number = folders_of(relevance.pop("demonstrations")), relevance.pop("num_demonstrations")
    if not source:
        return data
    if placement.num_processes > 1:
        raise ValueError(
            "Windows are weighted by one process; leave relevance.demonstrations empty with several."
        )
    sensors = tuple(name for name in arch["inputs"] if episodes[0].records[name].ndim == 2)
    if not sensors:
        raise ValueError(
            "Windows are weighted by vectors, and this set-up reads none; leave relevance.demonstrations empty."
        )
    shown = SequenceDataset.create(
        load_episodes(source, limit=number, keys=sensors), sensors=sensors, with_actions=False, **options
    )
    key = jax.random.fold_in(jax.random.key(config["seed"]), 2)
    return weighted_windows(data, shown, key, sensors=sensors, **relevance)


def unlabelled_windows(config: dict, arch: dict, placement: Placement) -> tuple[tuple[Dataset, ...], int]:
    """Returns the windows whose actions are not known, if the config names some, and of how many episodes."""
    folders = folders_of(config["unlabelled"])
    if not folders:
        return (), 0
    if not arch["action_size"]:
        raise ValueError("A model without actions needs no labels; give it all data as --config.embodiment.")
    first = load_episodes(folders, limit=1, images_on_disk=True)
    architectures.check_body({**arch, "action_size": 0}, first, "unlabelled data")
    sensors = [name for name in arch["sizes"] if name in first[0].records]
    episodes = load_episodes(folders, limit=config["num_unlabelled"], keys=sensors, images_on_disk=True)
    data = open_dataset(
        episodes,
        storage=config["storage"],
        length=config["length"],
        sensors=sensors,
        with_actions=False,
        with_reward=False,
        on_storage=print_storage("Unlabelled data"),
        placement=placement,
    )
    return (data,), len(episodes)
