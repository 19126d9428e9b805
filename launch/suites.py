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
TWO_ROBOTS = {task: WALKER[task] for task in ("stand", "walk")} | {
    task: CHEETAH[task] for task in ("run", "runbackward")
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

LABELLED = 10  # episodes whose actions are known to the methods that learn from video
FROM_VIDEO = {"num_embodiment": LABELLED, "unlabelled": ...}
STATE_FROM_VIDEO = STATE | {
    "lawm_model": Stage(
        "pretrain",
        "pretrain:medium",
        {"num_episodes": LABELLED, "unlabelled": ..., "latent_actions.kl_scale": 0.1},
    ),
    "lawm": dataclasses.replace(STATE["aime"], model="lawm_model"),
    **{name: Stage("baseline", f"baseline:{name}-small", FROM_VIDEO) for name in ("lapo", "clam")},
}
VIDEO_METHODS = ("aime", "bco", "lawm", "lapo", "clam")

# Episodes of 400 whose actions are known: evenly spaced, for the first quarter is uniform noise, the rest rhythms.
SHARES = {"share-1": 4, "share-2.5": 10, "share-5": 20, "share-10": 40, "share-25": 100}
LABELS = STATE | {
    "lawm_model": Stage("pretrain", "pretrain:medium", {"unlabelled": ...}),
    "lawm": STATE_FROM_VIDEO["lawm"],
    **{
        share: Stage("collect", "collect:mix", {"sources": ..., "limit": number, "mode": "uniform"})
        for share, number in SHARES.items()
    },
}

EXOGENOUS = STATE_FROM_VIDEO | {
    "same_expert": Stage(
        "collect", "collect:demonstrations", {"source": ..., "env": ..., "num_episodes": ...}
    ),
}


def with_points(env: str, number: int) -> str:
    """Returns the name of an environment in which so many points move by themselves."""
    return f"{env}?exogenous={number}" if number else env


def scripted(share: float, length: int) -> Stage:
    """Returns demonstrations of a scripted expert that does something else for a share of the steps."""
    extraneous = {"extraneous.share": share, "extraneous.length": length}
    settings = {"tasks": ..., "num_episodes": ..., "with_actions": True, **extraneous}
    return Stage("collect", "collect:scripted-demonstrations", settings)


def raw(stage: Stage) -> Stage:
    """Returns a pretraining stage on sensors as they are: many of Meta-World's are constant."""
    settings = {"world_model.standardize": False, "world_model.decoder.std": 0.03}
    return dataclasses.replace(stage, settings={**stage.settings, **settings})


def with_filter(stages: Mapping[str, Stage], max_gap: int) -> dict[str, Stage]:
    """Adds stages NAME-eil, which learn from what the demonstrations have in common."""
    return dict(stages) | {
        f"{name}-eil": dataclasses.replace(
            stages[name], settings={**stages[name].settings, "common_parts.max_gap": max_gap}
        )
        for name in VIDEO_METHODS
    }


NOISY = {"tasks": ..., "shares.expert": 0.0, "shares.noisy": 0.7, "shares.random": 0.3}
AWAY = (0, 25, 50)  # % of the steps
EXTRANEOUS = STATE_FROM_VIDEO | {
    "noisy": Stage("collect", "collect:scripted", {**NOISY, "num_episodes": 200}),
    "aime": Stage("imitate", "imitate:medium", {"length": 16}),
    "lawm": Stage("imitate", "imitate:medium", {"length": 16}, model="lawm_model"),
    **{name: raw(STATE_FROM_VIDEO[name]) for name in ("model", "lawm_model")},
    **{f"away{percent}": scripted(percent / 100, 15) for percent in AWAY},
}
EXTRANEOUS = with_filter(EXTRANEOUS, max_gap=6)


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


def at_tiny_size(suite: Suite, **changes: Any) -> Suite:
    """Returns a suite whose stages have the tiny presets of their kind, and their settings; `changes` are of fields."""
    fewer = {"num_episodes": 6, "num_embodiment": 3, "length": 8, "extraneous.length": 5}
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
        tasks=TWO_ROBOTS,
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
SUITES |= {
    "labels": Suite(
        text="Fewer labels: the actions of 1 to 100 % of the embodiment episodes are known; from state, on a CPU.",
        tasks=TWO_ROBOTS,
        datasets={**{share: share for share in SHARES}, "share-100": ("flail", "rhythmic")},
        setups=("lpomdp",),
        methods={method: method for method in ("aime", "lawm", "bco")},
        stages=LABELS,
        seeds=(0, 1, 2),
        demonstrations=100,
        unlabelled="share-100",
        repeats_data=True,
    ),
    "exogenous": Suite(
        text="What moves by itself: 0, 4 or 16 points, of which no action is the cause; from state, on a CPU.",
        tasks={f"exogenous-{number}": with_points(CHEETAH["runbackward"], number) for number in (0, 4, 16)},
        datasets={"flailing": ("rhythmic", "flail")},  # those with actions are the first, rhythms
        setups=("lpomdp",),
        methods={method: method for method in VIDEO_METHODS},
        stages=EXOGENOUS,
        seeds=(0, 1, 2),
        demonstrations=100,
        shown={f"exogenous-{number}": "same_expert" for number in (4, 16)},
        repeats_data=True,
    ),
    "extraneous": Suite(
        text="Demonstrators that leave their task for 0, 25 or 50 % of the time, with and without EIL's filter; "
        "from state, on a CPU.",
        tasks={f"extraneous-{percent}": "metaworld-button-press-topdown" for percent in AWAY},
        datasets={"noisy": "noisy"},
        setups=("mdp",),
        methods={method: method for name in VIDEO_METHODS for method in (name, f"{name}-eil")},
        stages=EXTRANEOUS,
        seeds=(0, 1, 2),
        demonstrations=50,
        shown={f"extraneous-{percent}": f"away{percent}" for percent in AWAY},
        repeats_data=True,
    ),
}
for _name in ("labels", "exogenous", "extraneous"):
    SUITES[f"{_name}:trial"] = at_tiny_size(SUITES[_name])
_FAKE = {
    "labels": {"pointmass": "fake-pointmass"},
    "exogenous": {f"exogenous-{number}": with_points("fake-pointmass", number) for number in (0, 4)},
    "extraneous": {f"extraneous-{percent}": "fake-pointmass" for percent in AWAY[:2]},
}
for _name, _tasks in _FAKE.items():
    SUITES[f"{_name}:tiny"] = at_tiny_size(SUITES[_name], tasks=_tasks)
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
