"""For tests of imitation: folders of tiny episodes, a demonstrator that goes home, and how well a policy does."""

import pathlib

import numpy as np

from agents.loop import collect_episodes, evaluate
from agents.sac import NumpyPolicy, SACSettings
from agents.sac_rounds import SACActor
from experiments.data.folders import hide_actions
from experiments.envs.vector import VectorEnvironment
from experiments.runs.settings import write_json
from worldmodels.data.episodes import append_episode

SENSORS = ("position", "velocity")
SAC = SACSettings(hidden_size=32, batch_size=32, learning_rate=3e-3, initial_temperature=0.1)


def home(records):
    """Demonstrator that pushes towards the origin and brakes."""
    return np.clip(-3 * records["position"] - 3 * records["velocity"], -1, 1).astype(np.float32)


def mean_return(actor) -> float:
    """Of an actor network of SAC on the point mass: 13 before training, 24 that of `home`."""
    with VectorEnvironment("fake-pointmass", 8, seed=1) as envs:
        return float(np.mean(evaluate(envs, SACActor(NumpyPolicy(actor), SENSORS), 8)["return"]))


def push(records):
    """Demonstrator that pushes along its position: to be seen, it must be imitated."""
    return np.sign(records["position"]).astype(np.float32)


def write_data(folder: pathlib.Path, **options) -> pathlib.Path:
    """Embodiment data, demonstrations, and the demonstrations without actions; options of the environment."""
    rng = np.random.default_rng(0)

    def flail(records):
        return rng.uniform(-1, 1, records["position"].shape).astype(np.float32)

    with VectorEnvironment("fake-pointmass", 2, seed=0, **options) as envs:
        for episode in collect_episodes(envs, flail, 8):
            append_episode(folder / "embodiment", episode)
        for episode in collect_episodes(envs, push, 4):
            append_episode(folder / "demonstrations", episode)
            append_episode(folder / "observations", hide_actions(episode))
    return folder


def config_of(module, preset="tiny", **changes):
    """The preset of a config with changes, `group__name` for those in a group."""
    config = module.get_config(preset)
    with config.unlocked():
        for key, value in changes.items():
            group, _, name = key.rpartition("__")
            (config[group] if group else config)[name] = value
    return config


def make_config(config, data: pathlib.Path, demonstrations: str = "demonstrations", **changes):
    """The config with its folders, and other changes."""
    config.demonstrations = str(data / demonstrations)
    if "embodiment" in config:
        config.embodiment = str(data / "embodiment")
    config.update(changes)
    return config


def done_at_once(config, stages, methods):
    """In place of `compare.run_methods`: every method has been evaluated, and nothing is trained."""
    result = {"return": [[1.0], [2.0]], "expert_return": 4.0}
    for method in methods:
        write_json(stages.path(method) / "DONE", result)
    return dict.fromkeys(methods, result)
