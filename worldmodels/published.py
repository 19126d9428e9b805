"""Checkpoints of the authors' PyTorch repositories (argmax-ai/aime, argmax-ai/aime-v2) as our models.

A published folder holds `config.yaml` (OmegaConf), `model.pt`, and perhaps `policy.pt` and `vnet.pt`: PyTorch state
dicts. Tensors are opened with `weights_only=True`, which runs no code. Which architecture a checkpoint is, is read
off its tensors, because the configuration alone does not tell version 1 from version 2.

Every tensor must find its place: what is missing or left over is an error that names it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels.export import check_heads, explained
from worldmodels.nets import MLP, NORMS
from worldmodels.published_names import (
    in_our_layout,
    lookup,
    mlp_names,
    tanh_gaussian_names,
    world_model_names,
)
from worldmodels.world_model import TanhGaussianHead, WorldModel

PUBLISHED_REWEIGHT = {"modility_wise": "modality_wise"}  # the published spelling
CONFIG = "config.yaml"
# Published options of vector networks under our argument names, those of encoders alone, and of image networks.
VECTOR_OPTIONS = {
    "name": "name",
    "hidden_size": "hidden_size",
    "hidden_layers": "hidden_layers",
    "hidden_activation": "activation",
    "norm": "norm",
    "min_std": "min_std",
    "have_head": "head",
}
HEAD_OPTIONS = {"out_features": "out_size", "output_activation": "output_activation"}
WITHOUT_EFFECT = ("width", "zero_init")
IMAGE_OPTIONS = {
    "cnn_ha": ("width", "sigmoid"),
    "dreamer_resnet": ("width", "blocks", "minres", "sigmoid"),
}
PUBLISHED_MLP = dict(hidden_size=32, hidden_layers=2, activation="elu", norm=None)  # where a config is silent


@dataclasses.dataclass(frozen=True)
class PublishedCheckpoint:
    """A published folder, loaded.

    Attributes:
      world_model: with the published weights.
      policy: TanhGaussianHead over features, or None.
      vnet: {reward: (value network, its target)}, features -> [..., 1], or None. AIME v1 has one network, here called
        "reward", that predicts (1 - gamma) V.
      loss: keyword arguments of `losses.elbo_loss` as configured.
      config: the configuration as nested dicts, interpolations unresolved.
      names: {published tensor name: our parameter path}, for parity tests.
      arguments: constructor arguments of the world model, as JSON can hold them.
    """

    world_model: WorldModel
    policy: TanhGaussianHead | None
    vnet: dict[str, tuple[MLP, MLP]] | None
    loss: dict
    config: dict
    names: dict[str, tuple]
    arguments: dict


def load(
    folder: str | pathlib.Path, *, sizes: Mapping | None = None, new_heads: Sequence[str] = ()
) -> PublishedCheckpoint:
    """Loads a published folder.

    Args:
      sizes: {sensor: d} where the checkpoint does not tell: several vectors that are read and never predicted.
      new_heads: decoders that the checkpoint may lack; they start from scratch (AIME-v2 adds "viper_reward").

    Raises:
      ValueError: naming what does not fit.
    """
    folder = pathlib.Path(folder).expanduser()
    config = read_config(folder / CONFIG)
    tensors = read_tensors(folder / "model.pt")
    with explained(
        folder / CONFIG, "its sections world_model and env do not describe the tensors of model.pt"
    ):
        arguments = world_model_arguments(config, tensors, sizes or {}, new_heads)
        loss = loss_options(config)
        model = WorldModel(**arguments, rngs=nnx.Rngs(0))
    fresh = tuple(f"decoders.{name}." for name in new_heads)
    names = fill(model, tensors, world_model_names(model), folder / "model.pt", fresh)
    min_std = (config.get("policy") or {}).get("min_std")
    policy = load_policy(folder / "policy.pt", min_std) if (folder / "policy.pt").exists() else None
    vnet = load_value_networks(folder / "vnet.pt") if (folder / "vnet.pt").exists() else None
    if policy is not None:
        check_heads(model, {"policy": policy.mean_net}, folder / "policy.pt", model.action_size)
    if vnet is not None:
        networks = {name: network for name, (network, _) in vnet.items()}
        check_heads(model, networks, folder / "vnet.pt", 1)
    return PublishedCheckpoint(model, policy, vnet, loss, config, names, arguments)


def read_config(path: pathlib.Path) -> dict:
    """The configuration as plain dicts."""
    if not path.exists():
        raise ValueError(
            f"{path} does not exist; a published checkpoint folder has config.yaml beside model.pt."
        )
    try:
        import yaml
    except ImportError as error:
        raise ValueError("Reading config.yaml needs PyYAML: pip install 'aime-jax[published]'.") from error
    try:
        config = yaml.safe_load(path.read_text())
        reason = _unusable(config)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not YAML: {first_line}.") from error
    if reason:
        raise ValueError(f"{path}: {reason}; get an intact copy.")
    if not isinstance(config, dict) or not all(
        isinstance(config.get(n), dict) for n in ("world_model", "env")
    ):
        raise ValueError(
            f"{path} has no sections 'world_model' and 'env'; it is not the configuration of a published run."
        )
    return config


def _unusable(section: object, path: str = "", around: tuple[int, ...] = ()) -> str:
    """Why a configuration cannot be read, or "": a section within itself."""
    if id(section) in around:
        return f"{path.removeprefix('.')} refers to itself"
    values = section.items() if isinstance(section, dict) else ()
    reasons = (_unusable(value, f"{path}.{key}", (*around, id(section))) for key, value in values)
    return next(filter(None, reasons), "")


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
    except PermissionError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:
        # PyTorch's own message advises to open it unsafely.
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        unsafe = "Weights only load failed" in reason
        reason = "it is damaged or asks for more than tensors" if unsafe else reason.rstrip(".")
        raise ValueError(
            f"{path} is not a PyTorch state dict that can be opened safely: {reason}; nothing of it was run. "
            "Get an intact copy of the weights."
        ) from error
    tensors = _checked_state(state, path, path.stat().st_size)
    broken = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(
            f"{path} has weights that are not finite, in {', '.join(broken[:5])}; get an intact copy."
        )
    return stack_ensemble(tensors)


def _checked_state(state: object, path: pathlib.Path, file_size: int) -> dict[str, np.ndarray]:
    """The tensors of a state dict as arrays; a ValueError for anything else that a .pt file may hold."""
    import torch

    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} holds no {{name: tensor}}; it is not the state dict of a published model.")
    other = [
        f"{n!r} ({type(v).__name__})"
        for n, v in state.items()
        if not (isinstance(n, str) and torch.is_tensor(v))
    ]
    if other:
        raise ValueError(
            f"{path} holds {', '.join(other[:5])} where names and tensors should be; save the state dict itself, "
            "without what surrounds it."
        )
    odd = [
        n
        for n, v in state.items()
        if v.is_complex()
        or v.layout != torch.strided
        or v.nelement() > max(file_size, 1)  # as `expand` makes
    ]
    if odd:
        raise ValueError(
            f"{path}: {', '.join(odd[:5])} is complex, sparse or larger than the file; get an intact copy."
        )
    return {name: tensor.detach().float().numpy() for name, tensor in state.items()}


def stack_ensemble(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """AIME v1 stores an ensemble as a list of MLPs, version 2 as one with stacked weights; returns the latter."""
    head = "emb_prediction_heads."
    members = [name.split(".", 2)[1:] for name in tensors if name.startswith(head) and ".net." in name]
    members = [(int(index), rest) for index, rest in members if index.isdigit()]
    stacked = {}
    for rest in dict.fromkeys(rest for _, rest in members):
        indices = sorted(index for index, name in members if name == rest)
        stacked[head + rest] = np.stack([tensors[f"{head}{index}.{rest}"] for index in indices])
    rest = {n: v for n, v in tensors.items() if not (stacked and n.startswith(head))}
    return rest | stacked


def loss_options(config: Mapping) -> dict:
    """Keyword arguments of `elbo_loss` from a published configuration."""
    world_model = config["world_model"]
    reweight = world_model.get("nll_reweight", "dim_wise") or "none"
    return dict(
        kl_scale=float(world_model.get("kl_scale", 1.0)),
        kl_balance=world_model.get("kl_rebalance"),
        free_nats=float(world_model.get("free_nats") or 0.0),
        nll_reweight=PUBLISHED_REWEIGHT.get(reweight, reweight),
    )


def environment(config: Mapping) -> str:
    """The environment that a published configuration names, with its interpolations resolved."""
    env = config["env"]
    name = str(env.get("name", ""))
    for key in ("embodiment", "task"):
        name = name.replace(f"${{env.{key}}}", str(env.get(key, "")))
    return name


def is_version_1(config: Mapping, tensors: Mapping) -> bool:
    """AIME v1: a plain GRU, and nothing that only AIME-v2 has or writes."""
    return (
        "memory_cell.weight_ih" in tensors
        and "version" not in config
        and not any(n.startswith(("baseline_probes.", "decoders.is_terminal.")) for n in tensors)
    )


def world_model_arguments(
    config: Mapping, tensors: Mapping[str, np.ndarray], sizes: Mapping, new_heads: Sequence[str] = ()
) -> dict:
    """Constructor arguments of a world model of the architecture that the tensors have."""
    options = config["world_model"]
    check_norms(options, "world_model")
    first_version = is_version_1(config, tensors)
    inputs, targets, probes = sensor_roles(config, tensors)
    hidden = dict(hidden_size=options.get("hidden_size", 32), hidden_layers=options.get("hidden_layers", 2))
    rssm = rssm_options(options, tensors) | hidden
    encoders, decoders, heads = (options.get(kind, {}) for kind in ("encoders", "decoders", "probes"))
    gaussian = dict(constant=True) if first_version else {}
    encoder = vector_options(encoders.get("tabular", {"name": "identity"}), first_version)
    encoder |= dict(joint=False) if rssm["family"] == "rssm" else {}
    visual = {"name": "cnn_ha"}
    terminal = any(name.startswith("decoders.is_terminal.") for name in tensors)
    sizes = sensor_sizes(tensors, config, inputs, sizes)
    used = (*inputs, *targets, *probes)
    return dict(
        sizes={name: size for name, size in sizes.items() if name in used},
        inputs=inputs,
        targets=[*targets, *(n for n in new_heads if n not in (*targets, "is_terminal"))],
        probes=probes,
        action_size=action_size(tensors, options["state_dim"]),
        rssm=rssm,
        encoder=encoder,
        decoder=vector_options(decoders.get("tabular", {"name": "dmlp"}), first_version) | gaussian,
        probe=vector_options(heads.get("tabular", {"name": "dmlp"}), first_version) | gaussian,
        binary=vector_options(decoders.get("binary", {"name": "binary"}), first_version),
        image_encoder=image_options(encoders.get("visual", visual), decoder=False),
        image_decoder=image_options(decoders.get("visual", visual), decoder=True) | gaussian,
        image_probe=image_options(heads.get("visual", visual), decoder=True) | gaussian,
        predict_terminal=terminal or "is_terminal" in new_heads,
        predict_reward=False,
        baseline_probes=any(name.startswith("baseline_probes.") for name in tensors),
        momentum=options.get("momentum_parameter", 0.01) if has(tensors, "momentum_encoders.") else None,
        idm_mode=options.get("idm_mode", "detach") if has(tensors, "idm.") else "none",
        idm=hidden,
        **intrinsic_options(options.get("intrinsic_reward_config") or {}, first_version),
    )


def has(tensors: Mapping, prefix: str) -> bool:
    """Whether any tensor's name begins so."""
    return any(name.startswith(prefix) for name in tensors)


