"""The papers' tables as data.

`walker18` and `cheetah24` are those of AIME (NeurIPS 2023): every embodiment data with every demonstrated task.
`dmc9`, `metaworld6` and `metaworld50` are those of AIME-v2 / AIME-NoB, which continue to learn in the environment.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from experiments.envs import metaworld_tasks
from launch.cells import Stage, Suite

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


PAPER_SUITES: dict[str, Suite] = {
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
}
