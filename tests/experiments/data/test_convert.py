"""Conversion: alignment and selections of each format, hostile and damaged files, continuation."""

import copyreg
import pickle
import sys
import types

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.configs.convert import get_config
from experiments.data.convert import run
from experiments.data.converters import files, tdmpc2
from experiments.data.converters.resizing import resize
from experiments.data.converters.safe_pickle import UnsafePickle, load_arrays
from worldmodels.data.episodes import episode_paths, load_episodes, read_episode


def config_of(preset, **changes):
    config = get_config(preset)
    with config.unlocked():
        config.update({name: str(value) if name == "source" else value for name, value in changes.items()})
    return config


def pickled(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


# Pickles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_all_protocols_are_read(tmp_path, protocol):
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 255, (2, 3, 4), dtype=np.uint8),
        rng.normal(size=(2, 3)),
        np.asfortranarray(np.eye(3, 2)),
    ]
    content = [*arrays, {"a": arrays[1].astype(">f4")}, np.float32(2.5), "text", 3]
    read = load_arrays(pickled(tmp_path / "x.pkl", content, protocol))
    for actual, expected in zip(read[:3], arrays, strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(read[3]["a"], arrays[1].astype(np.float32))
    assert read[4:] == [2.5, "text", 3]


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("nested", [False, True])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, nested):
    content = [np.zeros(3), Hostile(tmp_path / "created")]
    if nested:
        content = np.array([content[1]], dtype=object)
    path = pickled(tmp_path / "expert_demos.pkl", content)
    with pytest.raises(UnsafePickle, match="asks for .*open, which is not an array; nothing of it was run"):
        run(config_of("patchail", source=path), tmp_path / "out")
    assert not (tmp_path / "created").exists()


def test_a_truncated_pickle_is_one_sentence(tmp_path):
    path = pickled(tmp_path / "x.pkl", [np.zeros(100)])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnsafePickle, match="not a readable pickle, it is truncated"):
        load_arrays(path)


# PatchAIL -----------------------------------------------------------------------------------------------------


def patchail(path, num_episodes=2, num_records=4, size=84):
    rng = np.random.default_rng(0)
    shape = (num_episodes, num_records)
    observations = rng.integers(0, 256, (*shape, 9, size, size), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (*shape, 2)).astype(np.float32)
    rewards = rng.uniform(0, 1, shape)
    content = [observations, rng.normal(size=(*shape, 5)), actions, rewards]
    pickled(path, content)
    return content


def test_demonstrations_of_patchail_are_aligned(tmp_path):
    observations, states, actions, rewards = patchail(tmp_path / "expert_demos.pkl")
    result = run(
        config_of("patchail", source=tmp_path / "expert_demos.pkl", env="finger-spin"), tmp_path / "out"
    )
    assert result["num_episodes"] == 2
    episode = load_episodes(tmp_path / "out" / "episodes")[1]
    records = episode.records
    assert records["image"].shape == (4, 64, 64, 3) and records["image"].dtype == np.uint8
    newest = np.moveaxis(observations[1][:, -3:], 1, -1)
    np.testing.assert_array_equal(records["image"], resize(newest, 64, 64))
    np.testing.assert_array_equal(records["pre_action"][0], 0)
    np.testing.assert_array_equal(records["pre_action"][1:], actions[1][:-1])
    np.testing.assert_allclose(records["reward"], [0, *rewards[1][1:]], rtol=1e-6)
    np.testing.assert_allclose(records["state"], states[1], rtol=1e-6)
    assert records["is_first"].tolist() == [True, False, False, False]
    assert records["is_last"].tolist() == [False, False, False, True]
    assert episode.metadata["environment"] == "finger-spin"


