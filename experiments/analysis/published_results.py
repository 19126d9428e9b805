"""Numbers that the papers' authors published, to stand next to ours.

The data are JSON files in `experiments/analysis/published/`; each names its source and units.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "published"
# Reward of a run of `online` -> label of the published method that has it.
REWARDS = {"ail": "AIME-NoB (AIL)", "viper": "AIME-NoB (VIPER)", "ot": "AIME-NoB (OT)"}


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
class OnlineCurve:
    """A published learning curve of AIME-NoB (AIME-v2's last version): with interaction, from images.

    Attributes:
      suite: "dmc" (return, at most 1000) or "metaworld" (% of episodes with success).
      task: e.g. "walker-run", "hammer".
      method: e.g. "BCO(alpha)", "PatchAIL", "OT", "AIME-NoB (AIL)"; "AIME" is offline, one score a seed.
      model: "mt39" or "mt50", data of the pretrained world model of Meta-World; "" elsewhere.
      every: simulator steps between evaluations, the first of which is at 0.
      scores: {seed: [P] scores, each the mean of some episodes}.
    """

    suite: str
    task: str
    method: str
    model: str
    every: int
    scores: Mapping[str, Sequence[int]]

    @property
    def label(self) -> str:
        """Name in figures."""
        return ", ".join(filter(None, (self.method, self.model, "published")))

    @property
    def score(self) -> str:
        """Name in evaluations of the figure that `scores` are means of."""
        return _read("aime_nob")["suites"][self.suite]["score"]

    @property
    def steps(self) -> list[int]:
        """Simulator steps [P]."""
        return [self.every * index for index in range(len(next(iter(self.scores.values()))))]


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


def online_curves(suite: str, task: str) -> list[OnlineCurve]:
    """Returns the published curves of a task; none where nothing was published."""
    curves = _read("aime_nob")["curves"]
    return [OnlineCurve(**values) for values in curves if (values["suite"], values["task"]) == (suite, task)]


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


def online_curve(env_name: str, method: str, reward: str = "", model: str = "") -> OnlineCurve | None:
    """Returns the published curve of a method in an environment; None where nothing was published.

    Args:
      env_name: e.g. "walker-run", "metaworld-hammer".
      method: its label.
      reward: name of the reward of a run of `online`, which goes by it whatever the run is called.
      model: data of the world model, by which Meta-World's curves of methods with one differ; else the first.
    """
    task = env_name.removeprefix("metaworld-")
    suite = "dmc" if task == env_name else "metaworld"
    name = REWARDS.get(reward) if reward else method
    found = {curve.model: curve for curve in online_curves(suite, task) if curve.method == name}
    return found.get(model) or next(iter(found.values()), None)


def online_caption(curve: OnlineCurve) -> str:
    """Returns a sentence about a published curve, for the foot of a figure: whose it is and how its setting differs."""
    data = _read("aime_nob")
    suite = data["suites"][curve.suite]
    return f"Grey: {data['source']['short']}, {suite['setting']}; mean and range of {suite['seeds']} seeds."


@functools.cache
def _read(name: str) -> dict:
    """Returns the content of a file of published numbers."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
