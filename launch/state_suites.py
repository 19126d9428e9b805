"""Comparisons from state in which every seed is a whole pipeline, at sizes for a CPU, as data."""

import dataclasses
from collections.abc import Mapping

from experiments.configs import baseline, surrogate
from experiments.envs import metaworld_tasks
from launch.cells import Stage, Suite
from launch.paper_suites import CHEETAH, OFFLINE, WALKER

TWO_ROBOTS = {task: WALKER[task] for task in ("stand", "walk")} | {
    task: CHEETAH[task] for task in ("run", "runbackward")
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


def given(stage: Stage, settings: Mapping[str, object], **fields: str) -> Stage:
    """Returns a stage with settings besides its own, and with other fields."""
    return dataclasses.replace(stage, settings={**stage.settings, **settings}, **fields)


# Rows of their own: a flow that streams chunks, encoders that are learnt first, and, for AIME, the 20,000 agent steps
# that methods with a surrogate reward have.
FLOW = {"head": "flow", "chunk": 8}
CONTINUED = {
    "policy_from": ...,
    "entropy_scale": 0.1,
    "num_episodes": 40,
    "num_envs": 2,
    "evaluation.every": 10,
    "evaluation.final_episodes": 10,
    "evaluation.video": False,
    "reward.orca.temperature": 100.0,  # demonstrations of 500 records
}
ENCODERS = {name: Stage("pretrain", f"pretrain:{name}-small") for name in ("dynamo", "inverse_dynamics")}
ROWS_BESIDES = {
    **{f"{method}_flow": given(STATE[method], FLOW) for method in ("bc", "bco")},
    **{
        f"{method}_{name}": given(STATE[method], {"encoder": ...}, model=name)
        for method in ("bc", "bco", "ot")
        for name in ENCODERS
    },
    **{
        f"aime_nob_{name}": Stage("online", "online:medium", {**CONTINUED, "reward.name": reward})
        for name, reward in {"ail": "ail", "difo": "difo", "orca": "orca", "no_reward": "none"}.items()
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
    "lawm_u_model": Stage("pretrain", "pretrain:medium", {"unlabelled": ..., "latent_actions.reads": "u"}),
    "lawm": STATE_FROM_VIDEO["lawm"],
    "lawm_u": dataclasses.replace(STATE["aime"], model="lawm_u_model"),
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


BODIES = (0, 0.2, 0.5)  # by how much they differ


def with_bodies(env: str, size: float) -> str:
    """Returns the name of an environment whose body and floor vary by so much; its length by a fifth of that."""
    return f"{env}?mass={size}&friction={size}&length={size / 5:g}" if size else env


# The expert shows on the body of the first task; where its imitators act, bodies vary.
VARIATION = STATE_FROM_VIDEO | {
    "one_body": Stage("collect", "collect:demonstrations", {"source": ..., "num_episodes": ...}),
    **{name: given(STATE_FROM_VIDEO[name], {"env": ...}) for name in VIDEO_METHODS},
}


def scripted(**settings: object) -> Stage:
    """Returns demonstrations of a scripted expert, with the actions, which are for analysis alone."""
    fixed = {"tasks": ..., "num_episodes": ..., "with_actions": True}
    return Stage("collect", "collect:scripted-demonstrations", {**fixed, **settings})


def raw(stage: Stage) -> Stage:
    """Returns a pretraining stage on sensors as they are: many of Meta-World's are constant."""
    return given(stage, {"world_model.standardize": False, "world_model.decoder.std": 0.03})


def with_filter(stages: Mapping[str, Stage], max_gap: int) -> dict[str, Stage]:
    """Adds stages NAME-eil, which learn from what the demonstrations have in common."""
    return dict(stages) | {
        f"{name}-eil": given(stages[name], {"common_parts.max_gap": max_gap}) for name in VIDEO_METHODS
    }


NOISY = {"tasks": ..., "shares.expert": 0.0, "shares.noisy": 0.7, "shares.random": 0.3}
AWAY = (0, 25, 50)  # % of the steps
EXTRANEOUS_STAGES = STATE_FROM_VIDEO | {
    "noisy": Stage("collect", "collect:scripted", {**NOISY, "num_episodes": 200}),
    "aime": Stage("imitate", "imitate:medium", {"length": 16}),
    "lawm": Stage("imitate", "imitate:medium", {"length": 16}, model="lawm_model"),
    **{name: raw(STATE_FROM_VIDEO[name]) for name in ("model", "lawm_model")},
    **{
        f"away{percent}": scripted(**{"extraneous.share": percent / 100, "extraneous.length": 15})
        for percent in AWAY
    },
}
EXTRANEOUS = with_filter(EXTRANEOUS_STAGES, max_gap=6)

# Online from state on Meta-World, from the policy that has been learnt without the environment.
KNOWN = {"loss.observation_noise": 0.0}
ONLINE = {
    **KNOWN,
    "reward.name": "ail",
    "policy_from": ...,
    "analysis.demonstrations": ...,
    "entropy_scale": 1.0,
    "updates_per_episode": 20,
    "num_envs": 2,
    "evaluation.every": 20,
    "evaluation.episodes": 20,
    "evaluation.final_episodes": 50,
    "evaluation.video": False,
}


def online(**changes: object) -> Stage:
    """Returns AIME-v2 with the adversarial reward, or what differs from it."""
    return Stage("online", "online:medium", {**ONLINE, **changes})


METAWORLD = {
    "bco": STATE["bco"],
    "mt39": Stage("collect", "collect:scripted", {"tasks": "mt39", "num_episodes": 10}),
    "scripted": scripted(),
    "model": raw(Stage("pretrain", "pretrain:medium", {"num_updates": 6000, "length": 32})),
    "viper": raw(Stage("pretrain", "pretrain:viper-small")),
    "aime": Stage(
        "imitate",
        "imitate:medium",
        {
            **KNOWN,
            "length": 32,
            "loss.entropy_scale": 1.0,
            "evaluation.every": 0,
            "evaluation.final_episodes": 50,
        },
    ),
    "ail": online(),
    "viper_reward": online(**{"reward.name": "viper", "reward.model": ...}),
    "ot": online(**{"reward.name": "ot"}),
    "no_reward": online(**{"reward.name": "none"}),
    "no_regulariser": online(embodiment=None),
}

STATE_SUITES: dict[str, Suite] = {
    "ilfo-state": Suite(
        text="Every method on two robots from state: 3 embodiment data x 4 tasks, whole pipelines repeated, on a CPU.",
        tasks=TWO_ROBOTS,
        datasets={
            "flailing": ("flail", "rhythmic"),
            "p2e": "explore",
            "other": {"stand": "walk", "walk": "stand", "run": "runbackward", "runbackward": "run"},
        },
        setups=("lpomdp", "mdp"),
        methods={method: method for method in ("aime", *baseline.METHODS, *surrogate.METHODS)}
        | {stage.replace("_", "-"): stage for stage in ROWS_BESIDES},
        stages=STATE | ENCODERS | ROWS_BESIDES,
        seeds=(0, 1, 2),
        demonstrations=100,
        repeats_data=True,
    ),
    "labels": Suite(
        text="Fewer labels: the actions of 1 to 100 % of the embodiment episodes are known; from state, on a CPU.",
        tasks=TWO_ROBOTS,
        datasets={**{share: share for share in SHARES}, "share-100": ("flail", "rhythmic")},
        setups=("lpomdp",),
        methods={"aime": "aime", "lawm": "lawm", "lawm-u": "lawm_u", "bco": "bco"},
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
    "variation": Suite(
        text="Other bodies than the demonstrator's, whose mass, friction and length vary; from state, on a CPU.",
        tasks={f"bodies-{size}": with_bodies(CHEETAH["runbackward"], size) for size in BODIES},
        datasets={"flailing": ("rhythmic", "flail")},  # those with actions are the first, rhythms
        setups=("lpomdp",),
        methods={method: method for method in VIDEO_METHODS},
        stages=VARIATION,
        seeds=(0, 1, 2),
        demonstrations=100,
        shown={f"bodies-{size}": "one_body" for size in BODIES[1:]},
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
    "metaworld6-state": Suite(
        text="AIME-v2 / AIME-NoB from state: 6 tasks of Meta-World, whole pipelines repeated, on a CPU.",
        tasks={task: f"metaworld-{task}" for task in metaworld_tasks.SETS["metaworld6"]},
        datasets={"mt39": "mt39"},
        setups=("mdp",),
        methods={
            "aime": "aime",
            "aime-nob-ail": "ail",
            "aime-nob-viper": "viper_reward",
            "aime-nob-ot": "ot",
            "aime-nob-no-reward": "no_reward",
            "aime-nob-no-regulariser": "no_regulariser",
        },
        stages=METAWORLD,
        seeds=(0, 1, 2),
        demonstrations=50,
        shown=dict.fromkeys(metaworld_tasks.SETS["metaworld6"], "scripted"),
        repeats_data=True,
    ),
}
