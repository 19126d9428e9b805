"""The architecture of a published checkpoint: constructor arguments from its configuration and its tensors.

The version of a checkpoint and its heads are read off its tensors, because the configuration alone does not distinguish
version 1 from version 2.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from worldmodels.nets import NORMS

PUBLISHED_REWEIGHT = {"modility_wise": "modality_wise"}  # the published spelling
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


def loss_options(config: Mapping) -> dict:
    """Returns keyword arguments of `elbo_loss` from a published configuration."""
    world_model = config["world_model"]
    reweight = world_model.get("nll_reweight", "dim_wise") or "none"
    return dict(
        kl_scale=float(world_model.get("kl_scale", 1.0)),
        kl_balance=world_model.get("kl_rebalance"),
        free_nats=float(world_model.get("free_nats") or 0.0),
        nll_reweight=PUBLISHED_REWEIGHT.get(reweight, reweight),
    )


def is_version_1(config: Mapping, tensors: Mapping) -> bool:
    """Recognises AIME v1: a plain GRU, and nothing that only AIME-v2 has or writes."""
    return (
        "memory_cell.weight_ih" in tensors
        and "version" not in config
        and not any(n.startswith(("baseline_probes.", "decoders.is_terminal.")) for n in tensors)
    )


def world_model_arguments(config: Mapping, tensors: Mapping[str, np.ndarray], sizes: Mapping) -> dict:
    """Returns constructor arguments of the world model that the tensors belong to."""
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
    sizes = sensor_sizes(tensors, config, inputs, sizes)
    used = (*inputs, *targets, *probes)
    return dict(
        sizes={name: size for name, size in sizes.items() if name in used},
        inputs=inputs,
        targets=targets,
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
        predict_terminal=has(tensors, "decoders.is_terminal."),
        predict_reward=False,
        baseline_probes=has(tensors, "baseline_probes."),
        momentum=options.get("momentum_parameter", 0.01) if has(tensors, "momentum_encoders.") else None,
        idm_mode=options.get("idm_mode", "detach") if has(tensors, "idm.") else "none",
        idm=hidden,
        **intrinsic_options(options.get("intrinsic_reward_config") or {}, first_version),
    )


def has(tensors: Mapping, prefix: str) -> bool:
    """Returns whether any tensor's name begins with `prefix`."""
    return any(name.startswith(prefix) for name in tensors)


def rssm_options(options: Mapping, tensors: Mapping) -> dict:
    """Returns arguments of `RSSM` but for the hidden layers."""
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
    """Translates published options of a vector encoder or decoder to our argument names."""
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
    head = bool(ours.pop("head", True))  # the published MLP has one by default
    if encoder:  # and where it has none it does not look at the head's options
        ours = {k: v for k, v in ours.items() if head or k not in HEAD_OPTIONS.values()} | dict(head=head)
    if ours.get("min_std", 0) is None:
        del ours["min_std"]
    if first_version:
        ours |= {k: "gelu_exact" for k in ("activation", "output_activation") if ours.get(k) == "gelu"}
    return ours


def image_options(options: Mapping, *, decoder: bool) -> dict:
    """Translates published options of an image encoder or decoder; `cnn_ha` is a sigmoid unless an option says no."""
    name = options["name"]
    if name not in IMAGE_OPTIONS:
        raise ValueError(f"Unknown image network {name!r}. Known: {', '.join(IMAGE_OPTIONS)}.")
    refuse_dropout(options, f"network {name!r}")
    known = [key for key in IMAGE_OPTIONS[name] if decoder or key != "sigmoid"]
    defaults = dict(sigmoid=name == "cnn_ha") if decoder else {}
    return {"name": name} | defaults | {key: options[key] for key in known if key in options}


def refuse_dropout(options: Mapping, where: str) -> None:
    """Raises a ValueError for options of dropout, which none of our networks has."""
    found = [key for key, value in options.items() if "dropout" in key and value]
    if found:
        raise ValueError(
            f"Options {', '.join(found)} of the {where} are not supported; no network has dropout."
        )


def check_norms(options: Mapping, path: str) -> None:
    """Raises a ValueError for a norm that no network has, such as BatchNorm, which no published model uses.

    Args:
      options: a section of the configuration; sections within are checked too.
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
    """Returns the arguments `ensemble`, `reward_probe` and `intrinsic_scale`."""
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
    """Returns (inputs, targets, probes), the sensors that a checkpoint reads and predicts.

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
    """Returns {sensor: d} by the last layers of decoders and probes or the first of encoders; images as configured."""
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
            f"The checkpoint does not contain the sizes of {', '.join(unknown)}; pass sizes={{sensor: size}}."
        )
    return sizes


def action_size(tensors: Mapping[str, np.ndarray], state_dim: Sequence[int]) -> int:
    """Returns A by the first layer that reads [z, action]; 0 of a model without actions (VIPER)."""
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


def mlp_shape(tensors: Mapping[str, np.ndarray], prefix: str, path: pathlib.Path) -> tuple[int, int, dict]:
    """Returns (input size, output size, options) of the published MLP whose tensors begin with `prefix`."""
    found = [n for n in tensors if n.startswith(prefix) and n.endswith("weight")]
    if not any(tensors[n].ndim == 2 for n in found):
        raise ValueError(f"{path} has no weights [out, in] of {prefix.rstrip('.')}; get an intact copy.")
    weights = [v for n, v in tensors.items() if n.startswith(prefix) and n.endswith("weight") and v.ndim == 2]
    norms = [n for n, v in tensors.items() if n.startswith(prefix) and n.endswith("weight") and v.ndim == 1]
    options = dict(
        hidden_size=weights[0].shape[0], hidden_layers=len(weights) - 1, norm="ln" if norms else None
    )
    return weights[0].shape[1], weights[-1].shape[0], options