def rssm_options(options: Mapping, tensors: Mapping) -> dict:
    """Arguments of `RSSM` but for the hidden layers."""
    family = options.get("name", "rssmo").split("-")[0]
    if family not in ("rssm", "rssmo"):
        raise ValueError(f"Unknown world_model.name {options.get('name')!r}. Known: rssm, rssmo.")
    refuse_dropout(options, "section world_model")
    plain_gru = "memory_cell.weight_ih" in tensors
    deter_size, *stoch = options["state_dim"]
    min_std = options.get("min_std")
    return dict(
        family="rssmo-v1" if family == "rssmo" and plain_gru else family,
        deter_size=deter_size,
        stoch_size=stoch[0],
        num_classes=stoch[1] if len(stoch) > 1 else None,
        norm=options.get("norm"),
        min_std=1e-6 if min_std is None else min_std,
    )


def vector_options(options: Mapping, first_version: bool = False) -> dict:
    """Published options of a vector encoder or decoder under our argument names."""
    if options["name"] == "identity":
        return dict(name="identity")
    encoder = options["name"] == "mlp"
    known = VECTOR_OPTIONS | (HEAD_OPTIONS if encoder else {})
    unknown = [key for key, value in options.items() if value and key not in (*known, *WITHOUT_EFFECT)]
    if unknown:
        raise ValueError(
            f"Options {', '.join(unknown)} of the network {options['name']!r} are not supported; "
            f"known: {', '.join(known)}."
        )
    ours = PUBLISHED_MLP | {known[k]: v for k, v in options.items() if k in known}
    head = bool(ours.pop("head", True))  # the published MLP has one unless it is told not to
    if encoder:  # and where it has none it does not look at the head's options
        ours = {k: v for k, v in ours.items() if head or k not in HEAD_OPTIONS.values()} | dict(head=head)
    if ours.get("min_std", 0) is None:
        del ours["min_std"]
    if first_version:
        ours |= {k: "gelu_exact" for k in ("activation", "output_activation") if ours.get(k) == "gelu"}
    return ours