def test_the_published_double_shift_of_rewards_can_be_had(tmp_path):
    rewards = patchail(tmp_path / "x.pkl", num_episodes=1, size=6)[3]
    config = config_of("patchail", source=tmp_path / "x.pkl", published_rewards=True, image_size=6)
    run(config, tmp_path / "out")
    reward = load_episodes(tmp_path / "out" / "episodes")[0].records["reward"]
    np.testing.assert_allclose(reward, [0, *rewards[0][:-1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([np.zeros(3)] * 3, "no list of observations, states, actions and rewards"),
        ([np.zeros((1, 4, 9, 8, 8))] + [np.zeros((1, 4, 2))] * 3, "expected uint8"),
        ([np.zeros((1, 4, 9, 8, 8), np.uint8)] + [np.zeros((1, 3, 2))] * 3, "parts of .* records"),
    ],
)
def test_other_pickles_are_explained(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        run(config_of("patchail", source=pickled(tmp_path / "x.pkl", content)), tmp_path / "out")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            0,
            lambda x: np.float32(x / 255),
            r"x.pkl, episode 1, has observations of .* dtype float32; expected",
        ),
        (0, lambda x: x[..., :0], r"episode 1, has observations of shape \[4, 9, 6, 0\]"),
        (
            0,
            lambda x: x[..., :5],
            r"episode 1, has observations of shape \[9, 6, 5\] per record, the first has",
        ),
        (2, lambda x: x[:2], r"episode 1, has parts of \[4, 4, 2, 4\] records"),
        (2, lambda x: x[:, 0], r"episode 1, has actions of shape \[4\]"),
    ],
)
def test_every_demonstration_is_checked_before_any_is_written(tmp_path, part, change, message):
    content = [list(values) for values in patchail(tmp_path / "x.pkl", size=6)]
    content[part][1] = change(content[part][1])
    pickled(tmp_path / "x.pkl", content)
    with pytest.raises(ValueError, match=message):
        run(config_of("patchail", source=tmp_path / "x.pkl", image_size=6), tmp_path / "out")
    assert not list(tmp_path.rglob("*.hdf5"))


def test_numbers_in_place_of_demonstrations_and_images_without_pixels_are_refused(tmp_path):
    path = pickled(tmp_path / "x.pkl", [1, 2, 3, 4])
    with pytest.raises(ValueError, match="holds no list of observations, states, actions and rewards"):
        run(config_of("patchail", source=path), tmp_path / "out")
    with pytest.raises(ValueError, match="image_size is 0; images have at least one pixel"):
        run(config_of("patchail", source=path, image_size=0), tmp_path / "other")


def test_resizing_is_that_of_opencv():
    image = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(1, 7, 5, 3) * np.uint8(7)
    expected = [[42, 68, 94, 121], [194, 220, 106, 48], [153, 180, 206, 232], [81, 107, 134, 160]]
    assert resize(image, 4, 4)[0, ..., 0].tolist() == expected  # cv2.resize(image, (4, 4)) of OpenCV 5.0
    constant = np.full((1, 84, 84, 3), 200, np.uint8)
    np.testing.assert_array_equal(resize(constant, 64, 64), 200)


# TD-MPC2 ------------------------------------------------------------------------------------------------------


def chunk_tensors(task_ids, num_records=5):
    import torch

    n = len(task_ids)
    generator = torch.Generator().manual_seed(0)
    action = torch.rand((n, num_records, 6), generator=generator)
    reward = torch.rand((n, num_records), generator=generator)
    action[:, 0], reward[:, 0] = float("nan"), float("nan")
    return {
        "obs": torch.rand((n, num_records, 39), generator=generator),
        "action": action,
        "reward": reward,
        "task": torch.tensor(task_ids)[:, None].repeat(1, num_records),
    }


def save_as_tensordict(path, tensors, style, monkeypatch):
    """Writes a chunk as the package tensordict does: newer versions by a function, older ones as an object."""
    import torch

    class TensorDict:
        def __reduce__(self):
            if style == "new":
                return _make_td, (TensorDict, self.__dict__)
            return copyreg.__newobj__, (TensorDict,), self.__dict__

    def _make_td(kind, state):
        raise AssertionError("the real function is not needed")

    class _StringOnlyDict(dict):
        def __reduce__(self):
            return copyreg.__newobj__, (_StringOnlyDict,), None, None, iter(self.items())

    for name in ("tensordict", "tensordict._td", "tensordict._reductions", "tensordict.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for function, module in (
        (TensorDict, "tensordict._td"),
        (_make_td, "tensordict._reductions"),
        (_StringOnlyDict, "tensordict.utils"),
    ):
        function.__module__, function.__qualname__ = module, function.__name__
        setattr(sys.modules[module], function.__name__, function)
    tensors = _StringOnlyDict(tensors) if style == "old" else tensors
    content = TensorDict()
    content.__dict__.update(
        _tensordict=tensors, _batch_size=torch.Size(tensors["obs"].shape[:2]), _device=None
    )
    torch.save(content, path)
    monkeypatch.undo()
    assert "tensordict" not in sys.modules


