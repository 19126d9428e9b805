"""Checkpoints of the authors' PyTorch repositories (argmax-ai/aime, argmax-ai/aime-v2) as our models.

A published folder holds `config.yaml` (OmegaConf), `model.pt`, and perhaps `policy.pt` and `vnet.pt`: PyTorch state
dicts. Tensors are opened with `weights_only=True`, which runs no code. Which architecture a checkpoint is, is read
off its tensors, because the configuration alone does not tell version 1 from version 2.

Every tensor must find its place: what is missing or left over is an error that names it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels.nets import MLP
from worldmodels.world_model import TanhGaussianHead, WorldModel

PUBLISHED_REWEIGHT = {"modility_wise": "modality_wise"}  # the published spelling


@dataclasses.dataclass(frozen=True)
class PublishedCheckpoint:
    """A published folder, loaded.

    Attributes:
      world_model: with the published weights.
      policy: TanhGaussianHead over features, or None.
      vnet: {reward: (value network, its target)} of AIME-v2, features -> [..., 1], or None.
      loss: keyword arguments of `losses.elbo_loss` as configured.
      config: the configuration as nested dicts, interpolations unresolved.
      names: {published tensor name: our parameter path}, for parity tests.
    """

    world_model: WorldModel
    policy: TanhGaussianHead | None
    vnet: dict[str, tuple[MLP, MLP]] | None
    loss: dict
    config: dict
    names: dict[str, tuple]


def load(folder: str | pathlib.Path) -> PublishedCheckpoint:
    """Loads a published folder; raises ValueError naming what does not fit."""
    folder = pathlib.Path(folder)
    config = read_config(folder / "config.yaml")
    tensors = read_tensors(folder / "model.pt")
    model = build_world_model(config, tensors)
    names = fill(model, tensors, world_model_names(model), folder / "model.pt")
    policy = load_policy(folder / "policy.pt") if (folder / "policy.pt").exists() else None
    vnet = load_value_networks(folder / "vnet.pt") if (folder / "vnet.pt").exists() else None
    return PublishedCheckpoint(model, policy, vnet, loss_options(config), config, names)


def read_config(path: pathlib.Path) -> dict:
    """The configuration as plain dicts."""
    import yaml

    if not path.exists():
        raise ValueError(
            f"{path} does not exist; a published checkpoint folder has config.yaml beside model.pt."
        )
    config = yaml.safe_load(path.read_text())
    if not isinstance(config, dict) or "world_model" not in config:
        raise ValueError(
            f"{path} has no 'world_model' section; it is not the configuration of a published run."
        )
    return config


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A PyTorch state dict as {name: array}; never runs code from the file."""
    if not path.exists():
        raise ValueError(f"{path} does not exist; pass the folder that holds the published checkpoint.")
    try:
        import torch
    except ImportError as error:
        raise ValueError("Reading .pt files needs PyTorch: pip install 'aime-jax[published]'.") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    except Exception as error:
        raise ValueError(
            f"{path} is not a PyTorch state dict that can be opened safely: {error}".split("\n")[0]
        ) from error


def loss_options(config: Mapping) -> dict:
    """Keyword arguments of `elbo_loss` from a published configuration."""
    world_model = config["world_model"]
    reweight = world_model.get("nll_reweight") or "none"
    return dict(
        kl_scale=float(world_model.get("kl_scale", 1.0)),
        kl_balance=world_model.get("kl_rebalance"),
        free_nats=float(world_model.get("free_nats") or 0.0),
        nll_reweight=PUBLISHED_REWEIGHT.get(reweight, reweight),
    )