def image_options(options: Mapping, *, decoder: bool) -> dict:
    """Published options of an image encoder or decoder; `cnn_ha` is a sigmoid where nothing is said."""
    name = options["name"]
    if name not in IMAGE_OPTIONS:
        raise ValueError(f"Unknown image network {name!r}. Known: {', '.join(IMAGE_OPTIONS)}.")
    refuse_dropout(options, f"network {name!r}")
    known = [key for key in IMAGE_OPTIONS[name] if decoder or key != "sigmoid"]
    defaults = dict(sigmoid=name == "cnn_ha") if decoder else {}
    return {"name": name} | defaults | {key: options[key] for key in known if key in options}


def refuse_dropout(options: Mapping, where: str) -> None:
    """An error for options that would make a network drop units, which none of ours does."""
    found = [key for key, value in options.items() if "dropout" in key and value]
    if found:
        raise ValueError(
            f"Options {', '.join(found)} of the {where} are not supported; no network has dropout."
        )


def check_norms(options: Mapping, path: str) -> None:
    """An error for a norm that no network has, such as the published option of BatchNorm that no published model uses.

    Args:
      options: a section of the configuration; sections within are looked at too.
      path: of the section in config.yaml, with dots.
    """
    for key, value in options.items():
        if isinstance(value, Mapping):
            check_norms(value, f"{path}.{key}")
        elif key == "norm" and value not in NORMS:
            what = f"{value!r} (BatchNorm)" if value == "bn" else repr(value)
            known = ", ".join("null" if name is None else repr(name) for name in NORMS)
            raise ValueError(
                f"{path}.norm: {what} in config.yaml is not supported. Known for vectors: {known}; image networks "
                f"have the norms that belong to their name, {' or '.join(IMAGE_OPTIONS)}."
            )


