"""Checkpoints of the authors' PyTorch repositories (argmax-ai/aime, argmax-ai/aime-v2) as our models.

A published folder holds `config.yaml` (OmegaConf), `model.pt`, and perhaps `policy.pt` and `vnet.pt`: PyTorch state
dicts. Reading them is `published_files.py`, the architecture that they ask for `published_architecture.py`, the place
of every tensor in it `published_tensors.py`.

Every tensor must find its place: what is missing or left over is an error that names it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from flax import nnx

from worldmodels.export import check_heads, explained
from worldmodels.nets import MLP
from worldmodels.published.architecture import has, loss_options, mlp_shape, world_model_arguments
from worldmodels.published.files import CONFIG, read_config, read_tensors
from worldmodels.published.tensors import fill, mlp_names, tanh_gaussian_names, world_model_names
from worldmodels.world_model import TanhGaussianHead, WorldModel


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

    def __repr__(self) -> str:
        return f"PublishedCheckpoint({self.world_model}, {self.policy})"


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


def load_policy(path: str | pathlib.Path, min_std: float | None = None) -> TanhGaussianHead:
    """A published `policy.pt`, taken for the tanh-Gaussian policy over features.

    That is what every published main with a world model trains. The published code has a `GaussianPolicy` too, which
    no main uses and no option chooses: nothing in its files tells it from a tanh-Gaussian one, and it would be taken
    for one.

    Args:
      min_std: as configured; None is the published default.

    Raises:
      ValueError: another network, such as the published policy of discrete actions.
    """
    path = pathlib.Path(path)
    tensors = read_tensors(path)
    if has(tensors, "logits_net."):
        raise ValueError(f"{path} is a policy of discrete actions ('logits_net'); ours are continuous.")
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
