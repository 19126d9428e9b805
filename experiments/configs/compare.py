"""AIME against every baseline on one cell: embodiment data, demonstrations, observation set-up."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import baseline, imitate, pretrain, surrogate

PRESETS = ("", "small", "small-walker", "tiny")
METHODS = ("aime", "bco", "bco_alpha", "iidm", "gaifo", "ot", "mbbc", "bc")


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Pretrains and imitates with AIME, trains the baselines, evaluates all, and writes one table and one figure.

    Published settings: python -m experiments compare --config=compare
                        --config.embodiment=DIR --config.demonstrations=DIR --workdir=DIR
    On a CPU:           ...compare.py:small           cheetah; a few minutes per method
                        ...compare.py:small-walker    walker, whose world model needs tens of minutes
    Set-ups:            --config.setup=mdp or lpomdp
    Beside the paper:   --config.published_data=random (p2e, mix, stand, walk, run, ...): what the embodiment data are
    Some methods only:  --config.methods=aime,bco
    For a test:         ...compare.py:tiny
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; choose one of {', '.join(map(repr, PRESETS))}.")
    size = {"small-walker": "small"}.get(preset, preset)
    suffix = f"-{size}" if size else ""
    config = ml_collections.ConfigDict()
    config.title = ""  # of the figure; "": environment and set-up
    config.embodiment = ""  # folder of episodes with actions
    config.demonstrations = ""  # folder of episodes; oracles run only if they have actions
    config.num_demonstrations = placeholder(int)  # None: all
    config.env = ""  # where to evaluate; "": as recorded in the demonstrations
    config.setup = "lpomdp"
    config.seed = 0
    config.num_seeds = 5 if not size else 3
    config.methods = METHODS  # what cannot run on these data is left out, and said
    config.published_data = ""  # name of the embodiment data in the published table, to compare with
    config.random_return = placeholder(float)  # mean return of the random policy; None: not shown
    config.relevance = (
        preset == "small-walker"
    )  # the world model learns most from what looks like the demonstrations
    config.pretrain = pretrain.get_config("walker" if preset == "small-walker" else size)
    config.aime = imitate.get_config("walker" if preset == "small-walker" else size)
    for method in ("bco", "bco_alpha", "iidm", "mbbc", "bc"):
        config[method] = baseline.get_config(f"{method}{suffix}")
    for method in ("gaifo", "ot"):
        config[method] = surrogate.get_config(f"{method}{suffix}")
    if preset == "small-walker":  # windows and policies like AIME's
        config.mbbc.length, config.mbbc.policy.hidden_size = 24, 128
    if preset == "tiny":
        config.num_seeds = 2
    return config.lock()
