"""Runs of the release before model folders: read as if they had one."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from worldmodels.checkpoints import Checkpoints
from worldmodels.export import PARTS

FILES = {  # file of constructor arguments: (part, folder of its checkpoint)
    "world_model.json": ("world_model", "model"),
    "policy.json": ("policy", "policy"),
    "frame_stack.json": ("policy", "policy"),
    "critic.json": ("critic", "critic"),
}


def read(run: pathlib.Path, config: dict) -> tuple[dict, dict[str, np.ndarray]] | None:
    """Reads a finished run of that release, whose weights are checkpoints.

    Returns:
      The content of model.json and the weights as `export.assemble` takes them, or None if there are no models.

    Raises:
      ValueError: a file is damaged.
    """
    facts = dict.fromkeys(PARTS) | {
        "num_seeds": None,
        "loss": {},
        "card": {"environment": config.get("env") or ""},
    }
    weights: dict[str, np.ndarray] = {}
    for file, (part, folder) in FILES.items():
        path, checkpoints = run / file, Checkpoints(run / folder)
        if not path.is_file() or checkpoints.latest_step() is None:
            continue
        try:
            arguments = json.loads(path.read_text())
            facts["num_seeds"] = arguments.pop("num_seeds")
            arguments.pop("setup", None)
            if part == "world_model":
                facts["loss"] = arguments.pop("loss", None) or config.get("loss", {})
            if part == "critic":
                arguments |= {"in_size": arguments.pop("feature_size"), "out_size": 1}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); run the command of its run again.") from error
        facts[part] = arguments | ({"kind": "frame_stack"} if file == "frame_stack.json" else {})
        for name, value in checkpoints.read()[1].items():
            if part == "critic":  # online/REWARD/... and target/REWARD/...
                which, reward, rest = name.split("/", 2)
                name = f"{reward}/{0 if which == 'online' else 1}/{rest}"
            weights[f"{part}/{name}"] = value
    kept = [Checkpoints(folder) for folder in sorted((run / "policies").glob("*"))]
    agents = [agent.read() for agent in kept if agent.latest_step() is not None]
    if agents:
        _, first, extra = agents[0]
        observer = {name: extra.get(name) for name in ("sensors", "num_frames", "statistics")}
        sizes = ("observation_size", "action_size", "hidden_size", "hidden_layers")
        facts["num_seeds"] = len(agents)
        facts["policy"] = {"kind": "sac", "observer": observer | {"num_frames": observer["num_frames"] or 1}}
        facts["policy"] |= {name: extra[name] for name in sizes}
        options = {name: value for name, value in extra["environment"].items() if value is not None}
        facts["card"] = {"environment": options.pop("env"), "environment_options": options}
        facts["card"] |= {
            "returns": [agent[2]["returns"] for agent in agents],
            "method": extra.get("method", "sac"),
        }
        weights = {f"policy/{name}": np.stack([agent[1][name] for agent in agents]) for name in first}
    return (facts, weights) if weights else None
