"""Places of the tensors of a published checkpoint, {published tensor name: path in our module}, and `fill`.

A path is a tuple of attribute names and list indices. PyTorch numbers the parts of an `nn.Sequential` one after the
other, those without parameters included.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels.action_head import TanhGaussianHead
from worldmodels.encoders import ObservationEncoder
from worldmodels.nets import MLP, ResidualBlock
from worldmodels.world_model import WorldModel


def linear_names(prefix: str, path: tuple) -> dict[str, tuple]:
    """Names of linear layers and convolutions: weight and bias become kernel and bias."""
    return {f"{prefix}.weight": (*path, "kernel"), f"{prefix}.bias": (*path, "bias")}


def norm_names(prefix: str, path: tuple, norm: nnx.Module) -> dict[str, tuple]:
    """Names of norms: weight and bias become scale and bias; an RMSNorm has no bias."""
    names = {f"{prefix}.weight": (*path, "scale")}
    return names if isinstance(norm, nnx.RMSNorm) else names | {f"{prefix}.bias": (*path, "bias")}


def mlp_names(prefix: str, path: tuple, mlp: MLP) -> dict[str, tuple]:
    """Names of an MLP, whose published version numbers linear, norm and activation of a layer consecutively."""
    names: dict[str, tuple] = {}
    index = 0
    for i in range(len(mlp.layers)):
        names |= linear_names(f"{prefix}.net.{index}", (*path, "layers", i))
        index += 1
        if mlp.norms:
            names |= norm_names(f"{prefix}.net.{index}", (*path, "norms", i), mlp.norms[i])
            index += 1
        if mlp.gated:
            names |= gate_names(f"{prefix}.net.{index}", (*path, "gated", i))
        index += 1
    if mlp.head is not None:
        names |= linear_names(f"{prefix}.net.{index}", (*path, "head"))
    if mlp.output_gate is not None:
        names |= gate_names(f"{prefix}.net.{index + 1}", (*path, "output_gate"))
    return names


def gate_names(prefix: str, path: tuple) -> dict[str, tuple]:
    """Names of the activation "geglu", which has parameters."""
    return linear_names(f"{prefix}.gate", (*path, "gate")) | linear_names(
        f"{prefix}.linear", (*path, "linear")
    )


def tanh_gaussian_names(prefix: str, path: tuple, head: TanhGaussianHead) -> dict[str, tuple]:
    """Names of policies and inverse dynamics models."""
    prefix = f"{prefix}." if prefix else ""
    return mlp_names(f"{prefix}mean_net", (*path, "mean_net"), head.mean_net) | mlp_names(
        f"{prefix}std_net", (*path, "std_net"), head.std_net
    )


def block_names(prefix: str, path: tuple, block: ResidualBlock) -> dict[str, tuple]:
    """Names of a residual block: norm, SiLU, convolution, twice."""
    names: dict[str, tuple] = {}
    for i in range(2):
        names |= norm_names(f"{prefix}.net.{3 * i}", (*path, "norms", i), block.norms[i])
        names |= linear_names(f"{prefix}.net.{3 * i + 2}", (*path, "layers", i))
    return names


def image_encoder_names(prefix: str, path: tuple, encoder: Any) -> dict[str, tuple]:
    """Names of image encoders: convolution, ReLU (`cnn_ha`) or convolution, norm, SiLU, residual blocks."""
    names: dict[str, tuple] = {}
    index = 0
    for i in range(len(encoder.layers)):
        names |= linear_names(f"{prefix}.net.{index}", (*path, "layers", i))
        index += 2
        if hasattr(encoder, "norms"):
            names |= norm_names(f"{prefix}.net.{index - 1}", (*path, "norms", i), encoder.norms[i])
            index += 1
            for j in range(len(encoder.blocks[i])):
                names |= block_names(f"{prefix}.net.{index}", (*path, "blocks", i, j), encoder.blocks[i][j])
                index += 1
    return names


def image_decoder_names(prefix: str, path: tuple, decoder: Any) -> dict[str, tuple]:
    """Names of image decoders: linear, reshape, then stages of residual blocks and a transposed convolution."""
    names, index = linear_names(f"{prefix}.net.0", (*path, "input_layer")), 2
    resnet = hasattr(decoder, "blocks")
    for i in range(len(decoder.layers)):
        for j in range(len(decoder.blocks[i]) if resnet else 0):
            names |= block_names(f"{prefix}.net.{index}", (*path, "blocks", i, j), decoder.blocks[i][j])
            index += 1
        names |= linear_names(f"{prefix}.net.{index}", (*path, "layers", i))
        index += 3 if resnet else 2
    return names


def decoder_names(prefix: str, path: tuple, decoder: Any) -> dict[str, tuple]:
    """Names of any decoder, by its class."""
    kind = type(decoder).__name__
    if kind == "LearnedStdDecoder":
        return mlp_names(f"{prefix}.mu_net", (*path, "mean_net"), decoder.mean_net) | mlp_names(
            f"{prefix}.std_net", (*path, "std_net"), decoder.std_net
        )
    if kind in ("CNNDecoder", "ResNetDecoder"):
        return image_decoder_names(prefix, path, decoder)
    if kind == "GlobalStdDecoder":
        return mlp_names(f"{prefix}.mu_net", (*path, "net"), decoder.net) | {
            f"{prefix}.log_std": (*path, "log_std")
        }
    part = "prob_net" if kind == "BinaryDecoder" else "net"
    return mlp_names(f"{prefix}.{part}", (*path, "net"), decoder.net)


def encoder_names(prefix: str, path: tuple, encoder: ObservationEncoder) -> dict[str, tuple]:
    """Names of all encoders of a model; those of joint vectors are called "tabular"."""
    names: dict[str, tuple] = {}
    for name in encoder.image_names:
        names |= image_encoder_names(f"{prefix}.{name}", (*path, "images", name), encoder.images[name])
    if encoder.vector is not None and hasattr(encoder.vector, "net"):
        names |= mlp_names(f"{prefix}.tabular", (*path, "vector", "net"), encoder.vector.net)
    for name, vector in encoder.vectors.items():
        if hasattr(vector, "net"):
            names |= mlp_names(f"{prefix}.{name}", (*path, "vectors", name, "net"), vector.net)
    return names


def rssm_names(rssm: Any) -> dict[str, tuple]:
    """Names of transition, prior and posterior."""
    names: dict[str, tuple] = {}
    if rssm.pre_memory is not None:
        names |= mlp_names("pre_memory", ("rssm", "pre_memory"), rssm.pre_memory)
    cell = ("rssm", "memory_cell")
    if hasattr(rssm.memory_cell, "norm"):
        names |= linear_names("memory_cell.input_layer", (*cell, "input_layer"))
        names |= norm_names("memory_cell.norm", (*cell, "norm"), rssm.memory_cell.norm)
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
    """Names of a whole world model."""
    names = rssm_names(model.dynamics) | encoder_names("encoders", ("encoder",), model.encoder)
    if model.momentum_encoder is not None:
        names |= encoder_names("momentum_encoders", ("momentum_encoder",), model.momentum_encoder)
    for group in ("decoders", "probes", "baseline_probes"):
        for name, decoder in getattr(model, group).items():
            names |= decoder_names(f"{group}.{name}", (group, name), decoder)
    if model.idm is not None:
        names |= tanh_gaussian_names("idm", ("idm",), model.idm)
    if model.ensemble is not None:
        for i in range(len(model.ensemble.kernels)):
            names[f"emb_prediction_heads.net.{2 * i}.weight"] = ("ensemble", "kernels", i)
            names[f"emb_prediction_heads.net.{2 * i}.bias"] = ("ensemble", "biases", i)
    if model.reward_probe is not None:
        names |= mlp_names("intrinsic_reward_probe_head", ("reward_probe",), model.reward_probe)
    return names


def lookup(module, path: tuple) -> nnx.Variable:
    """Returns the variable at `path` of attribute names and list indices."""
    for part in path:
        module = (
            module[part] if isinstance(part, int) or isinstance(module, nnx.Dict) else getattr(module, part)
        )
    return module


def in_our_layout(value: np.ndarray, place: tuple) -> np.ndarray:
    """Transposes a published tensor to our layout.

    Linear [.., out, in] -> [.., in, out]; convolutions [out, in, y, x] -> [y, x, in, out]; transposed convolutions
    [in, out, y, x] -> [y, x, in, out], spatially flipped because ours correlate.
    """
    if value.ndim == 4:
        if place[0] in ("decoders", "probes", "baseline_probes") and "blocks" not in place:
            return np.flip(value.transpose(2, 3, 0, 1), (0, 1))
        return value.transpose(2, 3, 1, 0)
    if value.ndim < 2 or place[-2:-1] == ("biases",):  # biases of ensembles are [K, out]
        return value
    return np.swapaxes(value, -1, -2)


def fill(module, tensors: Mapping[str, np.ndarray], names: Mapping[str, tuple], path: pathlib.Path) -> None:
    """Writes the tensors into a freshly built module, the only place that assigns to one after it is built."""
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
        variable, value = lookup(module, place), in_our_layout(tensors[name], place)
        if variable.shape != value.shape:
            raise ValueError(f"{path}: {name} has shape {value.shape}, the model expects {variable.shape}.")
        variable.set_value(jnp.asarray(value))
