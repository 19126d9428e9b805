"""What the tests of online imitation begin with: data, demonstrations and a world model."""

import pytest
from imitation_data import config_of

from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import collect, pretrain


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    """Configs' paths of data, demonstrations and world model, on the point mass."""
    folder = tmp_path_factory.mktemp("online")
    collect.run(config_of(collect_config, "scripted-tiny"), folder / "data")
    shown = config_of(
        collect_config, "scripted-demonstrations", tasks="fake-pointmass", num_episodes=3, workers=0
    )
    collect.run(shown, folder / "shown")
    data, shown = (str(folder / name / "episodes") for name in ("data", "shown"))
    # Without an inverse model, as for AIME-NoB.
    model = config_of(pretrain_config, embodiment=data, world_model__idm_mode="none")
    pretrain.run(model, folder / "model")
    return {
        "embodiment": data,
        "demonstrations": shown,
        "model": str(folder / "model"),
    }