def build_world_model(config: Mapping, tensors: Mapping[str, np.ndarray]) -> WorldModel:
    """A world model of the architecture that the tensors have, freshly initialised."""
    options = config["world_model"]
    inputs, targets, probes = sensor_roles(config, tensors)
    family = options.get("name", "rssmo").removesuffix("-discrete")
    plain_gru = "memory_cell.weight_ih" in tensors
    family = "rssmo-v1" if family == "rssmo" and plain_gru else family
    deter_size, *stoch = options["state_dim"]
    terminal = "decoders.is_terminal.prob_net.net.0.weight" in tensors
    min_std = options.get("min_std")
    ensemble = options.get("intrinsic_reward_config") or None
    return WorldModel(
        sensor_sizes(tensors, config),
        inputs=inputs,
        targets=targets,
        probes=probes,
        action_size=action_size(tensors, plain_gru, stoch),
        rssm=dict(
            family=family,
            deter_size=deter_size,
            stoch_size=stoch[0],
            num_classes=stoch[1] if len(stoch) > 1 else None,
            hidden_size=options["hidden_size"],
            hidden_layers=options["hidden_layers"],
            norm=options.get("norm"),
            min_std=1e-6 if min_std is None else min_std,
        ),
        encoder=module_options(options["encoders"]["tabular"]),
        decoder=module_options(options["decoders"]["tabular"]),
        probe=module_options(options["probes"]["tabular"]),
        binary=module_options(options["decoders"].get("binary", {"name": "binary"})),
        image_encoder=image_options(options["encoders"]["visual"], "width"),
        image_decoder=image_options({"sigmoid": True} | options["decoders"]["visual"], "width", "sigmoid"),
        predict_terminal=terminal,
        predict_reward=False,
        idm_mode=options.get("idm_mode", "detach") if "idm.mean_net.net.0.weight" in tensors else "none",
        idm=dict(hidden_size=options["hidden_size"], hidden_layers=options["hidden_layers"]),
        ensemble=ensemble_options(ensemble),
        rngs=nnx.Rngs(0),
    )


def module_options(options: Mapping) -> dict:
    """Published options of an encoder or decoder under our argument names."""
    renamed = {"hidden_activation": "activation"}
    dropped = {"have_head", "width", "sigmoid", "x"}
    published = {renamed.get(key, key): value for key, value in options.items() if key not in dropped}
    # The published MLPs default to ELU without normalisation; ours to what the class is mostly used with.
    defaults = {} if published["name"] == "identity" else {"activation": "elu", "norm": None}
    return defaults | published


def image_options(options: Mapping, *names: str) -> dict:
    """Published options of an image encoder or decoder; without `sigmoid`, AIME v1's sigmoid."""
    if options["name"] != "cnn_ha":
        raise ValueError(
            f"Image networks of the kind {options['name']!r} are not supported yet; known: cnn_ha."
        )
    return {"name": options["name"]} | {name: options[name] for name in names if name in options}


def ensemble_options(options: Mapping | None) -> dict | None:
    """Options of the disagreement ensemble, or None."""
    if not options or options.get("algo", "disagreement") != "disagreement":
        return None
    return dict(
        num_members=options["num_ensembles"],
        hidden_size=options["hidden_size"],
        hidden_layers=options["hidden_layers"],
    )


def sensor_roles(config: Mapping, tensors: Mapping) -> tuple[list[str], list[str], list[str]]:
    """(inputs, targets, probes): which sensors a checkpoint reads and predicts.

    Targets and probes are read off the tensors; inputs follow from the observation set-up and the sensor layout.
    """
    layout = config["env"]["sensors"]
    setup = config.get("environment_setup", "mdp")
    vectors = [name for name, sensor in layout.items() if sensor["modility"] == "tabular"]
    first = [name for name in vectors if layout[name].get("order") == "first"]
    inputs = {
        "mdp": vectors,
        "lpomdp": first,
        "pomdp": first,
        "exp": first,
        "visual": ["image"],
        "full": list(layout),
        "real": [n for n in layout if n not in vectors or layout[n].get("type") == "internal"],
    }
    if setup not in inputs:
        raise ValueError(f"Unknown environment_setup {setup!r}. Known: {', '.join(inputs)}.")
    decoded = list(dict.fromkeys(n.split(".")[1] for n in tensors if n.startswith("decoders.")))
    probes = list(dict.fromkeys(n.split(".")[1] for n in tensors if n.startswith("probes.")))
    return inputs[setup], [name for name in decoded if name != "is_terminal"], probes


def sensor_sizes(tensors: Mapping[str, np.ndarray], config: Mapping) -> dict[str, int | tuple[int, int]]:
    """{sensor: d} from the last layers of the decoders and probes, {image: (y, x)} from the configuration."""
    sizes = {}
    images = [name for name, sensor in config["env"]["sensors"].items() if sensor["modility"] == "visual"]
    for name in tensors:
        parts = name.split(".")
        if parts[0] in ("decoders", "probes") and parts[-1] == "bias":
            sizes[parts[1]] = tensors[name].shape[0]  # layers come in order: the last one stays
    sizes |= {name: tuple(config["env"].get("size", (64, 64))) for name in images}
    return sizes


def action_size(tensors: Mapping[str, np.ndarray], plain_gru: bool, stoch: list[int]) -> int:
    """A, from the first layer that reads [z, action]."""
    name = "pre_memory.net.0.weight" if "pre_memory.net.0.weight" in tensors else "memory_cell.weight_ih"
    if name not in tensors:
        raise ValueError("No 'pre_memory' or 'memory_cell' tensors; this is not a published RSSM checkpoint.")
    return int(tensors[name].shape[1] - np.prod(stoch))