def intrinsic_options(options: Mapping, first_version: bool) -> dict:
    """Arguments `ensemble`, `reward_probe` and `intrinsic_scale`."""
    if not options:
        return {}
    algorithm = options.get("algo", "disagreement")
    if algorithm not in ("disagreement", "lbs"):
        raise ValueError(f"Unknown intrinsic reward {algorithm!r}. Known: disagreement, lbs.")
    hidden = dict(hidden_size=options["hidden_size"], hidden_layers=options["hidden_layers"])
    scale = dict(intrinsic_scale=float(options.get("scale", 1.0)))
    if algorithm == "lbs":
        return scale | dict(reward_probe=dict(target="surprise", **hidden))
    variant = "variance" if first_version else "std"
    ensemble = dict(num_members=options["num_ensembles"], variant=variant, **hidden)
    probe = dict(target="disagreement", **hidden) if options.get("use_probe") else None
    return scale | dict(ensemble=ensemble, reward_probe=probe)


def sensor_roles(config: Mapping, tensors: Mapping) -> tuple[list[str], list[str], list[str]]:
    """(inputs, targets, probes): which sensors a checkpoint reads and predicts.

    Targets and probes are read off the tensors; inputs follow from the observation set-up and the sensor layout.
    """
    layout = config["env"]["sensors"]
    setup = config.get("environment_setup", "visual")
    vectors = [name for name, sensor in layout.items() if sensor["modility"] == "tabular"]
    images = [name for name in layout if name not in vectors]
    first = [name for name in vectors if layout[name].get("order") == "first"]
    inputs = {
        "mdp": vectors,
        "lpomdp": first,
        "pomdp": first,
        "exp": first,
        "visual": images,
        "full": list(layout),
        "real": [n for n in layout if n in images or layout[n].get("type") == "internal"],
    }
    if setup not in inputs:
        raise ValueError(f"Unknown environment_setup {setup!r}. Known: {', '.join(inputs)}.")
    decoded = list(dict.fromkeys(n.split(".")[1] for n in tensors if n.startswith("decoders.")))
    probes = list(dict.fromkeys(n.split(".")[1] for n in tensors if n.startswith("probes.")))
    return inputs[setup], [name for name in decoded if name != "is_terminal"], probes


