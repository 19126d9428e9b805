"""Every registered dynamics runs through the mains that train and use a world model."""

import numpy as np
import pytest
from imitation_data import config_of, write_data

from experiments.analysis import export
from experiments.configs import export as export_config
from experiments.configs import imitate as imitate_config
from experiments.configs import online as online_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import imitate, online, pretrain
from worldmodels.export import load
from worldmodels.world_model import DYNAMICS

# The RSSM is the one of all other tests.
OTHERS = [name for name in DYNAMICS.names() if name != "rssm"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=OTHERS)
def model(request, data, tmp_path_factory):
    config = config_of(pretrain_config, embodiment=str(data / "embodiment"))
    config.world_model.dynamics.name = request.param
    folder = tmp_path_factory.mktemp(request.param) / "model"
    pretrain.run(config, folder)
    return folder


def test_it_imitates_and_is_exported(model, data, tmp_path):
    demonstrations = str(data / "observations")
    config = config_of(imitate_config, model=str(model), demonstrations=demonstrations)
    result = imitate.run(config, tmp_path / "policy")
    assert np.isfinite(result["return_mean"])
    run, to = str(tmp_path / "policy"), str(tmp_path / "exported")
    export.run(export_config.get_config(), "", run=run, to=to)
    exported = load(tmp_path / "exported")
    assert type(exported.world_model.dynamics) is DYNAMICS.get(model.parent.name.rstrip("0123456789"))


def test_it_learns_online(model, data, tmp_path):
    changes = dict(demonstrations=str(data / "demonstrations"), embodiment=str(data / "embodiment"))
    changes |= dict(reward__name="ail", policy_pretraining=0)  # offline it imitates above
    config = config_of(online_config, model=str(model), **changes)
    assert np.isfinite(online.run(config, tmp_path / "online")["return_mean"])