@pytest.mark.parametrize("style", ["old", "new"])
def test_a_chunk_is_read_without_the_package_that_wrote_it(tmp_path, style, monkeypatch):
    tensors = chunk_tensors([3, 30, 79])
    save_as_tensordict(tmp_path / "chunk_11.pt", tensors, style, monkeypatch)
    run(config_of("tdmpc2-mt50", source=tmp_path), tmp_path / "out")
    paths = [
        p.relative_to(tmp_path / "out" / "episodes").as_posix()
        for p in episode_paths(tmp_path / "out" / "episodes")
    ]
    assert paths == ["metaworld-assembly/0.hdf5", "metaworld-hand-insert/0.hdf5"]
    episode = read_episode(tmp_path / "out" / "episodes" / paths[1])
    np.testing.assert_array_equal(episode.records["state"], tensors["obs"][2].numpy())
    np.testing.assert_array_equal(episode.records["pre_action"][0], 0)
    np.testing.assert_array_equal(episode.records["pre_action"][1:], tensors["action"][2, 1:, :4].numpy())
    np.testing.assert_array_equal(episode.records["reward"][1:], tensors["reward"][2, 1:].numpy())
    assert episode.records["reward"][0] == 0
    assert episode.metadata["environment"] == "metaworld-hand-insert"


def test_the_selections_are_the_published_ones():
    assert len(tdmpc2.TASKS) == len(set(tdmpc2.TASKS)) == 50
    tasks, every, most = tdmpc2.SELECTIONS["mt39"]
    assert (len(tasks), every, most) == (39, 40, 250)
    evaluated = {"hand-insert", "push", "assembly", "disassemble", "sweep", "hammer"}
    assert tasks & evaluated == {"sweep", "hammer"}
    assert tdmpc2.SELECTIONS["mt50"][1:] == (1, 200)


def test_mt39_takes_every_fortieth_episode_across_chunks(tmp_path):
    import torch

    hammer, assembly = (30 + tdmpc2.TASKS.index(task) for task in ("hammer", "assembly"))
    for number, count in ((2, 30), (10, 60)):  # in the order of the numbers, not of the names
        torch.save(chunk_tensors([hammer] * count + [assembly], 2), tmp_path / f"chunk_{number}.pt")
    run(config_of("tdmpc2-mt39", source=tmp_path), tmp_path / "out")
    episodes = load_episodes(tmp_path / "out" / "episodes")
    assert [e.metadata["episode_of_task"] for e in episodes] == [0, 40, 80]
    assert [e.metadata["file"] for e in episodes] == ["chunk_2.pt", "chunk_10.pt", "chunk_10.pt"]


def test_a_hostile_chunk_is_refused_and_nothing_of_it_runs(tmp_path):
    import torch

    torch.save({"obs": Hostile(tmp_path / "created")}, tmp_path / "chunk_0.pt")
    with pytest.raises(ValueError, match="cannot be opened safely: .*nothing of it was run.$"):
        run(config_of("tdmpc2-mt50", source=tmp_path), tmp_path / "out")
    assert not (tmp_path / "created").exists()