def sensor_sizes(
    tensors: Mapping[str, np.ndarray], config: Mapping, inputs: Sequence[str], given: Mapping
) -> dict[str, int | list[int]]:
    """{sensor: d} from the last layers of decoders and probes or the first of encoders, images as configured."""
    images = [name for name, sensor in config["env"]["sensors"].items() if sensor["modility"] == "visual"]
    sizes = {}
    for name in tensors:
        parts = name.split(".")
        if parts[0] in ("decoders", "probes") and parts[-1] == "bias":
            sizes[parts[1]] = tensors[name].shape[0]  # layers come in order: the last one stays
        elif parts[0] == "encoders" and name.endswith(".net.0.weight") and tensors[name].ndim == 2:
            sizes.setdefault(parts[1], tensors[name].shape[1])
    joint = sizes.pop("tabular", None)
    sizes |= {name: list(config["env"].get("size", (64, 64))) for name in images} | dict(given)
    vectors = [name for name in inputs if name not in images]
    unknown = [name for name in vectors if name not in sizes]
    if len(unknown) == 1 and joint is not None:
        sizes[unknown[0]] = joint - sum(sizes[name] for name in vectors if name in sizes)
    elif unknown:
        raise ValueError(
            f"The checkpoint does not tell the sizes of {', '.join(unknown)}; pass sizes={{sensor: size}}."
        )
    return sizes


def action_size(tensors: Mapping[str, np.ndarray], state_dim: Sequence[int]) -> int:
    """A, from the first layer that reads [z, action]; 0 of a model without actions (VIPER)."""
    name = "pre_memory.net.0.weight" if "pre_memory.net.0.weight" in tensors else "memory_cell.weight_ih"
    if name not in tensors:
        raise ValueError("No 'pre_memory' or 'memory_cell' tensors; this is not a published RSSM checkpoint.")
    size = int(tensors[name].shape[1] - np.prod(state_dim[1:]))
    if size < 0:
        raise ValueError(
            f"{name} in model.pt reads {tensors[name].shape[1]} numbers, fewer than world_model.state_dim "
            f"{list(state_dim)} in config.yaml asks for without actions; the two are of different models."
        )
    return size


# --- Filling -------------------------------------------------------------------------------------------------------


