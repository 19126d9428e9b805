"""Copies trained models, a world model with its policy and critic or whatever there is, into a folder of their own.

    python -m experiments export --run=DIR --to=FOLDER

DIR is a finished run or a published folder of the papers' authors. FOLDER gets a model card, constructor arguments as
JSON and weights as plain arrays; `worldmodels.export.load` opens it, and `experiments imitate --config.model=FOLDER`
takes it.
"""

from __future__ import annotations

import dataclasses

from experiments.models import files
from worldmodels.export import save


def run(config, workdir, *, run: str | None = None, to: str | None = None, fresh: bool = False) -> dict:
    """Exports the models of seed `config.seed`.

    Returns:
      {"folder", "parts": what has been exported}.
    """
    if not run or not to:
        raise ValueError("What, and where to? Pass --run=DIR --to=FOLDER.")
    models = files.load_complete(run).seed(config.seed)
    card = models.card | {name: config[name] for name in ("title", "description") if config[name]}
    folder = save(to, dataclasses.replace(models, card=card))
    parts = [name.replace("_", " ") for name in models.parts]
    print(f"Exported {' and '.join(parts)}: {folder}")
    return {"folder": str(folder), "parts": parts}
