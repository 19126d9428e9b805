"""Architectures from configs and data: constructor arguments as JSON values, and the networks that they make."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx

from agents import sac
from agents.flow import FlowHead, FlowNet
from agents.forward_backward import PromptedPolicy
from agents.frame_stack import FrameStackNet
from experiments.data.demonstrations import Demonstrations
from experiments.envs.sensors import LAYOUTS, Setup, observation_setup, setup_of
from worldmodels import export
from worldmodels.action_head import TanhGaussianHead
from worldmodels.architecture import EMBEDDING
from worldmodels.checkpoints import named_leaves
from worldmodels.data.dataset import statistics
from worldmodels.data.episodes import Episode
from worldmodels.encoders import FrameEncoder
from worldmodels.representation import REPRESENTATIONS
from worldmodels.training import select_seed
from worldmodels.world_model import WorldModel

HEADS = ("gaussian", "flow")  # of policies: those that say one action, its mean, and those that say many
Network = TypeVar("Network")

# World models --------------------------------------------------------------------------------------------------------


def world_model(config: Mapping, env_name: str, setup: str | Setup, episodes: Sequence[Episode]) -> dict:
    """Returns the arguments of the world model that `config` and the data ask for, for `build_world_model`.

    Args:
      config: section `world_model` of a config: options of `WorldModel`, and `standardize`, `use_probes`,
        `predict_emb` (the embedding takes the place of all sensors as target, which become probes), `representation`
        (nothing does; vectors become probes, but not images, whose decoder is what is saved).
      env_name, setup: decide which sensors are inputs, targets and probes; see `chosen_setup`.
      episodes: embodiment data; decide the sizes.

    Raises:
      ValueError: the data lack a sensor, or it is of a kind that no network reads.
    """
    roles = setup if isinstance(setup, Setup) else observation_setup(env_name, setup)
    options = dict(config)
    standardize, use_probes = options.pop("standardize"), options.pop("use_probes")
    targets, probes = list(roles.targets), list(roles.probes)
    if options.pop("predict_emb", False):
        targets, probes = [EMBEDDING], probes + targets
    else:
        options["momentum"] = None
    representation = _representation(options.pop("representation", {}))
    if representation:
        options["representation"] = representation
        records = episodes[0].records
        vectors = [name for name in targets if name in records and records[name].ndim == 2]
        targets, probes = [name for name in targets if name == EMBEDDING], probes + vectors
    probes = probes if use_probes else []
    names = list(dict.fromkeys((*roles.inputs, *roles.targets, *probes)))
    return dict(
        options,
        inputs=list(roles.inputs),
        targets=targets,
        probes=probes,
        environment=env_name,
        **_sizes(names, standardize, env_name, setup, episodes),
    )


def _representation(section: Mapping) -> dict:
    """Returns `name` and options of what teaches the state in the place of decoders; {}: they do.

    Args:
      section: `name`, and {name: options} of the project's representations, or the options of one's own.
    """
    name = section.get("name", "reconstruction")
    if name == "reconstruction":
        return {}
    known = REPRESENTATIONS.choose(name) and name in REPRESENTATIONS
    return {"name": name, **section[name]} if known else dict(section)


def build_world_model(arch: Mapping, key: jax.Array, episodes: Sequence[Episode] | None = None) -> WorldModel:
    """Makes a fresh world model; without `episodes` the statistics are placeholders."""
    moments = None if episodes is None else statistics(episodes, arch.get("standardized", []))
    return export.build_world_model(arch, key, moments)


def policy_sizes(arch: Mapping) -> tuple[int, int]:
    """Returns F and R of the world model that `build_world_model` makes: what policies read, and decide on."""
    model = jax.eval_shape(lambda: build_world_model(arch, jax.random.key(0)))
    return model.feature_size, model.read_size


def chosen_setup(config: Mapping, env_name: str, episode: Episode) -> str | Setup:
    """Returns the set-up that a config names, or its sensors, or those of the data where nothing else is known.

    Args:
      config: of a method, see `setup_of`.
      env_name: "" where data are of no known environment.
      episode: one of them, whole.
    """
    published = env_name and ":" not in env_name
    if published and not any(config.get(key) for key in ("sensors", "targets", "probes")):
        return config["setup"]
    return setup_of(config, env_name, {name: episode.records[name].shape for name in episode.sensors})


# Encoders of frames --------------------------------------------------------------------------------------------------


def encoder(config: Mapping, env_name: str, setup: str | Setup, episodes: Sequence[Episode]) -> dict:
    """Returns the arguments of an encoder of frames, for `export.build_encoder`.

    Args:
      config: of experiments/configs/pretrain.py: `network`, `standardize`.
      env_name, setup, episodes: as of `world_model`.
    """
    names = (setup if isinstance(setup, Setup) else observation_setup(env_name, setup)).inputs
    sizes = _sizes(names, config["standardize"], env_name, setup, episodes)
    del sizes["action_size"]
    return dict(config["network"], environment=env_name, **sizes)


def encoder_of(network: nnx.Module, arch: Mapping) -> FrameEncoder:
    """Returns the encoder that is part of a network, or of those of all seeds; `arch` as of `export.build_encoder`."""
    fresh = jax.eval_shape(lambda: export.build_encoder(arch, jax.random.key(0)))
    known = named_leaves(network)
    return jax.tree.unflatten(jax.tree.structure(fresh), [known[name] for name in named_leaves(fresh)])


# Model-free networks -------------------------------------------------------------------------------------------------


def frame_stack(config: Mapping, env_name: str, setup: str | Setup, episodes: Sequence[Episode]) -> dict:
    """Returns the arguments of a baseline's networks, for `build_frame_stack`.

    Args:
      config: of experiments/configs/baseline.py: `method`, `stack`, `network`, `standardize`, what `decisions` reads.
      env_name, setup: decide which sensors are read.
      episodes: with actions; decide the sizes.

    Raises:
      ValueError: as `decisions`.
    """
    names = (setup if isinstance(setup, Setup) else observation_setup(env_name, setup)).inputs
    return dict(
        config["network"],
        kind="frame_stack",
        num_frames=config["stack"]
        or published_stack(config["setup"] if isinstance(setup, Setup) else setup, config["method"]),
        **_sizes(names, config["standardize"], env_name, setup, episodes),
        **decisions(config),
    )


def decisions(config: Mapping) -> dict:
    """Returns `chunk`, the actions that a policy decides on at once, if these are several, and `euler_steps` of a flow.

    Args:
      config: of experiments/configs/baseline.py: `chunk`, `head`, `euler_steps`; methods that lack them have neither.

    Raises:
      ValueError: a chunk without actions, a flow without steps, or an unknown head.
    """
    chunk, head, steps = config.get("chunk", 1), config.get("head", HEADS[0]), config.get("euler_steps", 1)
    if chunk < 1:
        raise ValueError(f"A chunk of {chunk} actions decides on nothing; give at least 1.")
    if head not in HEADS:
        raise ValueError(f"Unknown head {head!r}. Known: {', '.join(HEADS)}.")
    if steps < 1:
        raise ValueError(f"A flow of {steps} steps comes to no action; give euler_steps of at least 1.")
    if head == "flow":
        return {"chunk": chunk, "euler_steps": steps}
    return {"chunk": chunk} if chunk > 1 else {}


def published_stack(setup: str, method: str) -> int:
    """Returns the frames of published policies: one if it shows the whole state, else five (AIME v1) or three (v2)."""
    if setup == "mdp":
        return 1
    return 3 if method == "bco_alpha" else 5


def build_network(
    arch: Mapping,
    key: jax.Array,
    episodes: Sequence[Episode] | None = None,
    *,
    network: Callable[..., Network],
    more_frames: int = 0,
) -> Network:
    """Makes a fresh policy, or with `more_frames=1` an inverse model, or a forward model.

    Args:
      arch: of `frame_stack`; with `chunk` a policy has the outputs of so many actions, with `euler_steps` it is a flow.
      key: of the initial weights.
      episodes: data to standardise by; None leaves placeholders, to be restored.
      network: takes the arguments of `FrameStackNet`.
    """
    arch = {name: value for name, value in arch.items() if name != "kind"}
    build: Callable[..., Any] = network
    chunk, euler_steps = arch.pop("chunk", 1), arch.pop("euler_steps", None)
    if euler_steps is not None and network is FrameStackNet and not more_frames:
        build = functools.partial(FlowNet, chunk=chunk, euler_steps=euler_steps)
    elif chunk > 1 and not more_frames:
        arch["action_size"] *= chunk
    sizes, standardized, num_frames = arch["sizes"], arch.pop("standardized"), arch.pop("num_frames")
    if episodes is not None:
        moments = statistics(episodes, standardized)
    else:
        moments = {name: (np.zeros(sizes[name]), np.ones(sizes[name])) for name in standardized}
    return build(num_frames=num_frames + more_frames, statistics=moments, rngs=nnx.Rngs(key), **arch)


build_frame_stack = functools.partial(build_network, network=FrameStackNet)
build_prompted = functools.partial(build_network, network=PromptedPolicy)


def build_over_features(arch: Mapping, key: jax.Array) -> TanhGaussianHead | FlowHead:
    """Makes a fresh policy over the state of a world model, of `chunk` actions at once; with `euler_steps` a flow."""
    arch = {name: value for name, value in arch.items() if name != "kind"}
    if "euler_steps" in arch:
        return FlowHead(rngs=nnx.Rngs(key), **arch)
    chunk = arch.pop("chunk")
    return TanhGaussianHead(rngs=nnx.Rngs(key), **arch | {"action_size": chunk * arch["action_size"]})


def sac_actor(actor: sac.Actor, observer: Mapping) -> dict:
    """Returns the arguments of an actor of SAC, for `build_sac_actor`, with those of the `Observer` before it."""
    net, first = actor.net, actor.net.first
    assert first is not None, "the head is there"
    return dict(
        kind="sac",
        observation_size=first.in_features,
        action_size=net.out_size // 2,
        hidden_size=first.out_features,
        hidden_layers=len(net.layers),
        observer=dict(observer),
    )


def build_sac_actor(arch: Mapping, key: jax.Array) -> sac.Actor:
    """Makes a fresh actor of SAC."""
    return sac.Actor(
        rngs=nnx.Rngs(key), **{name: value for name, value in arch.items() if name != "observer"}
    )


def stacked(create, num_seeds: int, seed: int = 0):
    """Stacks `create(key)` of seeds seed .. seed + num_seeds - 1 to leaves [num_seeds, ...].

    Created one by one, so that a model does not depend on how many are made with it.
    """
    models = [create(jax.random.key(seed + i)) for i in range(num_seeds)]
    return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *models)


# What data have ------------------------------------------------------------------------------------------------------


def _sizes(
    names: Sequence[str], standardize: bool, env_name: str, setup: str | Setup, episodes: Sequence[Episode]
) -> dict:
    """Returns sizes, action_size and standardized of networks for these sensors; a ValueError if one is missing."""
    records = episodes[0].records
    missing = [name for name in names if name not in records]
    if missing:
        named = f"set-up {setup!r} of {env_name!r}"
        way_out = "Choose data of this environment or another set-up"
        if isinstance(setup, Setup):
            named, way_out = (
                "the chosen set-up",
                "Name what is there: --config.sensors=a,b, also targets and probes",
            )
        raise ValueError(
            f"The data lacks {', '.join(missing)}, which {named} needs; it has {', '.join(episodes[0].sensors)}. "
            f"{way_out}."
        )
    return dict(
        sizes={name: sensor_size(name, records[name]) for name in names},
        action_size=int(records["pre_action"].shape[-1]),
        standardized=[name for name in names if records[name].ndim == 2] if standardize else [],
    )


def sensor_size(name: str, values: np.ndarray) -> int | list[int]:
    """Returns d of a vector sensor [T, d], [y, x] of images [T, y, x, 3] uint8; a ValueError for anything else."""
    if values.ndim == 2:
        return int(values.shape[-1])
    shape = list(values.shape[1:])
    if values.ndim != 4 or 3 not in (shape[0], shape[-1]):
        raise ValueError(
            f"A record of {name!r} has shape {shape}; sensors are vectors [d] or images [y, x, 3]."
        )
    if shape[-1] != 3:
        raise ValueError(
            f"The images {name!r} have shape {shape}: move the channels to the end, [y, x, 3], with "
            "np.moveaxis(images, 1, -1)."
        )
    if values.dtype != np.uint8:
        raise ValueError(
            f"The images {name!r} are {values.dtype}; they must be uint8 from 0 to 255. Convert those in 0..1 with "
            "np.uint8(255 * images + 0.5)."
        )
    return shape[:2]


def check_body(arch: Mapping, episodes: Sequence[Episode], what: str, *, reader: str = "world model") -> None:
    """Raises a ValueError if episodes are of another body than the model: other sensors, sizes or actions.

    Args:
      arch: arguments of `export.build_world_model`, or of `export.build_encoder`.
      what: the episodes, as in "demonstrations".
      reader: who reads them.
    """
    records = episodes[0].records
    missing = [name for name in arch.get("inputs", arch["sizes"]) if name not in records]
    if missing:
        raise ValueError(
            f"The {what} lack {', '.join(missing)}, which the {reader} reads; they have "
            f"{', '.join(sorted(records))}. Use {what} with the sensors of the embodiment data."
        )
    known = [name for name in arch["sizes"] if name in records]
    sizes = {name: sensor_size(name, records[name]) for name in known}
    for name in known:
        expected, found = arch["sizes"][name], sizes[name]
        if found == expected:
            continue
        if isinstance(found, int):
            raise ValueError(
                f"{name} has size {found} in the {what}, the {reader} was built for {expected}. "
                f"Use {what} of the same body."
            )
        pixels, known_pixels = ("x".join(map(str, size)) for size in (found, expected))
        raise ValueError(
            f"The images {name!r} of the {what} have {pixels} pixels, the {reader} knows {known_pixels}; render the "
            f"{what} with {known_pixels}, or pretrain on images of {pixels}."
        )
    size = records["pre_action"].shape[-1] if "pre_action" in records else 0
    if size and arch.get("action_size") and size != arch["action_size"]:
        raise ValueError(
            f"Actions have size {size} in the {what}, the {reader} was built for {arch['action_size']}. "
            f"Use {what} of the same body."
        )
    # Images look alike for any body, and several bodies have as many actions.
    names = arch.get("environment") or "", episodes[0].metadata.get("environment") or ""
    ours, theirs = (str(name).partition("-")[0] for name in names)
    if ours != theirs and {ours, theirs} <= set(LAYOUTS):
        raise ValueError(
            f"The {what} are of {names[1]}, the {reader} was trained on {names[0]}. Use {what} of the same body."
        )


def check_actions(episodes: Sequence[Episode], what: str) -> None:
    """Raises a ValueError if episodes lack their actions; `what` as in `check_body`."""
    if not all(episode.records["pre_action"].shape[-1] for episode in episodes):
        raise ValueError(
            f"The {what} have no actions: pre_action has size 0. Use episodes that were kept with their actions."
        )


def sensors_for(models, episodes) -> list[str]:
    """Returns the sensors that the demonstrations and the model share."""
    wanted = list(dict.fromkeys((*models.inputs, *models.targets, *models.probes)))
    return [name for name in wanted if name in episodes[0].records and name not in ("reward", "is_terminal")]


def demonstrations(config: Mapping, models, arch: Mapping) -> Demonstrations:
    """Reads the demonstrations of a config, with the sensors that they share with world models of `arch`.

    Raises:
      ValueError: they, or the environment, are of another body than the models.
    """

    def sensors(env_name: str, first: Episode) -> list[str]:
        check_body(arch, [first], "demonstrations")
        return sensors_for(models, [first])

    options = dict(env=config["env"], sensors=sensors, inputs=models.inputs)
    shown = Demonstrations.read(config["demonstrations"], config["num_demonstrations"], **options)
    sizes = {name: arch["sizes"][name] for name in models.inputs}
    shown.arena.check(sizes, models.action_size, config["evaluation"]["workers"])
    max_gap = (config.get("common_parts") or {}).get("max_gap")
    if max_gap is None:
        return shown
    model = select_seed(models, 0)
    encode = jax.jit(model.encode)
    return shown.common(
        lambda episode: np.asarray(
            encode({name: np.asarray(episode.records[name]) for name in model.inputs})
        ),
        max_gap=max_gap,
        min_length=config["length"],
    )
