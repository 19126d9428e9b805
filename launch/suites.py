"""The papers' tables as data; a new table is a new entry of `SUITES`.

`walker18` and `cheetah24` are those of AIME (NeurIPS 2023): every embodiment data with every demonstrated task.
`dmc9`, `metaworld6` and `metaworld50` are those of AIME-v2 / AIME-NoB, which continue to learn in the environment. Each
also comes as NAME:tiny, with the same stages on a fake environment, in seconds, and as NAME:trial, with the tasks, data
and set-ups of the table itself, tiny networks and short episodes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.configs import baseline, surrogate
from experiments.envs import metaworld_tasks
from launch.cells import Stage, Suite, runs_of_suite
from launch.runs import Run

# {method: its stage}; any other baseline can be asked for.
V1_METHODS = {"aime": "aime", "bco": "bco"}
V2_METHODS = {
    "aime-nob-ail": "nob_ail",
    "aime-nob-viper": "nob_viper",
    "aime-nob-ot": "nob_ot",
    "aime-v2": "v2_viper",
    "aime": "aime",
    "bco-alpha": "bco_alpha",
}

OFFLINE = {
    "expert": Stage("collect", "collect:sac"),
    "explore": Stage("dreamer", "dreamer:p2e"),
    "flail": Stage("collect", "collect:uniform", {"num_episodes": 1000}),
    "random_policy": Stage("collect", "collect:uniform", {"num_episodes": 20}),
    "mix": Stage("collect", "collect:mix"),
    "model": Stage("pretrain", "pretrain"),
    "aime": Stage("imitate", "imitate"),
    "bco": Stage("baseline", "baseline:bco"),
    "bc": Stage("baseline", "baseline:bc", {"embodiment": None}),
}

ONLINE = OFFLINE | {
    "model": Stage("pretrain", "pretrain", {"world_model.idm_mode": "none"}),  # as AIME-NoB
    "viper": Stage("pretrain", "pretrain:viper"),
    "bco_alpha": Stage("baseline", "baseline:bco_alpha"),
    "nob_ail": Stage("online", "online:aime-nob", {"reward.name": "ail"}),
    "nob_ot": Stage("online", "online:aime-nob", {"reward.name": "ot"}),
    "nob_viper": Stage("online", "online:aime-nob", {"reward.name": "viper", "reward.model": ...}),
    "v2_viper": Stage("online", "online:aime-v2", {"reward.name": "viper", "reward.model": ...}),
}

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

WALKER = {"stand": "walker-stand", "walk": "walker-walk", "run": "walker-run"}
CHEETAH = {
    "run": "cheetah-run",
    "runbackward": "cheetah-runbackward",
    "flip": "cheetah-flip",
    "flipbackward": "cheetah-flipbackward",
}
DMC9 = (
    "walker-stand",
    "walker-walk",
    "walker-run",
    "cheetah-run",
    "hopper-stand",
    "hopper-hop",
    "finger-spin",
    "quadruped-run",
    "cartpole-swingup",
)


def with_preset(stages: Mapping[str, Stage], ending: str) -> dict[str, Stage]:
    """Gives the stages that learn online, and their likelihood models, presets of that ending."""
    return {
        name: Stage(stage.main, stage.config + ending, stage.settings)
        if stage.main == "online" or name == "viper"
        else stage
        for name, stage in stages.items()
    }


STATE = OFFLINE | {
    "explore": Stage("dreamer", "dreamer:p2e-small", {"num_episodes": 100, "updates_per_step": 0.1}),
    "flail": Stage("collect", "collect:uniform"),
    "rhythmic": Stage("collect", "collect:rhythmic", {"num_episodes": 300}),
    "model": Stage("pretrain", "pretrain:medium"),
    "aime": Stage("imitate", "imitate:medium"),
    "bco": Stage("baseline", "baseline:bco-small"),
    "bc": Stage("baseline", "baseline:bc-small", {"embodiment": None}),
    **{
        name: Stage("surrogate", f"surrogate:{name}-small", {"embodiment": None})
        for name in surrogate.METHODS
    },
}


def metaworld(tasks: Sequence[str], text: str) -> Suite:
    """Returns Meta-World from data of the user: data/metaworld/{demonstrations/metaworld-TASK, mt39, mt50}."""
    larger = {"model": dataclasses.replace(ONLINE["model"], config="pretrain:rssmo-m")}
    stages = with_preset(ONLINE, "-metaworld") | larger
    del stages["random_policy"]
    return Suite(
        text=text,
        tasks={task: f"metaworld-{task}" for task in tasks},
        datasets={"mt50": "data/metaworld/mt50", "mt39": "data/metaworld/mt39"},
        setups=("visual",),
        methods=V2_METHODS,
        stages=stages,
        demonstrations=50,
        demonstration_folder="data/metaworld/demonstrations",
    )


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


def trial(suite: Suite) -> Suite:
    """Returns the cells of a suite, with its simulators and data, with the presets `tiny` and episodes of 20 steps."""
    short = {"episode_length": 20, "render_quality": "fast"}
    stages = {name: TINY_ONLINE[name] for name in suite.stages if name in TINY_ONLINE}
    for name, stage in stages.items():
        if stage.main == "dreamer" or (stage.main == "collect" and name != "mix"):
            stages[name] = dataclasses.replace(stage, settings={**stage.settings, **short})
    text = "The same cells with tiny networks and short episodes, in minutes; nothing is learnt."
    return dataclasses.replace(suite, text=text, stages=stages, seeds=(0,), demonstrations=3)


SUITES: dict[str, Suite] = {
    "walker18": Suite(
        text="AIME, walker: 6 embodiment data x 3 tasks.",
        tasks=WALKER,
        datasets={
            "random": "flail",
            "p2e": "explore",
            "stand": "stand",
            "walk": "walk",
            "run": "run",
            "mix": ("random", "p2e", "stand", "walk"),
        },
        setups=("visual", "lpomdp", "mdp"),
        methods=V1_METHODS,
        stages=OFFLINE | {"model": Stage("pretrain", "pretrain:rssm")},
    ),
    "cheetah24": Suite(
        text="AIME, cheetah: 6 embodiment data x 4 tasks.",
        tasks=CHEETAH,
        datasets={"random": "flail", "p2e": "explore", **{task: task for task in CHEETAH}},
        setups=("visual", "lpomdp", "mdp"),
        methods=V1_METHODS,
        stages=OFFLINE,
    ),
    "dmc9": Suite(
        text="AIME-v2 / AIME-NoB, DeepMind Control: 9 tasks, 1 million simulator steps.",
        tasks={task: task for task in DMC9},
        datasets={"p2e": "explore"},
        setups=("visual",),
        methods=V2_METHODS,
        stages=ONLINE,
        demonstrations=10,
    ),
    "metaworld6": metaworld(
        metaworld_tasks.SETS["metaworld6"],
        "AIME-v2 / AIME-NoB, Meta-World: 6 tasks, 500,000 simulator steps.",
    ),
    "metaworld50": metaworld(sorted(metaworld_tasks.TASKS), "All 50 tasks of Meta-World, as metaworld6."),
    "ilfo-state": Suite(
        text="Every method on two robots from state: 3 embodiment data x 4 tasks, whole pipelines repeated, on a CPU.",
        tasks={task: WALKER[task] for task in ("stand", "walk")}
        | {task: CHEETAH[task] for task in ("run", "runbackward")},
        datasets={
            "flailing": ("flail", "rhythmic"),
            "p2e": "explore",
            "other": {"stand": "walk", "walk": "stand", "run": "runbackward", "runbackward": "run"},
        },
        setups=("lpomdp", "mdp"),
        methods={method: method for method in ("aime", *baseline.METHODS, *surrogate.METHODS)},
        stages=STATE,
        seeds=(0, 1, 2),
        demonstrations=100,
        repeats_data=True,
    ),
}
for _name in list(SUITES):
    SUITES[f"{_name}:trial"] = trial(SUITES[_name])
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
    defaults = DEFAULTS if name.endswith(":tiny") else {}
    return runs_of_suite(name, SUITES[name], {**defaults, **(chosen or {})})
