"""All suites by name; a new table is a new entry of `PAPER_SUITES` or `STATE_SUITES`.

Each also comes as NAME:tiny, with the same stages on a fake environment, in seconds, and as NAME:trial, with the tasks,
data and set-ups of the table itself, tiny networks and short episodes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from launch.cells import Stage, Suite, runs_of_suite
from launch.paper_suites import PAPER_SUITES, V1_METHODS, V2_METHODS
from launch.runs import Run
from launch.state_suites import AWAY, STATE_SUITES, with_points

TINY_OFFLINE = {
    "expert": Stage("collect", "collect:sac-tiny"),
    "explore": Stage("dreamer", "dreamer:p2e-tiny"),
    "flail": Stage("collect", "collect:uniform-tiny"),
    "rhythmic": Stage("collect", "collect:rhythmic-tiny"),
    "random_policy": Stage("collect", "collect:uniform-tiny"),
    "mix": Stage("collect", "collect:mix"),
    "model": Stage("pretrain", "pretrain:tiny"),
    "aime": Stage("imitate", "imitate:tiny", {"evaluation.video": False}),
    "bco": Stage("baseline", "baseline:bco-tiny"),
    "bc": Stage("baseline", "baseline:bc-tiny", {"embodiment": None}),
}

TINY_ONLINE = TINY_OFFLINE | {
    "viper": Stage("pretrain", "pretrain:viper-tiny"),
    "bco_alpha": Stage("baseline", "baseline:bco_alpha-tiny"),
    "nob_ail": Stage("online", "online:tiny", {"reward.name": "ail"}),
    "nob_ot": Stage("online", "online:tiny", {"reward.name": "ot"}),
    "nob_viper": Stage("online", "online:tiny", {"reward.name": "viper", "reward.model": ...}),
    "v2_viper": Stage("online", "online:tiny", {"reward.name": "viper", "reward.model": ...}),
}


def tiny(stages: Mapping[str, Stage], methods: Mapping[str, str]) -> Suite:
    """Returns the stages of a suite on the fake environment."""
    return Suite(
        text="The same stages on a fake environment, in seconds; nothing is learnt.",
        tasks={"pointmass": "fake-pointmass"},
        datasets={
            "mix": ("random", "pointmass"),
            "random": "flail",
            "p2e": "explore",
            "pointmass": "pointmass",
        },
        setups=("lpomdp",),
        methods=methods,
        stages=stages,
        seeds=(0,),
        demonstrations=3,
    )


def at_tiny_size(suite: Suite, **changes: Any) -> Suite:
    """Returns a suite whose stages have the tiny presets of their kind, and their settings; `changes` are of fields."""
    fewer = {"num_episodes": 6, "num_embodiment": 3, "length": 8, "extraneous.length": 5, "num_updates": 6}
    fewer |= {
        "updates_per_episode": 2,
        "evaluation.every": 2,
        "evaluation.episodes": 2,
        "evaluation.final_episodes": 2,
    }
    stages = {}
    for name, stage in suite.stages.items():
        preset = stage.config.replace(":small", ":tiny").replace(":medium", ":tiny").removesuffix("-small")
        preset = preset if preset.endswith(":tiny") else f"{preset}-tiny"
        settings = {
            key: value if value is ... else fewer.get(key, value) for key, value in stage.settings.items()
        }
        if preset in ("collect:sac-tiny", "collect:uniform-tiny", "collect:rhythmic-tiny"):
            settings["episode_length"] = 20
        stages[name] = dataclasses.replace(stage, config=preset, settings=settings)
    text = "The same cells with tiny networks and short episodes, in minutes; nothing is learnt."
    return dataclasses.replace(suite, text=text, stages=stages, seeds=(0,), demonstrations=3, **changes)


def trial(suite: Suite) -> Suite:
    """Returns the cells of a suite, with its simulators and data, with the presets `tiny` and episodes of 20 steps."""
    short = {"episode_length": 20, "render_quality": "fast"}
    stages = {name: TINY_ONLINE[name] for name in suite.stages if name in TINY_ONLINE}
    for name, stage in stages.items():
        if stage.main == "dreamer" or (stage.main == "collect" and name != "mix"):
            stages[name] = dataclasses.replace(stage, settings={**stage.settings, **short})
    text = "The same cells with tiny networks and short episodes, in minutes; nothing is learnt."
    return dataclasses.replace(suite, text=text, stages=stages, seeds=(0,), demonstrations=3)


SUITES: dict[str, Suite] = PAPER_SUITES | STATE_SUITES
for _name, _suite in PAPER_SUITES.items():
    SUITES[f"{_name}:trial"] = trial(_suite)
for _name, _suite in STATE_SUITES.items():
    SUITES[f"{_name}:trial"] = at_tiny_size(_suite)
_POINTMASS = {"pointmass": "fake-pointmass"}
_FAKE: dict[str, dict[str, Any]] = {
    "ilfo-state": {"tasks": _POINTMASS, "datasets": {"flailing": ("flail", "rhythmic"), "p2e": "explore"}},
    "labels": {"tasks": _POINTMASS},
    "exogenous": {
        "tasks": {f"exogenous-{number}": with_points("fake-pointmass", number) for number in (0, 4)}
    },
    "variation": {"tasks": {"bodies-0": "fake-pointmass", "bodies-0.5": "fake-pointmass?mass=0.5"}},
    "extraneous": {"tasks": {f"extraneous-{percent}": "fake-pointmass" for percent in AWAY[:2]}},
    "metaworld6-state": {"tasks": {"push": "fake-pointmass"}},
}
for _name, _changes in _FAKE.items():
    SUITES[f"{_name}:tiny"] = at_tiny_size(STATE_SUITES[_name], **_changes)
DEFAULTS = {  # of the tiny variants: fewer cells than they have
    "dataset": ["mix"],
}
for _name in ("walker18", "cheetah24"):
    SUITES[f"{_name}:tiny"] = tiny(TINY_OFFLINE, V1_METHODS | {"bc": "bc"})
for _name in ("dmc9", "metaworld6", "metaworld50"):
    SUITES[f"{_name}:tiny"] = tiny(TINY_ONLINE, V2_METHODS)


def runs_of(name: str, chosen: Mapping[str, Sequence[Any]] | None = None) -> list[Run]:
    """Plans the runs of a suite by its name, see `cells.runs_of_suite`.

    Raises:
      ValueError: an unknown suite, axis or value.
    """
    if name not in SUITES:
        raise ValueError(f"Unknown suite {name!r}. Known: {', '.join(SUITES)}.")
    defaults = DEFAULTS if name.endswith(":tiny") and "mix" in SUITES[name].datasets else {}
    return runs_of_suite(name, SUITES[name], {**defaults, **(chosen or {})})
