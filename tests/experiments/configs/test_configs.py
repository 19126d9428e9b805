"""Every config, with each of its presets."""

import importlib
import pathlib

import pytest

import experiments.configs

FOLDER = pathlib.Path(experiments.configs.__file__).parent
CONFIGS = {
    path.stem: importlib.import_module(f"experiments.configs.{path.stem}")
    for path in FOLDER.glob("[a-z]*.py")
}


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name, module in CONFIGS.items() for preset in module.PRESETS]
)
def test_a_preset_is_a_locked_config(name, preset):
    config = CONFIGS[name].get_config(preset)
    assert config.is_locked
    with pytest.raises(AttributeError):
        config.nonsense = 1


@pytest.mark.parametrize("name", CONFIGS)
def test_an_unknown_preset_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="^Unknown preset 'nonsense'. Known: ") as error:
        CONFIGS[name].get_config("nonsense")
    assert all(preset in str(error.value) for preset in CONFIGS[name].PRESETS)


def test_a_config_without_a_default_asks_for_a_preset():
    with pytest.raises(ValueError, match="A preset must be chosen, FILE:PRESET. Known: statistics, check, "):
        CONFIGS["dataset"].get_config()
