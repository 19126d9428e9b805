"""The fifty tasks of Meta-World: names, difficulties, and the sets of tasks that the papers use.

Names are the published ones without a version; `metaworld-<task>` in the registry. Nothing here needs the simulator.
"""

from __future__ import annotations

from collections.abc import Sequence

PREFIX = "metaworld-"

# In the order of Meta-World's own dictionary; a task's place is its `task_id`.
TASKS = (
    "assembly",
    "basketball",
    "bin-picking",
    "box-close",
    "button-press-topdown",
    "button-press-topdown-wall",
    "button-press",
    "button-press-wall",
    "coffee-button",
    "coffee-pull",
    "coffee-push",
    "dial-turn",
    "disassemble",
    "door-close",
    "door-lock",
    "door-open",
    "door-unlock",
    "hand-insert",
    "drawer-close",
    "drawer-open",
    "faucet-open",
    "faucet-close",
    "hammer",
    "handle-press-side",
    "handle-press",
    "handle-pull-side",
    "handle-pull",
    "lever-pull",
    "pick-place-wall",
    "pick-out-of-hole",
    "pick-place",
    "plate-slide",
    "plate-slide-side",
    "plate-slide-back",
    "plate-slide-back-side",
    "peg-insert-side",
    "peg-unplug-side",
    "soccer",
    "stick-push",
    "stick-pull",
    "push",
    "push-wall",
    "push-back",
    "reach",
    "reach-wall",
    "shelf-place",
    "sweep-into",
    "sweep",
    "window-open",
    "window-close",
)

# Seo et al., Masked World Models for Visual Control (2022), appendix; taken over by AIME-v2.
DIFFICULTIES: dict[str, tuple[str, ...]] = {
    "medium": (
        "basketball",
        "bin-picking",
        "box-close",
        "coffee-pull",
        "coffee-push",
        "hammer",
        "peg-insert-side",
        "push-wall",
        "soccer",
        "sweep",
        "sweep-into",
    ),
    "hard": (
        "assembly",
        "hand-insert",
        "pick-out-of-hole",
        "pick-place",
        "push",
        "push-back",
    ),
    "very-hard": (
        "shelf-place",
        "disassemble",
        "stick-pull",
        "stick-push",
        "pick-place-wall",
    ),
}
_HARDER = {task for tasks in DIFFICULTIES.values() for task in tasks}
DIFFICULTIES = {"easy": tuple(task for task in TASKS if task not in _HARDER)} | DIFFICULTIES

SETS: dict[str, tuple[str, ...]] = {
    **DIFFICULTIES,
    "mt50": TASKS,
    "mt39": tuple(task for task in TASKS if task in (*DIFFICULTIES["easy"], *DIFFICULTIES["medium"])),
    # The evaluation of AIME-v2.
    "metaworld6": ("hand-insert", "push", "assembly", "disassemble", "sweep", "hammer"),
}


def names() -> list[str]:
    """Names of all tasks in the registry."""
    return [PREFIX + task for task in TASKS]


def tasks_of(chosen: str | Sequence[str]) -> list[str]:
    """Returns the tasks that a set (`mt39`), a task (`push`), or a list of both names, in order and each once.

    Raises:
      ValueError: an unknown name.
    """
    chosen = [chosen] if isinstance(chosen, str) else chosen
    tasks: list[str] = []
    for name in (name.removeprefix(PREFIX) for name in chosen):
        if name not in SETS and name not in TASKS:
            raise ValueError(
                f"Unknown Meta-World task or set {name!r}. Sets: {', '.join(SETS)}; tasks: {', '.join(TASKS)}."
            )
        tasks += [task for task in SETS.get(name, (name,)) if task not in tasks]
    return tasks