def test_chunks_that_are_none_are_explained(tmp_path):
    import torch

    with pytest.raises(ValueError, match="holds no chunk_"):
        run(config_of("tdmpc2-mt50", source=tmp_path), tmp_path / "out")
    torch.save({"obs": torch.zeros(1)}, tmp_path / "chunk_0.pt")
    with pytest.raises(ValueError, match="no tensors action, reward, task"):
        run(config_of("tdmpc2-mt50", source=tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(task=lambda x: x + 49), "chunk_0.pt has task 80; the tasks of .* are numbered from 0 to 79"),
        (dict(task=lambda x: x * float("nan")), "chunk_0.pt has task nan"),
        (
            dict(task=lambda x: x[0, 0]),
            r"chunk_0.pt has arrays of shapes .*task \[\]; expected obs \[N, T, 39\]",
        ),
        (dict(obs=lambda x: x[:1]), r"shapes obs \[1, 5, 39\], action \[2, 5, 6\]"),
        (dict(obs=lambda x: x[..., 0]), r"shapes obs \[2, 5\]"),
        (dict(obs=lambda x: x[..., :20]), r"shapes obs \[2, 5, 20\]"),
        (dict(action=lambda x: x[..., :2]), r"action \[2, 5, 2\]"),
        (dict(reward=lambda x: x[:, :3]), r"reward \[2, 3\]"),
    ],
)
def test_a_chunk_of_other_shapes_is_refused_before_any_episode_of_it(tmp_path, change, message):
    import torch

    chunk = chunk_tensors([30, 31])
    ((name, function),) = change.items()
    torch.save(chunk | {name: function(chunk[name])}, tmp_path / "chunk_0.pt")
    with pytest.raises(ValueError, match=message):
        run(config_of("tdmpc2-mt50", source=tmp_path), tmp_path / "out")
    assert not list(tmp_path.rglob("*.hdf5"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(obs=np.float32(3)), "0.npz lacks obs"),
        (dict(obs=np.zeros((4, 3, 13))), r"0.npz has obs \[4, 3, 13\], .*; expected obs \[T, D\]"),
        (dict(action=np.full((4, 4), "a")), "0.npz lacks action"),
        (dict(success=np.ones(9)), "0.npz says 9 times whether there was success, of 4 records"),
    ],
)
def test_a_log_of_other_shapes_is_refused(tmp_path, change, message):
    arrays = dict(obs=np.zeros((4, 39)), action=np.zeros((4, 4)), reward=np.ones(4), success=np.ones(4))
    np.savez(tmp_path / "0.npz", **(arrays | change))
    with pytest.raises(ValueError, match=message):
        run(config_of("tdmpc2-expert", source=tmp_path), tmp_path / "out")


def test_successful_logs_of_experts_become_demonstrations(tmp_path):
    rng = np.random.default_rng(0)
    for number, success in enumerate((False, True, True)):
        action = rng.uniform(-1, 1, (4, 4)).astype(np.float32)
        action[0] = np.nan
        arrays = dict(
            obs=rng.normal(size=(4, 39)),
            action=action,
            reward=np.ones(4),
            image=np.zeros((4, 8, 8, 3), np.uint8),
        )
        np.savez(tmp_path / f"{number}.npz", success=np.array([False] * 3 + [success]), **arrays)
    run(config_of("tdmpc2-expert", source=tmp_path, env="metaworld-push"), tmp_path / "out")
    episodes = load_episodes(tmp_path / "out" / "episodes")
    assert [e.metadata["file"] for e in episodes] == ["1.npz", "2.npz"]
    np.testing.assert_array_equal(episodes[1].records["pre_action"][1:], action[1:])
    np.testing.assert_array_equal(episodes[1].records["reward"], [0, 1, 1, 1])
    assert episodes[0].success and episodes[0].records["image"].shape == (4, 8, 8, 3)


# Minari -------------------------------------------------------------------------------------------------------


@pytest.fixture
def minari(monkeypatch):
    """A module as minari is, with one dataset of two episodes."""
    module = types.ModuleType("minari")
    episode = types.SimpleNamespace(
        observations={"position": np.arange(8.0).reshape(4, 2), "goal": {"xy": np.ones((4, 2))}},
        actions=np.array([[0.0], [1.0], [2.0]], np.float32),
        rewards=np.array([1.0, 2.0, 3.0]),
        terminations=np.array([False, False, True]),
        truncations=np.zeros(3, bool),
        infos={"success": np.array([False, False, True])},
    )
    box = lambda low, high, shape=(2,): types.SimpleNamespace(  # noqa: E731
        low=np.full(shape, low), high=np.full(shape, high), shape=shape
    )
    module.action_space = box(0.0, 2.0, (1,))
    module.observation_space = types.SimpleNamespace(
        spaces={"position": box(-9.0, 9.0), "goal": types.SimpleNamespace(spaces={"xy": box(-9.0, 9.0)})}
    )

    def load_dataset(name, download):
        if name != "toy/expert-v0":
            raise FileNotFoundError(name)
        return types.SimpleNamespace(
            action_space=module.action_space,
            observation_space=module.observation_space,
            env_spec=types.SimpleNamespace(id="Toy-v0"),
            iterate_episodes=lambda: iter([episode] * 2),
        )

    module.load_dataset, module.episode, module.box = load_dataset, episode, box
    monkeypatch.setitem(sys.modules, "minari", module)
    return module