# --- Names: {published tensor name: (our path, transpose)} ---------------------------------------------------------


def linear_names(prefix: str, path: tuple) -> dict[str, tuple]:
    """PyTorch stores weights [out, in], we store kernels [in, out]."""
    return {f"{prefix}.weight": (*path, "kernel"), f"{prefix}.bias": (*path, "bias")}


def norm_names(prefix: str, path: tuple) -> dict[str, tuple]:
    """LayerNorm: weight and bias become scale and bias."""
    return {f"{prefix}.weight": (*path, "scale"), f"{prefix}.bias": (*path, "bias")}


def mlp_names(prefix: str, path: tuple, mlp: MLP) -> dict[str, tuple]:
    """A published MLP numbers linear, norm and activation of a layer consecutively."""
    names, index = {}, 0
    for i in range(len(mlp.layers)):
        names |= linear_names(f"{prefix}.net.{index}", (*path, "layers", i))
        if mlp.norms:
            names |= norm_names(f"{prefix}.net.{index + 1}", (*path, "norms", i))
        index += 3 if mlp.norms else 2
    if mlp.head is not None:
        names |= linear_names(f"{prefix}.net.{index}", (*path, "head"))
    return names


def tanh_gaussian_names(prefix: str, path: tuple, head: TanhGaussianHead) -> dict[str, tuple]:
    """Policies and inverse dynamics models."""
    prefix = f"{prefix}." if prefix else ""
    return mlp_names(f"{prefix}mean_net", (*path, "mean_net"), head.mean_net) | mlp_names(
        f"{prefix}std_net", (*path, "std_net"), head.std_net
    )


def decoder_names(prefix: str, path: tuple, decoder: nnx.Module) -> dict[str, tuple]:
    """Any vector decoder, by the class it has."""
    kind = type(decoder).__name__
    if kind == "LearnedStdDecoder":
        return mlp_names(f"{prefix}.mu_net", (*path, "mean_net"), decoder.mean_net) | mlp_names(
            f"{prefix}.std_net", (*path, "std_net"), decoder.std_net
        )
    if kind == "CNNDecoder":
        names = linear_names(f"{prefix}.net.0", (*path, "input_layer"))
        for i in range(len(decoder.layers)):
            names |= linear_names(f"{prefix}.net.{2 * i + 2}", (*path, "layers", i))
        return names
    if kind == "GlobalStdDecoder":
        return mlp_names(f"{prefix}.mu_net", (*path, "net"), decoder.net) | {
            f"{prefix}.log_std": (*path, "log_std")
        }
    part = "prob_net" if kind == "BinaryDecoder" else "net"
    return mlp_names(f"{prefix}.{part}", (*path, "net"), decoder.net)


def rssm_names(rssm: nnx.Module) -> dict[str, tuple]:
    """Transition, prior and posterior."""
    names = {}
    if rssm.pre_memory is not None:
        names |= mlp_names("pre_memory", ("rssm", "pre_memory"), rssm.pre_memory)
    cell = ("rssm", "memory_cell")
    if hasattr(rssm.memory_cell, "norm"):
        names |= linear_names("memory_cell.input_layer", (*cell, "input_layer"))
        names |= norm_names("memory_cell.norm", (*cell, "norm"))
    else:
        for ours, theirs in (("input_layer", "ih"), ("memory_layer", "hh")):
            names[f"memory_cell.weight_{theirs}"] = (*cell, ours, "kernel")
            names[f"memory_cell.bias_{theirs}"] = (*cell, ours, "bias")
    for ours, theirs in (("prior_head", "prior"), ("posterior_head", "posterior")):
        head, path = getattr(rssm, ours), ("rssm", ours)
        if hasattr(head, "net"):
            names |= mlp_names(f"{theirs}_net", (*path, "net"), head.net)
        else:
            names |= mlp_names(f"{theirs}_mean", (*path, "mean_net"), head.mean_net)
            names |= mlp_names(f"{theirs}_std", (*path, "std_net"), head.std_net)
    return names


