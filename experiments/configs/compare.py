"""AIME against every baseline on one cell: embodiment data, demonstrations, observation set-up."""

import functools

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets, baseline, imitate, pretrain, surrogate

METHODS = (
    *(
        "aime",
        "bco",
        "bco_alpha",
        "bcv_lr",
        "iidm",
        "pidm",
        "clam",
        "lapo",
        "laom",
        "smodice",
        "lobsdice",
        "fb",
    ),
    *surrogate.METHODS,
    *("mbbc", "bc"),
)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Pretrains and imitates with AIME, trains the baselines, evaluates all, and writes one table and one figure.

    Published settings: python -m experiments compare --config=compare
                        --config.embodiment=DIR --config.demonstrations=DIR --workdir=DIR
    On a CPU:           --config=compare:small           cheetah; a few minutes per method
                        --config=compare:small-walker    walker, whose world model needs tens of minutes
    Set-ups:            --config.setup=mdp or lpomdp
    With the paper:     --config.published_data=random (p2e, mix, stand, walk, run, ...): what the embodiment data are
    Some methods only:  --config.methods=aime,bco
    For a test:         --config=compare:tiny
    """
    config = ml_collections.ConfigDict()
    config.title = ""  # of the figure; "": environment and set-up
    config.embodiment = ""  # folder of episodes with actions; "": for methods that need none
    config.demonstrations = ""  # folder of episodes; oracles run only if they have actions
    config.num_demonstrations = placeholder(int)  # None: all
    config.env = ""  # where to evaluate; "": as recorded in the demonstrations
    config.setup = "lpomdp"
    config.seed = 0
    # Also my.module:Name of a method of your own; what cannot run on these data is left out, with the reason.
    config.methods = METHODS
    config.published_data = ""  # name of the embodiment data in the published table, to compare with
    config.random_return = placeholder(float)  # mean return of the random policy; None: not shown
    config.relevance = False  # True: the world model learns most from what looks like the demonstrations
    return _presets.apply(preset, PRESETS, config)


def _parts(config: ml_collections.ConfigDict, size: str) -> None:
    """The configs of the stages, of one size."""
    config.num_seeds = {"": 5, "small": 3, "tiny": 2}[size]
    config.pretrain = pretrain.get_config(size)
    config.aime = imitate.get_config(size)
    config.suffix = suffix = f"-{size}" if size else ""  # of the presets; those of methods of your own too
    for method in baseline.METHODS:
        config[method] = baseline.get_config(f"{method}{suffix}")
    for method in (
        "gaifo",
        "ot",
        "temporal_ot",
        "orca",
    ):  # `surrogate.METHODS`, by name for --help, which reads this
        config[method] = surrogate.get_config(f"{method}{suffix}")
    config.orca.transport.temperature = 100.0  # demonstrations may have hundreds of records


def walker(config: ml_collections.ConfigDict) -> None:
    """A larger world model; windows and policies of the oracle are like AIME's."""
    config.relevance = True
    config.pretrain = pretrain.get_config("walker")
    config.aime = imitate.get_config("walker")
    config.mbbc.length, config.mbbc.policy.hidden_size = 24, 128


PRESETS: dict[str, _presets.Changes] = {
    size: (functools.partial(_parts, size=size),) for size in ("", "small", "tiny")
}
PRESETS["small-walker"] = (*PRESETS["small"], walker)