def test_a_minari_dataset_becomes_episodes(minari, tmp_path):
    run(config_of("minari", source="toy/expert-v0"), tmp_path / "out")
    episodes = load_episodes(tmp_path / "out" / "episodes")
    assert len(episodes) == 2
    records = episodes[0].records
    assert episodes[0].sensors == ("goal_xy", "position")
    np.testing.assert_array_equal(records["pre_action"][:, 0], [0, -1, 0, 1])
    np.testing.assert_array_equal(records["reward"], [0, 1, 2, 3])
    assert records["is_terminal"].tolist() == records["success"].tolist() == [False, False, False, True]
    assert episodes[0].metadata["environment"] == "gymnasium:Toy-v0"


def test_what_minari_itself_writes_is_read(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episode = {
        "observations": np.arange(12, dtype=np.float32).reshape(4, 3),
        "actions": np.array([[0], [1], [2]], np.float32),
        "rewards": np.array([1.0, 2.0, 3.0]),
        "terminations": np.zeros(3, bool),
        "truncations": np.array([False, False, True]),
    }
    buffers = [EpisodeBuffer(id=number, infos={}, **episode) for number in range(2)]
    minari.create_dataset_from_buffers("made-up/pendulum-v0", buffers, env="Pendulum-v1", data_format="hdf5")
    run(config_of("minari", source="made-up/pendulum-v0"), tmp_path / "out")
    first, second = load_episodes(tmp_path / "out" / "episodes")
    np.testing.assert_array_equal(first.records["state"], episode["observations"])
    np.testing.assert_array_equal(second.records["pre_action"][:, 0], [0, 0, 0.5, 1])  # actions end at 2
    assert first.metadata["environment"] == "gymnasium:Pendulum-v1"
    assert first.metadata["action_bounds"] == {"low": [-2.0], "high": [2.0]}


def test_minari_datasets_that_cannot_be_had_are_explained(minari, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no dataset 'toy/other-v0' here"):
        run(config_of("minari", source="toy/other-v0"), tmp_path / "out")
    minari.action_space = minari.box(0.0, np.inf, (1,))
    with pytest.raises(ValueError, match="whose bounds cannot be scaled"):
        run(config_of("minari", source="toy/expert-v0"), tmp_path / "out2")
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ValueError, match=r"pip install 'aime-jax\[minari\]'"):
        run(config_of("minari", source="toy/expert-v0"), tmp_path / "out3")


@pytest.mark.parametrize(
    ("name", "value", "shape"),
    [
        ("actions", np.zeros((3, 2)), r"actions \[3, 2\]"),
        ("rewards", np.zeros(2), r"rewards \[2\]"),
        (
            "observations",
            {"position": np.zeros((3, 2)), "goal": {"xy": np.ones((4, 2))}},
            r"position \[3, 2\]",
        ),
    ],
)
def test_an_episode_of_minari_whose_arrays_do_not_go_together_is_refused(
    minari, tmp_path, name, value, shape
):
    setattr(minari.episode, name, value)
    with pytest.raises(
        ValueError, match=f"toy/expert-v0, episode 0, has arrays of shapes .*{shape}.*; expected"
    ):
        run(config_of("minari", source="toy/expert-v0"), tmp_path / "out")


def test_a_sensor_of_minari_takes_the_place_of_nothing_and_may_be_left_out(minari, tmp_path):
    """Sensors named like parts of the records are renamed, as those of an environment are."""
    minari.observation_space.spaces |= {
        "reward": minari.box(-9.0, 9.0),
        "grip": types.SimpleNamespace(n=3, shape=()),
    }
    minari.observation_space.spaces["pixels"] = minari.box(0.0, 1.0, (3, 2, 2))
    minari.episode.observations |= {"reward": np.full((4, 2), 7.0), "grip": np.array([0, 2, 1, 0])}
    minari.episode.observations["pixels"] = np.ones((4, 3, 2, 2), np.float32)
    minari.episode.infos = {"is_success": np.array([False, True, False, False])}
    run(config_of("minari", source="toy/expert-v0", leave_out=("goal_xy",)), tmp_path / "out")
    episode = load_episodes(tmp_path / "out" / "episodes")[0]
    np.testing.assert_array_equal(episode.records["reward"], [0, 1, 2, 3])
    np.testing.assert_array_equal(episode.records["observed_reward"], np.full((4, 2), 7.0))
    assert episode.records["grip"].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert episode.records["pixels"].shape == (4, 2, 2, 3) and (episode.records["pixels"] == 255).all()
    assert episode.sensors == ("grip", "observed_reward", "pixels", "position")
    assert episode.records["success"].tolist() == [False, True, False, False]
    run(config_of("minari", source="toy/expert-v0", arrays=("position",)), tmp_path / "one")
    assert load_episodes(tmp_path / "one" / "episodes")[0].sensors == ("position",)
    with pytest.raises(ValueError, match="lacks speed; it has"):
        run(config_of("minari", source="toy/expert-v0", leave_out=("speed",)), tmp_path / "none")


def test_a_space_of_minari_that_is_no_sensor_may_be_left_out(minari, tmp_path):
    minari.observation_space.spaces["depth"] = minari.box(0.0, np.inf, (2, 2, 1))
    minari.episode.observations["depth"] = np.ones((4, 2, 2, 1), np.float32)
    with pytest.raises(
        ValueError, match="(?s)'depth' in .*black and white.*Of a dataset, --config.leave_out=NAME"
    ):
        run(config_of("minari", source="toy/expert-v0"), tmp_path / "refused")
    for name, changes in (("left", dict(leave_out=("depth",))), ("kept", dict(arrays=("position",)))):
        run(config_of("minari", source="toy/expert-v0", **changes), tmp_path / name)
        assert "depth" not in load_episodes(tmp_path / name / "episodes")[0].sensors


def test_actions_of_other_bounds_are_scaled_and_the_bounds_are_kept(tmp_path):
    actions = np.array([[0, 0], [-2, 0], [0, 5], [2, 10]], np.float32)
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "0.npz", **records_of(pre_action=actions))
    bounds = dict(action_low=(-2, 0), action_high=(2, 10))
    run(config_of("files", source=tmp_path / "in", **bounds), tmp_path / "out")
    (episode,) = load_episodes(tmp_path / "out" / "episodes")
    np.testing.assert_array_equal(episode.records["pre_action"], [[0, 0], [-1, -1], [0, 0], [1, 1]])
    assert episode.metadata["action_bounds"] == {"low": [-2.0, 0.0], "high": [2.0, 10.0]}
    for wrong, message in (
        (dict(action_low=(-1,), action_high=(1,)), "outside of the bounds"),
        (dict(action_low=(-1,) * 3, action_high=(20,)), "has 2 actions, and action_low"),
        (dict(action_low=(2,), action_high=(-2,)), "the lower ones first"),
    ):
        with pytest.raises(ValueError, match=message):
            run(config_of("files", source=tmp_path / "in", **wrong), tmp_path / "wrong")


