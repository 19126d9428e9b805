"""The files of a published folder: `config.yaml` as plain dicts, `.pt` files as arrays.

PyTorch files are opened with `weights_only=True`, which runs no code. What is damaged is an error of one sentence.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

CONFIG = "config.yaml"


def read_config(path: pathlib.Path) -> dict:
    """Reads the configuration as plain dicts."""
    if not path.exists():
        raise ValueError(
            f"{path} does not exist; a published checkpoint folder has config.yaml and model.pt."
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
    """Returns why a configuration cannot be read, or "": a section within itself."""
    if id(section) in around:
        return f"{path.removeprefix('.')} refers to itself"
    values = section.items() if isinstance(section, dict) else ()
    reasons = (_unusable(value, f"{path}.{key}", (*around, id(section))) for key, value in values)
    return next(filter(None, reasons), "")


def environment(config: Mapping) -> str:
    """Returns the environment that a published configuration names, with its interpolations resolved."""
    env = config["env"]
    name = str(env.get("name", ""))
    for key in ("embodiment", "task"):
        name = name.replace(f"${{env.{key}}}", str(env.get(key, "")))
    return name


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch state dict as {name: array}; never runs code from the file."""
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
    """Returns the tensors of a state dict as arrays; a ValueError for anything else that a .pt file may contain."""
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
    """Stacks the MLPs of an ensemble of AIME v1, as version 2 stores them."""
    head = "emb_prediction_heads."
    places = [name.split(".", 2)[1:] for name in tensors if name.startswith(head) and ".net." in name]
    members = [(int(index), rest) for index, rest in places if index.isdigit()]
    stacked = {}
    for rest in dict.fromkeys(rest for _, rest in members):
        indices = sorted(index for index, name in members if name == rest)
        stacked[head + rest] = np.stack([tensors[f"{head}{index}.{rest}"] for index in indices])
    others = {n: v for n, v in tensors.items() if not (stacked and n.startswith(head))}
    return others | stacked
