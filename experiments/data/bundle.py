"""Robots to begin with, part of the package: nothing has to be collected or trained before AIME learns.

"cheetah", seen in positions, has only flailed and is to run backwards; "pointmass", seen in images of 32x32, has only
flailed and is to go home, and needs no simulator. `results/bundle.sh` has made them.

    bundle = experiments.bundled("pointmass")
    models = worldmodels.load(bundle.model)                          # a world model, and a policy of AIME
    shown = worldmodels.load_episodes(bundle.demonstrations)         # ten, without actions
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

_HOME = Path(__file__).parent / "bundled"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Data and models of one robot.

    Attributes:
      model: folder of `export`: a world model, and a policy that AIME has learnt from the demonstrations.
      demonstrations: episodes of the expert without actions.
      body: episodes that the world model has learnt from, a few of them.
      oracle: one of the demonstrations with actions and physics states.
      random_returns: of episodes of a random policy.
    """

    home: Path

    @property
    def model(self) -> Path:
        return self.home / "model"

    @property
    def demonstrations(self) -> Path:
        return self.home / "demonstrations"

    @property
    def body(self) -> Path:
        return self.home / "body"

    @property
    def oracle(self) -> Path:
        return self.home / "oracle"

    @functools.cached_property
    def random_returns(self) -> list[float]:
        return json.loads((self.home / "random_returns.json").read_text())


def bundled(name: str = "cheetah") -> Bundle:
    """Returns the data and models of a robot.

    Raises:
      ValueError: it has nothing of that name.
    """
    if not (_HOME / name / "model").is_dir():
        known = sorted(path.name for path in _HOME.iterdir())
        raise ValueError(f"The package has no {name!r}. Known: {', '.join(known)}.")
    return Bundle(_HOME / name)