def test_a_damaged_dataset_of_minari_is_one_sentence(minari, tmp_path, monkeypatch):
    def load_dataset(name, download):
        raise AssertionError

    monkeypatch.setattr(sys.modules["minari"], "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=r"The Minari dataset 'a/b-v0' cannot be read \(AssertionError\)"):
        run(config_of("minari", source="a/b-v0"), tmp_path / "out")


# Files --------------------------------------------------------------------------------------------------------


def records_of(num_records=4, **changes):
    steps = np.arange(num_records)
    return {
        "image": np.random.default_rng(0).integers(0, 256, (num_records, 6, 5, 3), dtype=np.uint8),
        "height": steps[:, None].astype(np.float32),
        "pre_action": np.zeros((num_records, 2), np.float32),
        "reward": steps.astype(np.float32)[:, None],
        "is_first": (steps == 0)[:, None],
        "is_last": (steps == num_records - 1)[:, None],
        "is_terminal": np.zeros((num_records, 1), bool),
    } | changes


def test_npz_becomes_hdf5_and_back_with_the_same_content_in_the_same_places(tmp_path):
    for name in ("a/0.npz", "a/10.npz", "b/3.npz"):
        (tmp_path / "v1" / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "v1" / name, **records_of())
    run(config_of("files", source=tmp_path / "v1"), tmp_path / "v2")
    run(config_of("files", source=tmp_path / "v2" / "episodes", suffix=".npz"), tmp_path / "again")
    names = [
        p.relative_to(tmp_path / "v2" / "episodes").as_posix()
        for p in episode_paths(tmp_path / "v2" / "episodes")
    ]
    assert names == ["a/0.hdf5", "a/10.hdf5", "b/3.hdf5"]
    for there, back in zip(
        load_episodes(tmp_path / "v1"), load_episodes(tmp_path / "again" / "episodes"), strict=True
    ):
        for name, value in there.records.items():
            np.testing.assert_array_equal(back.records[name], value)


@pytest.mark.parametrize("source", ["data", "data/episodes", "data/episodes/a", "elsewhere"])
def test_a_dataset_is_not_converted_into_itself(tmp_path, source):
    (tmp_path / "data" / "episodes" / "a").mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "data")
    np.savez(tmp_path / "data" / "episodes" / "a" / "0.npz", **records_of())
    with pytest.raises(ValueError, match="among those of the source .*; choose another --workdir"):
        run(config_of("files", source=tmp_path / source), tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()] == ["0.npz"]