def fill(
    module,
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, tuple],
    path: pathlib.Path,
    fresh: tuple[str, ...] = (),
) -> dict:
    """Writes the tensors into a freshly built module; returns the names that were there.

    The only place that assigns to a module after it is built.

    Args:
      fresh: beginnings of names that may be missing and then stay as they were built.
    """
    zeros = {"initial_memory", "initial_state"}
    for name in zeros & tensors.keys():
        if np.any(tensors[name]):
            raise ValueError(f"{path}: {name} is not zero; our initial state is.")
    missing = sorted(n for n in names.keys() - tensors.keys() if not n.startswith(fresh or ("\0",)))
    unexpected = sorted(tensors.keys() - names.keys() - zeros)
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit the architecture in its config.yaml: missing tensors {missing or 'none'}, "
            f"unexpected tensors {unexpected or 'none'}."
        )
    found = {name: place for name, place in names.items() if name in tensors}
    for name, place in found.items():
        variable, value = lookup(module, place), in_our_layout(tensors[name], place)
        if variable.shape != value.shape:
            raise ValueError(f"{path}: {name} has shape {value.shape}, the model expects {variable.shape}.")
        variable.set_value(jnp.asarray(value))
    return found


def mlp_shape(tensors: Mapping[str, np.ndarray], prefix: str, path: pathlib.Path) -> tuple[int, int, dict]:
    """(input size, output size, options) of the published MLP whose tensors begin with `prefix`."""
    found = [n for n in tensors if n.startswith(prefix) and n.endswith("weight")]
    if not any(tensors[n].ndim == 2 for n in found):
        raise ValueError(f"{path} has no weights [out, in] of {prefix.rstrip('.')}; get an intact copy.")
    weights = [v for n, v in tensors.items() if n.startswith(prefix) and n.endswith("weight") and v.ndim == 2]
    norms = [n for n, v in tensors.items() if n.startswith(prefix) and n.endswith("weight") and v.ndim == 1]
    options = dict(
        hidden_size=weights[0].shape[0], hidden_layers=len(weights) - 1, norm="ln" if norms else None
    )
    return weights[0].shape[1], weights[-1].shape[0], options


def load_policy(path: str | pathlib.Path, min_std: float | None = None) -> TanhGaussianHead:
    """A published `policy.pt`: the tanh-Gaussian policy over features; `min_std` None is the published default."""
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    if not has(tensors, "mean_net."):
        raise ValueError(f"{path} has no 'mean_net' tensors; it is not a published policy.")
    in_size, out_size, options = mlp_shape(tensors, "mean_net.", path)
    options |= {} if min_std is None else {"min_std": min_std}
    policy = TanhGaussianHead(in_size, out_size, rngs=nnx.Rngs(0), **options)
    fill(policy, tensors, tanh_gaussian_names("", (), policy), path)
    return policy


def load_value_networks(path: str | pathlib.Path) -> dict[str, tuple[MLP, MLP]]:
    """A published `vnet.pt`: {reward: (online, target)}; AIME v1 has one network and no target."""
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    if has(tensors, "net."):
        in_size, out_size, options = mlp_shape(tensors, "net.", path)
        network = MLP(in_size, out_size, rngs=nnx.Rngs(0), **options)
        fill(nnx.List([network]), tensors, {n[1:]: p for n, p in mlp_names("", (0,), network).items()}, path)
        return {"reward": (network, network)}
    rewards = list(dict.fromkeys(name.split(".")[1] for name in tensors if name.startswith("vnets.")))
    if not rewards:
        raise ValueError(f"{path} has no 'vnets.<reward>' or 'net' tensors; it is not a value network.")
    networks, names = {}, {}
    for reward in rewards:
        prefix = f"vnets.{reward}"
        in_size, out_size, options = mlp_shape(tensors, f"{prefix}.vnet.", path)
        online, target = (MLP(in_size, out_size, rngs=nnx.Rngs(0), **options) for _ in range(2))
        networks[reward] = (online, target)
        names |= mlp_names(f"{prefix}.vnet", (reward, 0), online)
        names |= mlp_names(f"{prefix}.vnet_target", (reward, 1), target)
    fill(nnx.Dict({reward: nnx.List(pair) for reward, pair in networks.items()}), tensors, names, path)
    return networks
