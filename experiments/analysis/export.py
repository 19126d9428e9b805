"""Writes a trained world model, with its policy if there is one, into one self-contained folder.

    python -m experiments export --run=DIR --to=FOLDER

DIR is a run of `pretrain` or `imitate`, or a published folder of the papers' authors. FOLDER
holds a model card, constructor arguments as JSON and weights as plain arrays; `worldmodels.export.load` opens it, and
`experiments imitate --config.model=FOLDER` takes it.
"""

from __future__ import annotations

import pathlib

from experiments.models import world_models
from experiments.runs.settings import read_config
from worldmodels.export import Exported, save


def run(config, workdir, *, run: str | None = None, to: str | None = None, fresh: bool = False) -> dict:
    """Exports the models of seed `config.seed`.

    Returns:
      {"folder", "parts": what has been exported}.
    """
    if not run or not to:
        raise ValueError("What, and where to? Pass --run=DIR --to=FOLDER.")
    exported = collect(pathlib.Path(run).expanduser(), config.seed)
    card = exported.card | {k: config[k] for k in ("title", "description") if config[k]}
    exported = Exported(**{**vars(exported), "card": card})
    folder = save(to, exported)
    parts = ["world model", *(["policy"] if exported.policy is not None else [])]
    parts += ["critic"] if exported.critic is not None else []
    print(f"Exported {' and '.join(parts)}: {folder}")
    return {"folder": str(folder), "parts": parts}


def collect(path: pathlib.Path, seed: int) -> Exported:
    """What the folder holds of one seed."""
    config, policy, policy_arguments = {}, None, None
    if (path / world_models.CONFIG).is_file():
        config = read_config(path)
    if (path / world_models.POLICY).is_file():
        policies, policy_arguments, num_seeds = world_models.resolve_policies(path)
        policy = world_models.one_seed(policies, seed, num_seeds)
        trained = (path / world_models.ARCHITECTURE).is_file()  # the model went on training beside the policy
        pretrained = world_models.resolve(path if trained else config["model"])
    else:
        num_seeds = None
        pretrained = world_models.resolve(path)
        policy = pretrained.policy
        policy_arguments = world_models.policy_arguments(policy) if policy is not None else None
    models = pretrained.models if num_seeds is None else pretrained.for_seeds(num_seeds)
    arch = dict(pretrained.architecture)
    card = {
        "title": f"{path.name}: world model" + (" and policy" if policy is not None else ""),
        "environment": config.get("env") or arch.pop("environment", ""),
        "data": config.get("embodiment", ""),
        "demonstrations": config.get("demonstrations", ""),
        "num_updates": config.get("num_updates"),
        "source": pretrained.kind,
    }
    for name in world_models.ORIGIN:
        arch.pop(name, None)
    return Exported(
        world_model=world_models.one_seed(models, seed, num_seeds or pretrained.num_seeds),
        arguments=arch,
        policy=policy,
        loss=pretrained.loss,
        card=card,
        policy_arguments=policy_arguments,
        **critic_of(path, seed),
    )


def critic_of(path: pathlib.Path, seed: int) -> dict:
    """The critic of a run of `dreamer`, if it is one, as arguments of `Exported`."""
    if not (path / world_models.CRITIC).is_file():
        return {}
    critic = world_models.resolve_critic(path, seed)
    arch = world_models.read_architecture(path, world_models.CRITIC)
    size = {name: arch[name] for name in ("hidden_size", "hidden_layers") if name in arch}
    return dict(critic=critic, critic_arguments=dict(in_size=arch["feature_size"], out_size=1, **size))
