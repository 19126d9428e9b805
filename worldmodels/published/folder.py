"""Checkpoints of the authors' PyTorch repositories (argmax-ai/aime, argmax-ai/aime-v2) as our models.

A published folder contains `config.yaml` (OmegaConf), `model.pt`, and perhaps `policy.pt` and `vnet.pt`: PyTorch state
dicts. `files` reads them, `architecture` says which of our models they are, `tensors` where every tensor belongs.

Every tensor must find its place: what is missing or left over is an error that names it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from flax import nnx

from worldmodels.action_head import TanhGaussianHead
from worldmodels.export import Models, check_heads, explained
from worldmodels.nets import MLP
from worldmodels.published.architecture import has, loss_options, mlp_shape, world_model_arguments
from worldmodels.published.files import CONFIG, environment, read_config, read_tensors
from worldmodels.published.tensors import fill, mlp_names, tanh_gaussian_names, world_model_names
from worldmodels.world_model import WorldModel


def load(folder: str | pathlib.Path, *, sizes: Mapping | None = None) -> Models:
    """Loads a published folder: world model, and policy and critic if they are there.

    Args:
      sizes: {sensor: d} that the checkpoint does not contain: of several vectors that are read and never predicted.

    Raises:
      ValueError: something does not fit; the sentence names it.
    """
    folder = pathlib.Path(folder).expanduser()
    config = read_config(folder / CONFIG)
    tensors = read_tensors(folder / "model.pt")
    with explained(
        folder / CONFIG, "its sections world_model and env do not describe the tensors of model.pt"
    ):
        arguments = world_model_arguments(config, tensors, sizes or {})
        loss = loss_options(config)
        model = WorldModel(**arguments, rngs=nnx.Rngs(0))
    fill(model, tensors, world_model_names(model), folder / "model.pt")
    where = environment(config)
    parts: dict[str, Any] = {"world_model": model}
    described = {"world_model": arguments | {"environment": where}}
    if (folder / "policy.pt").exists():
        min_std = (config.get("policy") or {}).get("min_std")
        parts["policy"], described["policy"] = load_policy(folder / "policy.pt", min_std)
        check_heads(model, {"policy": parts["policy"].mean_net}, folder / "policy.pt", model.action_size)
    if (folder / "vnet.pt").exists():
        parts["critic"], described["critic"] = load_value_networks(folder / "vnet.pt")
        networks = {name: network for name, (network, _) in parts["critic"].items()}
        check_heads(model, networks, folder / "vnet.pt", 1)
    card = {"title": folder.name, "environment": where, "source": "published"}
    return Models(described, **parts, loss=loss, card=card, path=str(folder))


def load_policy(path: str | pathlib.Path, min_std: float | None = None) -> tuple[TanhGaussianHead, dict]:
    """Loads a published `policy.pt`, taken for the tanh-Gaussian policy over features.

    That is what every published main with a world model trains. The published code has a `GaussianPolicy` too, which
    no main uses and no option chooses: its files look like those of a tanh-Gaussian one, and it would be taken for one.

    Args:
      min_std: as configured; None is the published default.

    Returns:
      The policy and its constructor arguments.

    Raises:
      ValueError: another network, such as the published policy of discrete actions.
    """
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    if has(tensors, "logits_net."):
        raise ValueError(f"{path} is a policy of discrete actions ('logits_net'); ours are continuous.")
    if not has(tensors, "mean_net."):
        raise ValueError(f"{path} has no 'mean_net' tensors; it is not a published policy.")
    in_size, action_size, options = mlp_shape(tensors, "mean_net.", path)
    arguments = dict(in_size=in_size, action_size=action_size, **options)
    arguments |= {} if min_std is None else {"min_std": min_std}
    policy = TanhGaussianHead(rngs=nnx.Rngs(0), **arguments)
    fill(policy, tensors, tanh_gaussian_names("", (), policy), path)
    return policy, arguments


def load_value_networks(path: str | pathlib.Path) -> tuple[dict[str, tuple[MLP, MLP]], dict]:
    """Loads a published `vnet.pt`: {reward: (network, its target)}, features -> [..., 1].

    AIME v1 has one network, here called "reward", that predicts (1 - gamma) V, and no target: it stands for both.

    Returns:
      The networks, and their constructor arguments as of `export.build_critic`.
    """
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    first_version = has(tensors, "net.")
    found = dict.fromkeys(name.split(".")[1] for name in tensors if name.startswith("vnets."))
    rewards = ["reward"] if first_version else list(found)
    if not rewards:
        raise ValueError(f"{path} has no 'vnets.<reward>' or 'net' tensors; it is not a value network.")
    networks: dict[str, tuple[MLP, ...]] = {}
    names: dict[str, tuple] = {}
    arguments: dict[str, Any] = {}
    for reward in rewards:
        prefixes = ("",) if first_version else (f"vnets.{reward}.vnet", f"vnets.{reward}.vnet_target")
        in_size, out_size, options = mlp_shape(tensors, f"{prefixes[0]}.".removeprefix("."), path)
        arguments = dict(rewards=rewards, in_size=in_size, out_size=out_size, **options)
        networks[reward] = tuple(MLP(in_size, out_size, rngs=nnx.Rngs(0), **options) for _ in prefixes)
        for index, (prefix, network) in enumerate(zip(prefixes, networks[reward], strict=True)):
            place = mlp_names(prefix, (reward, index), network)
            names |= {name.removeprefix("."): path for name, path in place.items()}
    fill(nnx.Dict({reward: nnx.List(pair) for reward, pair in networks.items()}), tensors, names, path)
    return {reward: (pair[0], pair[-1]) for reward, pair in networks.items()}, arguments
