"""Numbers that the papers' authors published, to stand next to ours.

The data are JSON files in `experiments/analysis/published/`; each names its source, its unit and what its spread is.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class PublishedCell:
    """One published number of AIME (NeurIPS 2023): imitation without interaction.

    Attributes:
      embodiment: "walker" or "cheetah".
      dataset: embodiment data: "random", "p2e", "mix" or the task whose replay it is, e.g. "stand".
      task: demonstrated task, e.g. "runbackward".
      method: "AIME" or "BCO(0)".
      setup: "visual", "lpomdp" or "mdp".
      mean: % of the expert's return (zero is not subtracted).
      std: population standard deviation over the 100 evaluation episodes of one policy, not over seeds.
    """

    embodiment: str
    dataset: str
    task: str
    method: str
    setup: str
    mean: float
    std: float


@dataclass(frozen=True)
class OnlineCell:
    """One published number of AIME-NoB (AIME-v2's last version): learning with interaction, from images.

    Attributes:
      suite: "dmc" (return, at most 1000) or "metaworld" (success rate, 0 to 1).
      task: e.g. "walker-run", "hammer".
      step: simulator steps of interaction.
      method: e.g. "AIME", "BCO(alpha)", "PatchAIL", "OT", "AIME-NoB (AIL)".
      model: "mt39" or "mt50", data of the pretrained world model of Meta-World; "" elsewhere.
      mean, std: over seeds; sample standard deviation.
    """

    suite: str
    task: str
    step: int
    method: str
    mean: float
    std: float
    model: str = ""

    @property
    def score(self) -> str:
        """Name in evaluations of the figure that `mean` is the mean of."""
        return "success_any" if self.suite == "metaworld" else "return"


def caption() -> str:
    """Returns a sentence about the numbers of AIME (NeurIPS 2023), for the foot of a figure or table."""
    data = _read("aime_v1")
    return (
        f"Published: {data['source']['short']}, {data['policies']} policy x {data['episodes']} episodes, "
        f"{data['demonstrations']} demonstrations."
    )


def papers() -> list[str]:
    """Returns the full references of the numbers."""
    return [_read(name)["source"]["paper"] for name in ("aime_v1", "aime_nob")]


@functools.cache
def cells() -> tuple[PublishedCell, ...]:
    """Returns all of AIME: 42 pairs of embodiment dataset and task x 2 methods x 3 observation set-ups."""
    return tuple(PublishedCell(**values) for values in _read("aime_v1")["cells"])


@functools.cache
def online_cells() -> tuple[OnlineCell, ...]:
    """Returns all of AIME-NoB: 9 tasks of DMC x 8 methods x 4 steps, 6 of Meta-World x 11 methods and models x 3."""
    return tuple(OnlineCell(**values) for values in _read("aime_nob")["cells"])


def check_dataset(name: str) -> None:
    """Raises a ValueError if `name`, a config's `published_data`, names no data of the table; "" names none."""
    known = list(dict.fromkeys(cell.dataset for cell in cells()))
    if name and name not in known:
        raise ValueError(
            f"Unknown published data {name!r}. Known: {', '.join(known)}; pass one of them as --config.published_data, "
            "or '' for no published numbers."
        )


def cells_of(env_name: str, dataset: str, setup: str) -> dict[str, PublishedCell]:
    """Returns {method: cell} of an environment such as "cheetah-runbackward"; empty where nothing was published."""
    embodiment, _, task = env_name.partition("-")
    wanted = (embodiment, task, dataset, setup)
    return {c.method: c for c in cells() if (c.embodiment, c.task, c.dataset, c.setup) == wanted}


def online_curve(env_name: str, method: str, model: str = "") -> dict[int, OnlineCell]:
    """Returns {step: cell} of a method in an environment, by increasing steps; empty where nothing was published.

    Args:
      env_name: e.g. "walker-run", "metaworld-hammer".
      method: its label.
      model: data of the world model, by which Meta-World's curves of methods with one differ.
    """
    task = env_name.removeprefix("metaworld-")
    wanted = ("dmc" if task == env_name else "metaworld", task, method)
    found = [c for c in online_cells() if (c.suite, c.task, c.method) == wanted and c.model in ("", model)]
    return {c.step: c for c in sorted(found, key=lambda c: c.step)}


@functools.cache
def _read(name: str) -> dict:
    """Returns the content of a file of published numbers."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
