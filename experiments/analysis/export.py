"""Copies trained models, a world model with its policy and critic or whatever there is, into a folder of their own.

    python -m experiments export --run=DIR --to=FOLDER
    python -m experiments export --run=DIR --to=hf://USER/NAME

DIR is a finished run or a published folder of the papers' authors. FOLDER gets a model card, constructor arguments as
JSON and weights as plain arrays; `worldmodels.load` opens it, and `experiments imitate --config.model=FOLDER` takes it.
On the Hugging Face Hub (extra `hub`, after `hf auth login`) it is a repository of USER, and goes by the same name.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import Any

from experiments.models import files
from experiments.runs import paths
from experiments.runs.inputs import setup_of_run
from experiments.runs.settings import read_json, read_sessions
from worldmodels import hub
from worldmodels.export import save


def run(config, workdir, *, run: str | None = None, to: str | None = None, fresh: bool = False) -> dict:
    """Exports the models of seed `config.seed`.

    Returns:
      {"folder": or its address on the Hub, "parts": what has been exported}.
    """
    if not run or not to:
        raise ValueError("What, and where to? Pass --run=DIR --to=FOLDER.")
    models = files.load_complete(run).agent(config.seed)
    directory = pathlib.Path(run).expanduser()
    card = setup_of_run(directory) | models.card | facts_of_run(directory, config.seed)
    card |= {name: config[name] for name in ("title", "description", "license") if config[name]}
    card |= {name: shared_name(card[name]) for name in ("data", "demonstrations") if name in card}
    models = dataclasses.replace(models, card=card)
    if hub.is_name(to):
        with tempfile.TemporaryDirectory() as temporary:
            folder = hub.upload(save(pathlib.Path(temporary) / "model", models), to)
    else:
        folder = str(save(to, models))
    parts = [name.replace("_", " ") for name in models.parts]
    print(f"Exported {' and '.join(parts)}: {folder}")
    return {"folder": folder, "parts": parts}


def shared_name(folders: str) -> str:
    """Returns the names of folders for others, who do not know the rest of this machine."""
    names = [pathlib.Path(name) for name in paths.folders_of(folders)]
    return ", ".join(str(pathlib.PurePath(*name.parts[-3:])) for name in names)


def facts_of_run(directory: pathlib.Path, seed: int) -> dict[str, Any]:
    """Returns the scores of a seed and the commit that made them, for the card; {} of what is no run."""
    result = read_json(directory / "DONE") if (directory / "DONE").is_file() else {}
    scores = {"return": result.get("return_by_seed"), "percent of the expert": result.get("by_expert")}
    rows = {name: round(each[seed], 1) for name, each in scores.items() if each and seed < len(each)}
    commit = next((each.get("commit") for each in reversed(read_sessions(directory))), None)
    return rows | ({"commit": commit["hash"] + " (edited)" * commit["edited"]} if commit else {})
