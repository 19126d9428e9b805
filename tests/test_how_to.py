"""The code of the how-to pages works as it stands there."""

import pathlib
import re

import numpy as np
import pytest
from imitation_data import make_config, write_data

from experiments.configs import baseline as baseline_config
from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from experiments.envs.registry import make
from experiments.methods import baseline, collect, pretrain
from experiments.models.loading import load_run, load_world_model
from launch.runs import check_settings
from launch.suites import runs_of
from worldmodels import registry
from worldmodels.data.arrays import from_arrays
from worldmodels.data.episodes import append_episode, load_episodes

PAGES = pathlib.Path(__file__).parent.parent / "docs" / "how-to"
README = PAGES.parent.parent / "README.md"


ENCODER = """
from flax import nnx

class Twice(nnx.Module):
    def __init__(self, in_size, *, rngs):
        self.out_size = in_size

    def __call__(self, x):
        return 2 * x
"""


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.DOTALL)


@pytest.fixture
def module(own_code):
    """The page's environment as the file that its first line names."""
    _, code = python_blocks("environment")
    own_code("my.module", code)
    assert code.startswith("# my/module.py\n")
    return "my.module"


def test_an_environment_and_an_encoder_of_ones_own_are_learnt_from_and_opened_by_who_names_them(
    module, own_code, tmp_path, monkeypatch
):
    own_code("my.networks", ENCODER)
    env, encoder, episodes = f"{module}:make_env", "my.networks:Twice", tmp_path / "data" / "episodes"
    config = collect_config.get_config("uniform-tiny")
    config.update({"env": env, "num_episodes": 2})
    collect.run(config, tmp_path / "data")
    assert [episode.length for episode in load_episodes(episodes)] == [200, 200]
    config = pretrain_config.get_config("tiny")
    config.update({"embodiment": str(episodes), "setup": "mdp", "num_updates": 2})
    with config.unlocked():
        config.world_model.encoder = dict(name=encoder)
    as_in_another_process(monkeypatch)
    with pytest.raises(ValueError, match="--config.env=my.module:make_env"):
        pretrain.run(config, tmp_path / "refused")
    config.env = env
    pretrain.run(config, tmp_path / "model")
    assert (tmp_path / "model" / "DONE").is_file()
    as_in_another_process(monkeypatch)
    with pytest.raises(ValueError, match="--import=my.networks:Twice"):
        load_world_model(tmp_path / "model")
    registry.load(encoder)
    assert load_world_model(tmp_path / "model").encoder.vector.out_size == 2 + 1  # angle and velocity

    config = baseline_config.get_config("bc-tiny")
    config.update({"env": env, "demonstrations": str(episodes), "setup": "mdp"})
    baseline.run(config, tmp_path / "run")
    as_in_another_process(monkeypatch)
    with pytest.raises(ValueError, match="would import code of their choice.*--import=my.module:make_env"):
        load_run(tmp_path / "run")
    registry.load(env)
    assert load_run(tmp_path / "run").arena.name == env


def as_in_another_process(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})


@pytest.fixture
def huber(own_code):
    """The page's baseline as the file that its first line names."""
    code, *_ = python_blocks("method")
    assert code.startswith("# my/module.py\n") and code.count("\n") <= 40
    own_code("my.module", code)
    return "my.module:HuberBC"


def test_a_baseline_of_ones_own_is_a_method_of_a_suite(huber):
    chosen = {"task": ["run"], "dataset": ["mix"], "setup": ["lpomdp"], "method": [huber], "seed": [0]}
    runs = runs_of("walker18", chosen)
    check_settings(runs)
    own = runs[-1]
    assert (own.name, own.main) == ("walker18-run/my.module.HuberBC-mix-lpomdp/seed_000", "baseline")
    assert own.config == "baseline:my.module:HuberBC" and own.labels["method"] == huber


def test_an_option_that_a_baseline_of_ones_own_lacks_is_refused(huber, tmp_path):
    config = baseline_config.get_config(f"{huber}-tiny")
    with config.unlocked():
        config.options.gamma = 1.0
    with pytest.raises(ValueError, match="Huber BC has no option 'gamma'. It has delta."):
        baseline.run(make_config(config, write_data(tmp_path / "data")), tmp_path / "run")


def test_its_own_physics_is_seeded(module):
    first, second = (make(f"{module}:make_env").reset(seed=3)["angle"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_data_of_ones_own_are_written_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _ = python_blocks("data")
    seen, actions = {"eef_pos": np.zeros((1, 201, 3))}, np.linspace(0, 1, 200)[None, :, None]
    exec(code, dict(body=seen, actions=actions, rewards=None, shown=seen))
    (episode,), (shown,) = (load_episodes(tmp_path / "data" / name) for name in ("body", "shown"))
    assert episode.length == shown.length == 200 and shown.records["pre_action"].shape == (201, 0)
    np.testing.assert_allclose(episode.records["pre_action"][:2, 0], [0, 0], atol=1e-6)
    np.testing.assert_allclose(episode.records["pre_action"][-1, 0], 1)


def test_what_a_policy_answers_is_scaled_back_to_the_units_of_the_robot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bounds = {"action_bounds": {"low": [0.0, 2.0], "high": [50.0, 4.0]}}
    (episode,) = from_arrays({"state": [np.zeros((3, 1))]}, [np.zeros((2, 2))], metadata=bounds)
    append_episode("runs/mine/episodes", episode)
    (code,) = python_blocks("others")
    names = {}
    exec(code, names)
    assert names["to_robot"]([-1.0, 0.0]) == [0.0, 3.0] and names["to_robot"]([1.0, 1.0]) == [50.0, 4.0]


def test_episodes_get_another_reward(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (relabel, *_) = python_blocks("reward")
    velocity = np.linspace(0, 1, 201, dtype=np.float32)[:, None]
    episodes = from_arrays({"velocity": [velocity]}, [np.zeros((200, 6))])
    append_episode(tmp_path / "runs" / "noise" / "episodes", episodes[0])
    exec(relabel, {})
    (episode,) = load_episodes(tmp_path / "runs" / "relabelled" / "episodes")
    np.testing.assert_allclose(episode.records["reward"], velocity[:, 0])


def test_the_first_example_of_the_readme_infers_what_moved_the_cheetah_of_the_package():
    code, *_ = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    inferred, true = (np.asarray(x)[:, 1:] for x in (names["actions"], names["batch"].prev_action))
    assert inferred.shape == true.shape == (9, 49, 6)
    assert np.corrcoef(inferred.ravel(), true.ravel())[0, 1] > 0.85


def test_a_world_model_of_arrays_infers_actions_in_25_lines():
    (code, *_) = python_blocks("notebook")
    assert code in README.read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    names = {}
    exec(code, names)
    inferred, true = np.asarray(names["actions"])[:, 1:], names["hidden"]
    assert inferred.shape == true.shape == (20, 15, 2)
    assert np.corrcoef(inferred.ravel(), true.ravel())[0, 1] > 0.9