def test_a_finished_conversion_says_so_when_it_is_repeated(tmp_path, capsys):
    patchail(tmp_path / "x.pkl", size=6)
    command = [
        "convert",
        "--config=convert:patchail",
        f"--config.source={tmp_path / 'x.pkl'}",
        "--config.image_size=6",
    ]
    for _ in range(2):
        assert main([*command, f"--workdir={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("Finished before") and said.endswith(
        f": 2 episodes, return 1.5, see {tmp_path / 'out'}"
    )


def test_images_in_other_layouts_are_brought_to_ours(tmp_path):
    image = records_of()["image"]
    odd = np.moveaxis(image, -1, 1).astype(np.float32) / 255
    (tmp_path / "odd").mkdir()
    np.savez(tmp_path / "odd" / "0.npz", **records_of(image=odd))
    with pytest.raises(ValueError, match="channels before rows.*channels_first"):
        run(config_of("files", source=tmp_path / "odd"), tmp_path / "no")
    config = config_of("files", source=tmp_path / "odd", channels_first=True, image_scale=255.0)
    run(config, tmp_path / "out")
    np.testing.assert_array_equal(load_episodes(tmp_path / "out" / "episodes")[0].records["image"], image)


def test_only_the_chosen_arrays_are_kept(tmp_path):
    (tmp_path / "v1").mkdir()
    np.savez(tmp_path / "v1" / "0.npz", **records_of())
    run(config_of("files", source=tmp_path / "v1", arrays=("height",)), tmp_path / "out")
    assert load_episodes(tmp_path / "out" / "episodes")[0].sensors == ("height",)


def test_an_interrupted_conversion_continues(tmp_path, monkeypatch):
    (tmp_path / "v1").mkdir()
    for number in range(4):
        np.savez(tmp_path / "v1" / f"{number}.npz", **records_of())
    config, made, convert = config_of("files", source=tmp_path / "v1"), [], files.convert

    def make(path, config):
        made.append(path.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return convert(path, config)

    monkeypatch.setattr(files, "convert", make)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "out")
    assert len(load_episodes(tmp_path / "out" / "episodes")) == 2
    assert run(config, tmp_path / "out")["num_episodes"] == 4
    assert made == ["0.npz", "1.npz", "2.npz", "2.npz", "3.npz"]
    write_time = (tmp_path / "out" / "episodes" / "0.hdf5").stat().st_mtime_ns
    assert run(config, tmp_path / "out")["num_episodes"] == 4
    assert (tmp_path / "out" / "episodes" / "0.hdf5").stat().st_mtime_ns == write_time


def test_mistakes_name_what_is_known(tmp_path):
    with pytest.raises(ValueError, match="--config.source=PATH"):
        run(get_config("files"), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no episodes"):
        run(config_of("files", source=tmp_path / "empty"), tmp_path / "out")
    with pytest.raises(ValueError, match="not '.csv'"):
        run(config_of("files", source=tmp_path, suffix=".csv"), tmp_path / "out")
