"""Numbers that the papers' authors published, to stand next to ours.

The data are JSON files in `experiments/analysis/published/`; each names its source, its unit and what its spread is.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Source:
    """Where published numbers come from and what they mean.

    Attributes:
      paper: full reference.
      short: name for legends and captions.
      repository, commit: where the raw results lie.
      unit, spread: what `mean` and `std` of a cell are.
      policies, episodes, demonstrations: behind each number.
    """

    paper: str
    short: str
    repository: str
    commit: str
    unit: str
    spread: str
    policies: int
    episodes: int
    demonstrations: int

    @property
    def caption(self) -> str:
        """One sentence for the foot of a figure or table."""
        return (
            f"Published: {self.short}, {self.policies} policy x {self.episodes} episodes, "
            f"{self.demonstrations} demonstrations."
        )


@dataclass(frozen=True)
class PublishedCell:
    """One published number.

    Attributes:
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


def source() -> Source:
    """Source of the AIME (NeurIPS 2023) numbers."""
    data = _aime_v1()
    described = {name: data["source"][name] for name in ("paper", "short", "repository", "commit")}
    counted = {name: data[name] for name in ("unit", "spread", "policies", "episodes", "demonstrations")}
    return Source(**described, **counted)


def cells() -> list[PublishedCell]:
    """All published cells: 42 pairs of embodiment dataset and task x 2 methods x 3 observation set-ups."""
    return [PublishedCell(**values) for values in _aime_v1()["cells"]]


def datasets() -> list[str]:
    """Names of the embodiment data that `cells` know: "random", "p2e", "mix", and tasks whose replay they are."""
    return list(dict.fromkeys(c.dataset for c in cells()))


def check_dataset(name: str) -> None:
    """Raises a ValueError if `name`, a config's `published_data`, names no data of the table; "" names none."""
    known = datasets()
    if name and name not in known:
        raise ValueError(
            f"Unknown published data {name!r}. Known: {', '.join(known)}; pass one of them as --config.published_data, "
            "or '' for no published numbers."
        )


def cell(embodiment: str, dataset: str, task: str, method: str, setup: str) -> PublishedCell:
    """The published number for one method.

    Args:
      embodiment: "walker" or "cheetah".
      dataset: embodiment data: "random", "p2e", "mix" or the task whose replay it is, e.g. "stand".
      task: demonstrated task, e.g. "runbackward"; "cheetah-runbackward" is understood too.
      method: "AIME" or "BCO(0)".
      setup: "visual", "lpomdp" or "mdp".

    Raises:
      ValueError: no such cell; the message lists what exists.
    """
    task = task.removeprefix(f"{embodiment}-")
    wanted = {"embodiment": embodiment, "dataset": dataset, "task": task, "method": method, "setup": setup}
    found = cells()
    for field, value in wanted.items():
        known = list(dict.fromkeys(getattr(c, field) for c in found))
        found = [c for c in found if getattr(c, field) == value]
        if not found:
            raise ValueError(f"No published result for {field} {value!r}. Known: {', '.join(known)}.")
    return found[0]


def cells_of(env_name: str, dataset: str, setup: str) -> dict[str, PublishedCell]:
    """{method: cell} for an environment such as "cheetah-runbackward"; empty where nothing was published."""
    embodiment, _, task = env_name.partition("-")
    return {
        c.method: c
        for c in cells()
        if (c.embodiment, c.task, c.dataset, c.setup) == (embodiment, task, dataset, setup)
    }


def expert_return(env_name: str) -> float:
    """Return of the published expert, e.g. of "walker-walk".

    Raises:
      ValueError: unknown environment; the message lists the known ones.
    """
    returns = _aime_v1()["expert_returns"]
    if env_name not in returns:
        raise ValueError(f"No published expert for {env_name!r}. Known: {', '.join(sorted(returns))}.")
    return returns[env_name]


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


def online_cells() -> list[OnlineCell]:
    """All: 9 DMC tasks x 8 methods x 4 step counts, and 6 Meta-World tasks x 11 methods and models x 3."""
    return [OnlineCell(**values) for values in _aime_nob()["cells"]]


def online_curve(suite: str, task: str, method: str, model: str = "") -> dict[int, OnlineCell]:
    """{step: cell} of one method on one task, by increasing steps.

    Raises:
      ValueError: nothing was published; the message lists what was.
    """
    found = online_cells()
    wanted = {"suite": suite, "task": task, "method": method, "model": model}
    for field, value in wanted.items():
        known = list(dict.fromkeys(getattr(c, field) for c in found))
        found = [c for c in found if getattr(c, field) == value]
        if not found:
            raise ValueError(
                f"No published result for {field} {value!r}. Known: {', '.join(map(repr, known))}."
            )
    return {c.step: c for c in sorted(found, key=lambda c: c.step)}


def online_source() -> dict:
    """Source of the AIME-NoB numbers, {"source", "suites", "notes"}, as in the file."""
    return {name: value for name, value in _aime_nob().items() if name != "cells"}


@functools.cache
def _aime_v1() -> dict:
    return json.loads((FOLDER / "aime_v1.json").read_text(encoding="utf-8"))


@functools.cache
def _aime_nob() -> dict:
    return json.loads((FOLDER / "aime_nob.json").read_text(encoding="utf-8"))
