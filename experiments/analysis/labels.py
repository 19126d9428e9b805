"""The label of every method, the same in all tables and figures and in the published results.

A method of `baseline` or `surrogate`, the user's own too, has its label in its class, and the result of each of its
runs records it.
"""

from experiments.methods import surrogate
from experiments.methods.baseline import BASELINES

_BASELINES = {name.replace("_", "-"): baseline.label for name, baseline in BASELINES.items()}

# Name of a method in commands, sweeps and stages -> label. Tables and figures have methods in this order.
LABELS = {
    "aime": "AIME",
    "aime-v2": "AIME-v2",
    "aime-v2-viper": "AIME-v2 (VIPER)",
    "aime-v2-ail": "AIME-v2 (AIL)",
    "aime-v2-ot": "AIME-v2 (OT)",
    "aime-v2-no-regulariser": "AIME-v2 (AIL), no regulariser",
    "aime-v2-no-reward": "AIME-v2, no reward",
    "aime-nob-viper": "AIME-NoB (VIPER)",
    "aime-nob-ail": "AIME-NoB (AIL)",
    "aime-nob-ot": "AIME-NoB (OT)",
    "aime-nob-difo": "AIME-NoB (DIFO)",
    "aime-nob-orca": "AIME-NoB (ORCA)",
    "aime-nob-no-regulariser": "AIME-NoB (AIL), no regulariser",
    "aime-nob-no-reward": "AIME-NoB, no reward",
    **{name: _BASELINES[name] for name in ("bco", "bco-alpha", "iidm", "smodice", "lobsdice", "fb")},
    **{name.replace("_", "-"): method.label for name, method in surrogate.METHODS.items()},
    **{name: _BASELINES[name] for name in ("mbbc", "bc")},
    "lawm": "LAWM",
    "lawm-u": "LAWM, dynamics read u",
} | _BASELINES
LABELS |= {f"{name}-eil": f"{LABELS[name]} + EIL" for name in ("aime", "bco", "lawm", "lapo", "clam")}
_BESIDES = {"flow": "a flow", "dynamo": "DynaMo", "inverse-dynamics": "inverse dynamics"}
LABELS |= {
    f"{name}-{more}": f"{LABELS[name]} + {text}"
    for name in ("bc", "bco", "ot")
    for more, text in _BESIDES.items()
}
AIME = LABELS["aime"]


def label(method: str) -> str:
    """Returns the label of a method; one that is not known goes by its own name."""
    return LABELS.get(method.replace("_", "-"), method)


def place(method: str) -> int:
    """Returns where a method stands among others; those that are not known come last."""
    known, name = list(LABELS), method.replace("_", "-")
    return known.index(name) if name in known else len(known)
