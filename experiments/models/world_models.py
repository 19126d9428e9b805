"""World models as runs keep them: built from a config and data, saved with what shapes them, loaded with one call.

`resolve` opens whatever holds a world model: a run of `pretrain`, a folder of `export`, or a
published folder of the papers' authors.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from agents.imagination import value_networks
from experiments.envs.sensors import LAYOUTS, observation_setup
from worldmodels import export
from worldmodels.checkpoints import Checkpoints, named_leaves, with_leaves
from worldmodels.data.dataset import statistics
from worldmodels.data.episodes import Episode
from worldmodels.files import write_atomically
from worldmodels.nets import MLP
from worldmodels.published import files, folder
from worldmodels.training import select_seed
from worldmodels.world_model import EMBEDDING, TanhGaussianHead, WorldModel

ARCHITECTURE = "world_model.json"
POLICY = "policy.json"
CRITIC = "critic.json"
CONFIG = "config.json"
ORIGIN = ("environment", "setup", "loss")  # what an architecture remembers beside constructor arguments


def architecture(config: Mapping, env_name: str, setup: str, episodes: Sequence[Episode]) -> dict:
    """The constructor arguments of the world model that `config` and the data ask for; JSON values only.

    Args:
      config: section `world_model` of a config: options of `WorldModel`, and `standardize`, `use_probes`,
        `predict_emb` (the embedding takes the place of all sensors as target, which become probes).
      env_name, setup: decide which sensors are inputs, targets and probes.
      episodes: embodiment data; decide the sizes.
    """
    roles = observation_setup(env_name, setup)
    options = dict(config)
    standardize, use_probes = options.pop("standardize"), options.pop("use_probes")
    targets, probes = list(roles.targets), list(roles.probes)
    if options.pop("predict_emb", False):
        targets, probes = [EMBEDDING], probes + targets
    else:
        options["momentum"] = None
    records = episodes[0].records
    probes = probes if use_probes else []
    names = list(dict.fromkeys((*roles.inputs, *roles.targets, *probes)))
    missing = [name for name in names if name not in records]
    if missing:
        raise ValueError(
            f"The data lacks {', '.join(missing)}, which set-up {setup!r} of {env_name!r} needs; it has "
            f"{', '.join(sorted(records))}. Choose data of this environment or another set-up."
        )
    return dict(
        options,
        sizes={name: sensor_size(name, records[name]) for name in names},
        inputs=list(roles.inputs),
        targets=targets,
        probes=probes,
        action_size=int(records["pre_action"].shape[-1]),
        standardized=[name for name in names if records[name].ndim == 2] if standardize else [],
        environment=env_name,
        setup=setup,
    )


def feature_size(arch: Mapping) -> int:
    """D + S of the world model that `build` makes."""
    return jax.eval_shape(lambda: build(arch, jax.random.key(0))).feature_size


def sensor_size(name: str, values: np.ndarray) -> int | list[int]:
    """d of a vector sensor [T, d], [y, x] of images [T, y, x, 3] uint8; a ValueError for anything else."""
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


def build(arch: Mapping, key: jax.Array, episodes: Sequence[Episode] | None = None) -> WorldModel:
    """A fresh world model; without `episodes` the statistics are placeholders, to be restored from a checkpoint."""
    arguments = {name: value for name, value in arch.items() if name not in ORIGIN}
    moments = None if episodes is None else statistics(episodes, arch["standardized"])
    return export.build_world_model(arguments, key, moments)


def save_architecture(workdir: pathlib.Path, name: str, arch: Mapping) -> None:
    """Writes the constructor arguments beside the checkpoints."""
    write_atomically(workdir / name, json.dumps(arch, indent=2))


def read_architecture(workdir: str | pathlib.Path, name: str) -> dict:
    """Reads them back."""
    path = pathlib.Path(workdir).expanduser() / name
    if not path.is_file():
        main = {POLICY: "imitate", CRITIC: "dreamer"}.get(name, "pretrain")
        raise ValueError(f"{path} does not exist; pass the --workdir of a run of experiments.{main}.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run the command of its run again.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} is damaged (no mapping of names to values); run the command of its run again."
        )
    number = content.get("num_seeds")
    # Every file but the config keeps how many models there are.
    if name != CONFIG and not (isinstance(number, int) and number > 0):
        raise ValueError(
            f"{path} is damaged (num_seeds is {'missing' if number is None else repr(number)}); run the command of its "
            "run again."
        )
    return content


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """World models, wherever they were kept.

    Attributes:
      path: where. kind: "run", "export" or "published".
      models: leaves [num_seeds, ...]. num_seeds: how many.
      architecture: arguments of `build`, JSON values.
      loss: keyword arguments of the loss that they were trained with.
      policy: the policy that was kept with a single model, or None.
    """

    path: pathlib.Path
    kind: str
    models: WorldModel
    num_seeds: int
    architecture: dict
    loss: dict
    policy: TanhGaussianHead | None = None

    def for_seeds(self, num_seeds: int) -> WorldModel:
        """Models with leaves [num_seeds, ...]: one per policy, or the same for all."""
        if self.num_seeds == num_seeds:
            return self.models
        if self.num_seeds == 1:
            return jax.tree.map(lambda x: jax.numpy.repeat(x, num_seeds, axis=0), self.models)
        raise ValueError(
            f"{self.path} holds {self.num_seeds} world models, the run asks for {num_seeds} policies; "
            "use as many, or a run with one world model."
        )


def resolve(path: str | pathlib.Path, *, new_heads: Sequence[str] = ()) -> Pretrained:
    """Opens world models: of a pretraining run, an exported folder, or a published folder.

    Args:
      path: the folder.
      new_heads: decoders of size 1 that the models may lack; they start from scratch (AIME-v2 adds "viper_reward").

    Raises:
      ValueError: nothing there that holds a world model, or it does not fit; one sentence says what.
    """
    path = pathlib.Path(path).expanduser()
    if (path / ARCHITECTURE).is_file():
        return _resolve_run(path, new_heads)
    if (path / export.MODEL).is_file():
        opened = export.load(path)
        weights = opened.world_model
        arch, loss, policy, kind = opened.arguments, opened.loss, opened.policy, "export"
        arch = dict(arch, environment=opened.card.get("environment", ""))
    elif (path / files.CONFIG).is_file():
        opened = folder.load(path)
        weights = opened.world_model
        arch, loss, policy, kind = opened.arguments, opened.loss, opened.policy, "published"
        arch = dict(arch, standardized=[], environment=files.environment(opened.config))
    else:
        raise ValueError(
            f"{path} holds no world model; pass the --workdir of a run of `pretrain`, a folder of "
            "`export`, or a published folder with config.yaml and model.pt."
        )
    stack = jax.tree.map(lambda x: np.asarray(x)[None], weights)
    arch, models = with_new_heads(arch, named_leaves(stack), 1, path, new_heads)
    return Pretrained(path, kind, models, 1, arch, loss, policy)


def _resolve_run(path: pathlib.Path, new_heads: Sequence[str]) -> Pretrained:
    """World models of a pretraining run."""
    arch = read_architecture(path, ARCHITECTURE)
    num_seeds = arch.pop("num_seeds")
    checkpoints = Checkpoints(path / "model")
    if checkpoints.latest_step() is None:
        raise ValueError(f"{path} holds no model yet; the run has not finished. Run its command again.")
    _, weights, _ = checkpoints.read()
    arch, models = with_new_heads(arch, weights, num_seeds, path, new_heads)
    # A run of `imitate` whose model went on training keeps the model's loss with the architecture.
    loss = arch.pop("loss", None) or read_architecture(path, CONFIG)["loss"]
    return Pretrained(path, "run", models, num_seeds, arch, loss)


def with_new_heads(
    arch: Mapping, weights: Mapping, num_seeds: int, path: pathlib.Path, new_heads: Sequence[str]
) -> tuple[dict, WorldModel]:
    """(architecture, models with leaves [num_seeds, ...]) of weights by name; new decoders start from scratch."""
    if not isinstance(arch.get("targets"), list):
        raise ValueError(f"{path} is damaged (its world model has no targets); get an intact copy.")
    arch = dict(arch, targets=list(arch["targets"]))
    arch["predict_terminal"] = arch.get("predict_terminal", True) or "is_terminal" in new_heads
    arch["targets"] += [n for n in new_heads if n not in (*arch["targets"], "is_terminal")]

    def create():
        return stacked(lambda key: build(arch, key), num_seeds)

    with export.explained(path, "the arguments of its world model make none"):
        like = create() if new_heads else jax.eval_shape(create)
    fresh = tuple(f"decoders/{name}/" for name in new_heads)
    return arch, with_leaves(like, weights, str(path), fresh)


def load_world_models(workdir: str | pathlib.Path) -> tuple[WorldModel, int]:
    """All world models of a folder, leaves [num_seeds, ...], and their number; see `resolve`."""
    pretrained = resolve(workdir)
    return pretrained.models, pretrained.num_seeds


def check_body(arch: Mapping, episodes: Sequence[Episode], what: str) -> None:
    """Raises in one sentence if episodes are of another body than the model: other sensors, sizes or actions.

    Args:
      what: the episodes, as in "demonstrations".
    """
    records = episodes[0].records
    missing = [name for name in arch["inputs"] if name not in records]
    if missing:
        raise ValueError(
            f"The {what} lack {', '.join(missing)}, which the world model reads; they have "
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
                f"{name} has size {found} in the {what}, the world model was built for {_size(expected)}. "
                f"Use {what} of the same body."
            )
        raise ValueError(
            f"The images {name!r} of the {what} have {_size(found)} pixels, the world model knows "
            f"{_size(expected)}; render the {what} with {_size(expected)}, or pretrain on images of {_size(found)}."
        )
    size = records["pre_action"].shape[-1] if "pre_action" in records else 0
    if size and arch["action_size"] and size != arch["action_size"]:
        raise ValueError(
            f"Actions have size {size} in the {what}, the world model was built for {arch['action_size']}. "
            f"Use {what} of the same body."
        )
    # Images do not tell bodies apart, and several bodies have as many actions.
    names = arch.get("environment") or "", episodes[0].metadata.get("environment") or ""
    ours, theirs = (str(name).partition("-")[0] for name in names)
    if ours != theirs and {ours, theirs} <= set(LAYOUTS):
        raise ValueError(
            f"The {what} are of {names[1]}, the world model was trained on {names[0]}. Use {what} of the same body."
        )


def check_actions(episodes: Sequence[Episode], what: str) -> None:
    """Raises in one sentence if episodes do not tell their actions; `what` as in `check_body`."""
    if not all(episode.records["pre_action"].shape[-1] for episode in episodes):
        raise ValueError(
            f"The {what} have no actions: pre_action has size 0. Use episodes that were kept with their actions."
        )


def _size(size: int | Sequence[int]) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def load_policies(workdir: str | pathlib.Path) -> tuple[TanhGaussianHead, int]:
    """All policies of an imitation run, leaves [num_seeds, ...], and their number; see `resolve_policies`."""
    policies, _, num_seeds = resolve_policies(workdir)
    return policies, num_seeds


def resolve_policies(path: str | pathlib.Path) -> tuple[TanhGaussianHead, dict, int]:
    """(policies, their constructor arguments, their number) of an imitation run, an exported or a published folder."""
    path = pathlib.Path(path).expanduser()
    if (path / export.MODEL).is_file() or (path / files.CONFIG).is_file():
        policy = resolve(path).policy
        if policy is None:
            raise ValueError(f"{path} holds a world model and no policy; pass a folder with a policy.")
        return jax.tree.map(lambda x: x[None], policy), policy_arguments(policy), 1
    arch = read_architecture(path, POLICY)
    num_seeds = arch.pop("num_seeds")
    with export.explained(path / POLICY, "its arguments make no policy"):
        like = jax.eval_shape(lambda: stacked(lambda key: build_policy(arch, key), num_seeds))
    return restore(path / "policy", like), arch, num_seeds


def load_critics(workdir: str | pathlib.Path) -> tuple[dict, int]:
    """{"online", "target": {reward: value network}} of a run of Dreamer, leaves [num_seeds, ...], and their number."""
    workdir = pathlib.Path(workdir).expanduser()
    arch = read_architecture(workdir, CRITIC)
    num_seeds = arch.pop("num_seeds")

    def build_pair(key):
        return {"online": value_networks(key=key, **arch), "target": value_networks(key=key, **arch)}

    with export.explained(workdir / CRITIC, "its arguments make no value networks"):
        like = jax.eval_shape(lambda: stacked(build_pair, num_seeds))
    return restore(workdir / "critic", like), num_seeds


def resolve_critic(path: str | pathlib.Path, seed: int = 0) -> dict[str, tuple[MLP, MLP]]:
    """{reward: (value network, its target)} of one seed of a run, or in an exported or published folder."""
    path = pathlib.Path(path).expanduser()
    if (path / CRITIC).is_file():
        critics, num_seeds = load_critics(path)
        pairs = one_seed(critics, seed, num_seeds)
        return {reward: (pairs["online"][reward], pairs["target"][reward]) for reward in pairs["online"]}
    if (path / export.MODEL).is_file():
        critic = export.load(path).critic
    else:
        critic = folder.load(path).vnet if (path / files.CONFIG).is_file() else None
    if critic is None:
        raise ValueError(f"{path} holds no critic; use a run of `dreamer` or a folder with one.")
    return critic


def num_critics(path: str | pathlib.Path) -> int:
    """Seeds of a run of Dreamer or of AIME-v2; 1 for an exported or published folder."""
    path = pathlib.Path(path).expanduser()
    return read_architecture(path, CRITIC)["num_seeds"] if (path / CRITIC).is_file() else 1


def critic_in_place_of(
    fresh: Mapping[str, MLP], path: str | pathlib.Path, seed: int, key: str
) -> tuple[dict[str, MLP], dict[str, MLP]]:
    """(value networks, their targets), as `resolve_critic` finds them, that take the place of `fresh`.

    Args:
      fresh: {reward: value network}.
      seed: of the run; beyond its last one they are counted from 0 again.
      key: of the config that names `path`.

    Raises:
      ValueError: it is of other rewards or of another size.
    """
    pairs = resolve_critic(path, seed % num_critics(path))
    if not fresh or set(fresh) - set(pairs):
        raise ValueError(
            f"The critic that --config.{key} names is of the reward {', '.join(pairs)}, this run seeks "
            f"{', '.join(fresh) or 'none'}; seek the same one, or begin with a fresh critic: --config.{key}=''."
        )
    networks, targets = ({reward: pairs[reward][i] for reward in fresh} for i in (0, 1))
    # AIME v1 has published no target, its network stands for it: a copy, because both are donated to updates.
    return replaced(fresh, networks, key), jax.tree.map(jax.numpy.copy, replaced(fresh, targets, key))


def replaced(fresh, loaded, key: str):
    """`fresh` with the parameters of `loaded`, all of them; `key` of the config names where they come from."""
    model, adopted = adopt(fresh, loaded)
    if not all(adopted) or len(adopted) != len(named_leaves(loaded)):
        raise ValueError(
            f"What --config.{key} names has other sizes than this run asks for; give this run the same sizes "
            "(config.policy, config.critic, and the world model by config.model)."
        )
    return model


def adopt(fresh, pretrained) -> tuple[object, list[bool]]:
    """`fresh` with every parameter that `pretrained` has under the same name and with the same shape.

    New heads stay fresh, and heads that are not wanted any more are left behind.

    Returns:
      The model, and for each of its leaves whether it was adopted.
    """
    known = {(name, leaf.shape): leaf for name, leaf in named_leaves(pretrained).items()}
    keys = [(name, leaf.shape) for name, leaf in named_leaves(fresh).items()]
    leaves, treedef = jax.tree.flatten(fresh)
    leaves = [known.get(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
    return treedef.unflatten(leaves), [key in known for key in keys]


def build_policy(arch: Mapping, key: jax.Array) -> TanhGaussianHead:
    """A fresh policy over features."""
    return export.build_policy(arch, key)


def policy_arguments(policy: TanhGaussianHead) -> dict:
    """The constructor arguments of an existing policy, JSON values."""
    net = policy.mean_net
    return dict(
        in_size=net.first.in_features,
        action_size=net.out_size,
        hidden_size=net.first.out_features,
        hidden_layers=len(net.layers),
        norm="ln" if net.norms else None,
        min_std=policy.min_std,
    )


def stacked(create, num_seeds: int, seed: int = 0):
    """`create(key)` for seeds seed .. seed + num_seeds - 1, leaves [num_seeds, ...].

    Created one by one, so that a model does not depend on how many are made beside it.
    """
    models = [create(jax.random.key(seed + i)) for i in range(num_seeds)]
    return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *models)


def restore(directory: pathlib.Path, like):
    """The newest checkpoint in `directory`; an error if there is none."""
    restored = Checkpoints(directory).restore(like)
    if restored is None:
        raise ValueError(f"{directory} holds no checkpoint; the run has not finished. Run its command again.")
    return restored[1]


def one_seed(tree, index: int, num_seeds: int):
    """The model of one seed."""
    if not 0 <= index < num_seeds:
        raise ValueError(f"There is no seed {index}; the run has {num_seeds}, numbered from 0.")
    return select_seed(tree, index)


def sensors_for(models, episodes) -> list[str]:
    """Sensors that the demonstrations and the model share."""
    wanted = list(dict.fromkeys((*models.inputs, *models.targets, *models.probes)))
    return [name for name in wanted if name in episodes[0].records and name not in ("reward", "is_terminal")]
