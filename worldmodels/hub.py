"""Model folders on the Hugging Face Hub: `hf://USER/NAME`, or `hf://USER/NAME@REVISION`.

Arguments, weights and card are fetched, by their names, and nothing else; none of them runs code.
"""

from __future__ import annotations

import os
import pathlib
from typing import TypeGuard

SCHEME = "hf://"
FILES = ("model.json", "weights.safetensors", "README.md")
TIMEOUT = 10  # seconds


class HubError(ValueError):
    """A folder on the Hub cannot be read or written."""


def is_name(path: str | os.PathLike) -> TypeGuard[str]:
    """Returns True for the name of a folder on the Hub."""
    return isinstance(path, str) and path.startswith(SCHEME)


def local(path: str | os.PathLike) -> pathlib.Path:
    """Returns a folder on this machine; one on the Hub is downloaded first, or taken from what was downloaded before.

    Raises:
      HubError: it is not there, or there is no network and no earlier download.
    """
    if not is_name(path):
        return pathlib.Path(path).expanduser()
    hub = _library()
    name, _, revision = path.removeprefix(SCHEME).partition("@")
    options = dict(revision=revision or None, allow_patterns=list(FILES), etag_timeout=TIMEOUT)
    try:
        return pathlib.Path(hub.snapshot_download(name, **options))
    except hub.errors.LocalEntryNotFoundError as error:
        raise HubError(
            f"{path} cannot be reached and was not downloaded before; check the network."
        ) from error
    except Exception as error:
        raise HubError(_sentence(path, error)) from error


def upload(folder: pathlib.Path, name: str) -> str:
    """Copies a model folder to the Hub, into a repository that is made if it is not there; returns its address.

    Raises:
      HubError: no network, no login, or no right to write there.
    """
    hub = _library()
    repository = name.removeprefix(SCHEME)
    try:
        api = hub.HfApi()
        api.create_repo(repository, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=list(FILES))
    except Exception as error:
        raise HubError(_sentence(name, error)) from error
    return str(commit.commit_url)


def _library():
    """Imports huggingface_hub, which takes a second."""
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise HubError("Models on the Hub need huggingface_hub: pip install -e '.[hub]'.") from error
    return huggingface_hub


def _sentence(name: str, error: Exception) -> str:
    """Says what a failure means for the user."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "HFValidationError" in kinds:
        return f"{name} is no name of the form hf://USER/NAME."
    if status in (401, 403) or "LocalTokenNotFoundError" in kinds:
        return f"{name} does not exist, or you may not read or write it; log in with `hf auth login`."
    if status == 404:
        return f"{name} does not exist on the Hub; check its name and revision."
    if kinds & {
        "ConnectError",
        "ConnectionError",
        "TimeoutException",
        "OfflineModeIsEnabled",
        "NetworkError",
    }:
        return f"{name} cannot be reached; check the network."
    return f"{name} cannot be used: {reason}."
