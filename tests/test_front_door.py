"""What a user needs of a package is there by its name, and printing it is short."""

import importlib
import pathlib
import re

import jax
import numpy as np
import pytest
from flax import nnx

import experiments
import worldmodels
from experiments.data.arena import Arena

PACKAGES = ("worldmodels", "agents", "aime", "experiments")
TINY = dict(hidden_size=8, hidden_layers=1)
SMALL = dict(
    rssm=dict(deter_size=8, stoch_size=4, hidden_size=8),
    encoder=dict(name="mlp", **TINY),
    decoder=dict(name="dmlp", **TINY),
    idm=TINY,
    binary=dict(name="binary", **TINY),
)
ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_offers_its_names(name):
    package = importlib.import_module(name)
    for offered in package.__all__:
        assert getattr(package, offered).__name__ == offered and offered in dir(package)


def test_an_unknown_name_lists_those_that_there_are():
    import aime

    with pytest.raises(AttributeError, match="'aime' has no 'infer_action'. It offers .*infer_actions"):
        aime.infer_action  # noqa: B018


def test_the_version_is_written_once():
    versions = {importlib.import_module(name).__version__ for name in PACKAGES}
    assert len(versions) == 1
    texts = [(ROOT / path).read_text() for path in ("setup.py", "worldmodels/__init__.py")]
    assert [re.findall(r"\"\d+\.\d+\.\d+\"", text) for text in texts] == [[], [f'"{versions.pop()}"']]


def test_what_a_user_holds_is_printed_in_a_line():
    episodes = worldmodels.from_arrays({"position": np.zeros((3, 11, 2))}, np.zeros((3, 10, 1)))
    assert repr(episodes[0]) == "Episode(10 steps: position [2], pre_action [1]; return 0.0)"
    data = worldmodels.SequenceDataset.create(episodes, length=4, sensors=["position"])
    text = "3 episodes, 24 windows, windows of 4: position [2], prev_action [1])"
    assert repr(data) == f"SequenceDataset({text}"
    model = worldmodels.WorldModel({"position": 2}, action_size=1, **SMALL, rngs=nnx.Rngs(0))
    start = "WorldModel(position -> position, is_terminal; features 12, actions 1; "
    assert re.fullmatch(re.escape(start) + r"\d\.\dk parameters\)", repr(model))
    assert len(repr(jax.tree.map(lambda x: x[None], model))) < 120


def test_a_loaded_run_is_printed_in_a_line():
    models = worldmodels.Models({}, world_model=np.ones(3), policy=np.ones(3), num_seeds=4, path="runs/aime")
    assert repr(models) == (
        "Models(world_model: 3 parameters, policy: 3 parameters, num_seeds=4, path='runs/aime')"
    )
    run = experiments.LoadedRun("runs/aime", "aime", {}, models, Arena("walker-walk"))
    assert repr(run) == "LoadedRun(runs/aime: aime in walker-walk; world models and policies of 4 seeds)"