def world_model_names(model: WorldModel) -> dict[str, tuple]:
    """{published tensor name: our parameter path} of a whole world model."""
    names = rssm_names(model.rssm)
    for name in model.encoder.image_names:
        for i in range(len(model.encoder.images[name].layers)):
            names |= linear_names(f"encoders.{name}.net.{2 * i}", ("encoder", "images", name, "layers", i))
    if hasattr(model.encoder.vector, "net"):
        names |= mlp_names("encoders.tabular", ("encoder", "vector", "net"), model.encoder.vector.net)
    for group in ("decoders", "probes", "baseline_probes"):
        for name, decoder in getattr(model, group).items():
            names |= decoder_names(f"{group}.{name}", (group, name), decoder)
    if model.idm is not None:
        names |= tanh_gaussian_names("idm", ("idm",), model.idm)
    if model.ensemble is not None:
        for i in range(len(model.ensemble.kernels)):
            names[f"emb_prediction_heads.net.{2 * i}.weight"] = ("ensemble", "kernels", i)
            names[f"emb_prediction_heads.net.{2 * i}.bias"] = ("ensemble", "biases", i)
    return names


# --- Filling -------------------------------------------------------------------------------------------------------


def lookup(module, path: tuple) -> nnx.Variable:
    """The variable at `path` of attribute names and list indices."""
    for part in path:
        module = (
            module[part] if isinstance(part, int) or isinstance(module, nnx.Dict) else getattr(module, part)
        )
    return module


def fill(module, tensors: Mapping[str, np.ndarray], names: Mapping[str, tuple], path: pathlib.Path) -> dict:
    """Writes the tensors into a freshly built module; returns `names`.

    The only place that assigns to a module after it is built.
    """
    zeros = {"initial_memory", "initial_state"}
    for name in zeros & tensors.keys():
        if np.any(tensors[name]):
            raise ValueError(f"{path}: {name} is not zero; our initial state is.")
    missing = sorted(names.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - names.keys() - zeros)
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit the architecture in its config.yaml: missing tensors {missing or 'none'}, "
            f"unexpected tensors {unexpected or 'none'}."
        )
    for name, place in names.items():
        variable, value = lookup(module, place), tensors[name]
        value = in_our_layout(value, place)
        if variable.shape != value.shape:
            raise ValueError(f"{path}: {name} has shape {value.shape}, the model expects {variable.shape}.")
        variable.set_value(jnp.asarray(value))
    return dict(names)


def in_our_layout(value: np.ndarray, place: tuple) -> np.ndarray:
    """A published tensor as we store it.

    Linear [.., out, in] -> [.., in, out]; convolutions [out, in, y, x] -> [y, x, in, out]; transposed convolutions
    [in, out, y, x] -> [y, x, in, out], spatially flipped because ours correlate.
    """
    if value.ndim == 4:
        if "decoders" in place:
            return np.flip(value.transpose(2, 3, 0, 1), (0, 1))
        return value.transpose(2, 3, 1, 0)
    if value.ndim < 2 or place[-2:-1] == ("biases",):  # biases of ensembles are [K, out]
        return value
    return np.swapaxes(value, -1, -2)


def load_policy(path: str | pathlib.Path) -> TanhGaussianHead:
    """A published `policy.pt`: the tanh-Gaussian policy over features."""
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    weights = [value for name, value in tensors.items() if name.startswith("mean_net") and value.ndim == 2]
    if not weights:
        raise ValueError(f"{path} has no 'mean_net' tensors; it is not a published policy.")
    policy = TanhGaussianHead(
        weights[0].shape[1],
        weights[-1].shape[0],
        hidden_size=weights[0].shape[0],
        hidden_layers=len(weights) - 1,
        rngs=nnx.Rngs(0),
    )
    fill(policy, tensors, tanh_gaussian_names("", (), policy), path)
    return policy


def load_value_networks(path: str | pathlib.Path) -> dict[str, tuple[MLP, MLP]]:
    """A published `vnet.pt` of AIME-v2: {reward: (online, target)}."""
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    rewards = list(dict.fromkeys(name.split(".")[1] for name in tensors if name.startswith("vnets.")))
    if not rewards:
        raise ValueError(f"{path} has no 'vnets.<reward>' tensors; it is not a value network of AIME-v2.")
    networks, names = {}, {}
    for reward in rewards:
        prefix = f"vnets.{reward}"
        weights = [v for n, v in tensors.items() if n.startswith(f"{prefix}.vnet.") and v.ndim == 2]
        hidden_size, in_size = weights[0].shape
        options = dict(hidden_size=hidden_size, hidden_layers=len(weights) - 1)
        online, target = (MLP(in_size, 1, rngs=nnx.Rngs(0), **options) for _ in range(2))
        networks[reward] = (online, target)
        names |= mlp_names(f"{prefix}.vnet", (reward, 0), online)
        names |= mlp_names(f"{prefix}.vnet_target", (reward, 1), target)
    fill(nnx.Dict({reward: nnx.List(pair) for reward, pair in networks.items()}), tensors, names, path)
    return networks
