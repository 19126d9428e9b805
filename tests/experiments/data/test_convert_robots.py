"""LeRobot and robomimic: data as their documentation describes them, written by the tests, become episodes."""

import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from experiments.configs import dataset as dataset_config
from experiments.configs.convert import get_config
from experiments.data import dataset
from experiments.data.convert import run
from experiments.drawing.video import write_mp4
from worldmodels.data.arrays import from_arrays
from worldmodels.data.episodes import EpisodeError, append_episode, load_episodes

FPS = 10
LENGTHS = (4, 6)


def config_of(preset, source, **changes):
    config = get_config(preset)
    config.update({"source": str(source), **changes})
    return config


# LeRobot ------------------------------------------------------------------------------------------------------


def frames_of(index):
    """The columns of an episode: the action of frame t is 10 t in its first dimension and stands still in the other."""
    steps, before = np.arange(LENGTHS[index]), sum(LENGTHS[:index])
    return {
        "observation.state": [[float(100 * index + t), 1.0] for t in steps],
        "action": [[10.0 * t, 3.0] for t in steps],
        "next.reward": (steps + 1.0).astype(np.float32),
        "next.success": steps == LENGTHS[index] - 1,
        "timestamp": (steps / FPS).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(len(steps), index),
        "index": before + steps,
        "task_index": np.full(len(steps), index),
    }


def pictures_of(index):
    """A grey that says which frame of which episode it is."""
    return np.stack(
        [np.full((16, 32, 3), 20 + 100 * index + 10 * t, np.uint8) for t in range(LENGTHS[index])]
    )


def png(picture):
    """As a parquet file has it: uint8 [y, x, 3], or uint16 [y, x] of depth."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


def write_lerobot(root, version, camera="video", **info):
    """A dataset of two episodes with a camera, as version 2.1 or 3.0 lays it out."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    shared, key = version == "v3.0", "observation.images.top"
    features = {
        name: {"dtype": "float32", "shape": [2], "names": None} for name in ("observation.state", "action")
    }
    features |= {
        name: {"dtype": "float32", "shape": [1], "names": None}
        for name in ("next.reward", "next.success", "timestamp")
    }
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features[key] = {"dtype": camera, "shape": [16, 32, 3], "names": ["height", "width", "channels"]}
    tables = []
    for index in range(2):
        columns = frames_of(index) | (
            {key: [png(each) for each in pictures_of(index)]} if camera == "image" else {}
        )
        tables.append(pa.table(columns))
    (root / "meta").mkdir(parents=True)
    files = {root / "data/chunk-000/file-000.parquet": pa.concat_tables(tables)}
    if not shared:
        files = {root / f"data/chunk-000/episode_{i:06d}.parquet": table for i, table in enumerate(tables)}
    for path, table in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    if camera == "video" and shared:
        write_mp4(
            root / f"videos/{key}/chunk-000/file-000.mp4",
            np.concatenate([pictures_of(0), pictures_of(1)]),
            FPS,
        )
    elif camera == "video":
        for index in range(2):
            write_mp4(root / f"videos/chunk-000/{key}/episode_{index:06d}.mp4", pictures_of(index), FPS)
    rows = [{"episode_index": i, "tasks": [f"task {i}"], "length": n} for i, n in enumerate(LENGTHS)]
    if shared:
        for index, row in enumerate(rows):
            row |= {"data/chunk_index": 0, "data/file_index": 0}
            row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0}
            row[f"videos/{key}/from_timestamp"] = sum(LENGTHS[:index]) / FPS
            row[f"videos/{key}/to_timestamp"] = sum(LENGTHS[: index + 1]) / FPS
        (root / "meta/episodes/chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
        tasks = pa.table({"task_index": [0, 1], "task": ["task 0", "task 1"]})
        pq.write_table(tasks, root / "meta/tasks.parquet")
        stats = {"action": {"min": [0.0, 3.0], "max": [50.0, 3.0], "count": [10]}}
        (root / "meta/stats.json").write_text(json.dumps(stats))
    else:
        write_lines(root / "meta/episodes.jsonl", rows)
        write_lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": f"task {i}"} for i in range(2)])
        least = [{"min": [0.0, 3.0], "max": [10.0 * (n - 1), 3.0], "count": [n]} for n in LENGTHS]
        stats = [{"episode_index": i, "stats": {"action": each}} for i, each in enumerate(least)]
        write_lines(root / "meta/episodes_stats.jsonl", stats)
    data = "file-{file_index:03d}" if shared else "episode_{episode_index:06d}"
    chunk = "chunk-{chunk_index:03d}" if shared else "chunk-{episode_chunk:03d}"
    video = f"{{video_key}}/{chunk}" if shared else f"{chunk}/{{video_key}}"
    facts = {"codebase_version": version, "robot_type": "so100", "total_episodes": 2, "total_frames": 10}
    facts |= {
        "total_tasks": 2,
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": "0:2"},
        "features": features,
    }
    facts |= {"data_path": f"data/{chunk}/{data}.parquet", "video_path": f"videos/{video}/{data}.mp4"}
    (root / "meta/info.json").write_text(json.dumps(facts | info))
    return root


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("camera", ["video", "image"])
def test_a_lerobot_dataset_becomes_episodes(tmp_path, version, camera):
    source = write_lerobot(tmp_path / "so100", version, camera)
    run(config_of("lerobot", source), tmp_path / "out")
    first, second = load_episodes(tmp_path / "out" / "episodes")
    assert first.sensors == ("state", "top") and (first.num_records, second.num_records) == LENGTHS
    np.testing.assert_allclose(second.records["state"][:, 0], [100, 101, 102, 103, 104, 105])
    # Frame t tells the action that led to frame t + 1; the greatest of the dataset, 50, is 1 and the least, 0, is -1.
    np.testing.assert_allclose(second.records["pre_action"][:, 0], [0, -1, -0.6, -0.2, 0.2, 0.6], atol=1e-6)
    np.testing.assert_allclose(second.records["pre_action"][:, 1], 0)
    np.testing.assert_allclose(second.records["reward"], [0, 1, 2, 3, 4, 5 + 6])
    assert second.records["success"].tolist() == [False] * 5 + [True]
    assert second.records["task_id"].tolist() == [1] * 6
    grey = second.records["top"][:, 8, 16].astype(int)
    np.testing.assert_allclose(
        grey, np.repeat(120 + 10 * np.arange(6)[:, None], 3, 1), atol=0 if camera == "image" else 3
    )
    bounds = second.metadata.pop("action_bounds")
    assert bounds == {"low": [0.0, 2.0], "high": [50.0, 4.0]}
    expected = {
        "source": "lerobot:so100",
        "control_seconds": 0.1,
        "robot": "so100",
        "episode": 1,
        "tasks": ["task 1"],
    }
    assert second.metadata == expected
    # As a policy's output is scaled back.
    low, high = np.array(bounds["low"]), np.array(bounds["high"])
    back = low + (second.records["pre_action"][1:] + 1) / 2 * (high - low)
    np.testing.assert_allclose(back, np.array(frames_of(1)["action"])[:-1], atol=1e-5)


def test_options_of_a_lerobot_dataset(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v3.0")
    changes = dict(image_size=8, leave_out=("state",), limit=1, env="fake-pointmass", action_low=(-100.0,))
    run(config_of("lerobot", source, action_high=(100.0,), **changes), tmp_path / "out")
    (episode,) = load_episodes(tmp_path / "out" / "episodes")
    assert episode.records["top"].shape == (4, 8, 8, 3) and episode.sensors == ("top",)
    np.testing.assert_allclose(episode.records["pre_action"][1:, 0], [0, 0.1, 0.2], atol=1e-6)
    assert episode.metadata["environment"] == "fake-pointmass"


def test_without_statistics_the_actions_themselves_are_the_bounds(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v2.1", "image")
    (source / "meta/episodes_stats.jsonl").unlink()
    run(config_of("lerobot", source), tmp_path / "out")
    bounds = load_episodes(tmp_path / "out" / "episodes")[0].metadata["action_bounds"]
    assert bounds == {"low": [0.0, 2.0], "high": [50.0, 4.0]}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"codebase_version": "v1.6"}, "says version 'v1.6'; known are"),
        ({"fps": 0}, "is damaged: it lacks fps"),
        ({"chunks_size": 0}, "is damaged .ZeroDivisionError"),
        ({"features": {"action": {"dtype": "float32"}}}, "lacks fps or the shape of the feature 'action'"),
        ({"data_path": "../{episode_index}.parquet"}, "leads out of the dataset"),
        ({"data_path": "data/{episode_index}.parquet"}, "cannot be read"),
        ({"data_path": "data/{other}"}, "is damaged .KeyError"),
    ],
)
def test_a_damaged_lerobot_dataset_is_a_sentence(tmp_path, info, message):
    source = write_lerobot(tmp_path / "so100", "v2.1", "image", **info)
    with pytest.raises(ValueError, match=message):
        run(config_of("lerobot", source), tmp_path / "out")


@pytest.mark.parametrize(
    "low", [pytest.param([0.0], id="of one action"), pytest.param([0.0, np.nan], id="not finite")]
)
def test_statistics_that_are_not_of_the_actions_are_a_sentence(tmp_path, low):
    source = write_lerobot(tmp_path / "so100", "v3.0", "image")
    (source / "meta/stats.json").write_text(json.dumps({"action": {"min": low, "max": [50.0, 3.0]}}))
    with pytest.raises(ValueError, match="meta is damaged: its statistics of 2 actions are"):
        run(config_of("lerobot", source), tmp_path / "out")


def test_actions_beyond_the_statistics_are_told_with_the_bounds_and_the_option(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v3.0", "image")
    (source / "meta/stats.json").write_text(json.dumps({"action": {"min": [0.0, 3.0], "max": [20.0, 3.0]}}))
    expected = (
        r"episode 0, has actions from 0 to 30, outside of the bounds \[0.0, 2.0\] and \[20.0, 4.0\]; pass"
    )
    with pytest.raises(ValueError, match=expected):
        run(config_of("lerobot", source), tmp_path / "out")


def with_feature(root, name, feature, values):
    """Adds a feature, whose values are those of all frames, to a dataset of version 3.0."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, info = root / "data/chunk-000/file-000.parquet", root / "meta/info.json"
    pq.write_table(pq.read_table(path).append_column(name, pa.array(values)), path)
    facts = json.loads(info.read_text())
    facts["features"][name] = feature
    info.write_text(json.dumps(facts))


def test_depth_is_refused_and_not_made_white(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v3.0", "image")
    feature = {"dtype": "image", "shape": [16, 32, 1]}
    depth = png(np.full((16, 32), 1000, np.uint16))
    with_feature(source, "observation.images.depth", feature, [depth] * sum(LENGTHS))
    with pytest.raises(EpisodeError, match="their mode is I;16, as of depth.*drop them by leave_out"):
        run(config_of("lerobot", source), tmp_path / "refused")
    run(config_of("lerobot", source, leave_out=("depth",)), tmp_path / "out")
    assert load_episodes(tmp_path / "out" / "episodes")[0].sensors == ("state", "top")


def test_what_cannot_be_used_is_told_with_its_episode_and_what_leaves_it_out(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v3.0", "image")
    with_feature(source, "observation.words", {"dtype": "string", "shape": [1]}, ["a"] * sum(LENGTHS))
    with pytest.raises(
        EpisodeError, match="episode 0, cannot be used.*'words' has dtype.*leave_out=NAME drops"
    ):
        run(config_of("lerobot", source), tmp_path / "out")
    with pytest.raises(EpisodeError, match="lacks word; it has state, top, words"):
        run(config_of("lerobot", source, leave_out=("word",)), tmp_path / "other")


def test_a_dataset_without_videos_needs_no_path_of_them(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v3.0", "image")
    info = json.loads((source / "meta/info.json").read_text())
    del info["video_path"]
    (source / "meta/info.json").write_text(json.dumps(info))
    run(config_of("lerobot", source), tmp_path / "out")
    assert len(load_episodes(tmp_path / "out" / "episodes")) == 2


def test_an_episode_of_one_frame_is_left_out_and_told(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "LENGTHS", (4, 1))
    source = write_lerobot(tmp_path / "so100", "v3.0", "image")
    with pytest.warns(UserWarning, match=r"1 episodes of one frame \(1\) are left out"):
        run(config_of("lerobot", source), tmp_path / "out")
    (episode,) = load_episodes(tmp_path / "out" / "episodes")
    assert episode.num_records == 4


def test_a_video_that_is_too_short_is_a_sentence(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v2.1")
    (video,) = source.glob("videos/*/*/episode_000000.mp4")
    write_mp4(video, pictures_of(0)[:2], FPS)
    with pytest.raises(EpisodeError, match="does not have 4 pictures of 16 x 32 from second 0 on"):
        run(config_of("lerobot", source), tmp_path / "out")


def test_what_is_no_lerobot_dataset_is_a_sentence(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="holds no dataset of LeRobot: there is no meta/info.json"):
        run(config_of("lerobot", tmp_path), tmp_path / "out")


# robomimic ----------------------------------------------------------------------------------------------------


def write_robomimic(path, next_obs=True, scale=1.0):
    """Two demonstrations of three steps."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        )
        for number in range(2):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = 3
            demo["actions"] = scale * np.array([[0.1], [0.2], [0.3]])
            demo["rewards"], demo["dones"] = np.array([0.0, 0.0, 1.0]), np.array([0, 0, 1])
            demo["states"] = np.zeros((3, 9))
            image = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
            for name, later in (("obs", 0), ("next_obs", 1)):
                if later <= next_obs:
                    demo[f"{name}/eef_pos"] = number + later + np.arange(3.0)[:, None] * np.ones((1, 3))
                    demo[f"{name}/agentview_image"] = image
        file["mask/train"] = np.array([b"demo_1"])
    return path


def test_robomimic_demonstrations_become_episodes(tmp_path):
    source = write_robomimic(tmp_path / "low_dim.hdf5")
    run(config_of("robomimic", source, upside_down=True), tmp_path / "out")
    first, second = load_episodes(tmp_path / "out" / "episodes")
    assert first.sensors == ("agentview_image", "eef_pos")
    np.testing.assert_allclose(second.records["eef_pos"][:, 0], [1, 2, 3, 4])
    np.testing.assert_allclose(first.records["pre_action"][:, 0], [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(first.records["reward"], [0, 0, 0, 1])
    assert first.records["is_terminal"].tolist() == [False, False, False, True]
    with h5py.File(source) as file:
        np.testing.assert_array_equal(
            first.records["agentview_image"][:3], file["data/demo_0/obs/agentview_image"][()][:, ::-1]
        )
    assert first.metadata == {
        "source": "robomimic:low_dim.hdf5",
        "task": "Lift",
        "control_seconds": 0.05,
        "episode": 0,
    }


def test_a_file_of_libero_has_no_next_observations(tmp_path):
    source = write_robomimic(tmp_path / "libero.hdf5", next_obs=False, scale=10.0)
    bounds = dict(action_low=(-4.0,), action_high=(4.0,))
    run(
        config_of("robomimic", source, filter_key="train", leave_out=("agentview_image",), **bounds),
        tmp_path / "out",
    )
    (episode,) = load_episodes(tmp_path / "out" / "episodes")
    assert episode.metadata["episode"] == 1 and episode.sensors == ("eef_pos",)
    np.testing.assert_allclose(episode.records["pre_action"][:, 0], [0, 0.25, 0.5])
    np.testing.assert_allclose(episode.records["reward"], [0, 0, 1])
    assert not episode.records["is_terminal"].any()


def test_a_sensor_without_later_observations_is_kept_and_the_last_action_dropped(tmp_path):
    source = write_robomimic(tmp_path / "low_dim.hdf5")
    with h5py.File(source, "a") as file:
        del file["data/demo_0/next_obs/agentview_image"]
    run(config_of("robomimic", source), tmp_path / "out")
    first, second = load_episodes(tmp_path / "out" / "episodes")
    assert first.sensors == second.sensors == ("agentview_image", "eef_pos")
    assert (first.num_records, second.num_records) == (3, 4) and first.return_ == second.return_ == 1
    assert not first.records["is_terminal"].any()


def test_a_file_of_robomimic_with_a_single_action_and_a_vector_of_one_number(tmp_path):
    source = write_robomimic(tmp_path / "low_dim.hdf5")
    with h5py.File(source, "a") as file:
        for number in range(2):
            del file[f"data/demo_{number}/actions"]
            file[f"data/demo_{number}/actions"] = np.array([1.0, 2.0, 3.0])
            for part in ("obs", "next_obs"):
                file[f"data/demo_{number}/{part}/grip"] = np.arange(3.0)
    bounds = dict(action_low=(-4.0,), action_high=(4.0,))
    run(config_of("robomimic", source, **bounds), tmp_path / "out")
    (episode, _) = load_episodes(tmp_path / "out" / "episodes")
    np.testing.assert_allclose(episode.records["pre_action"], [[0], [0.25], [0.5], [0.75]])
    assert episode.records["grip"].shape == (4, 1)


def test_options_that_fit_no_sensor_or_action_of_robomimic_are_told(tmp_path):
    source = write_robomimic(tmp_path / "low_dim.hdf5", scale=10.0)
    with pytest.raises(
        EpisodeError, match="demo_0, cannot be used: Actions are in .*--config.action_low and"
    ):
        run(config_of("robomimic", source), tmp_path / "a")
    with pytest.raises(EpisodeError, match="demo_0, lacks depth; it has agentview_image, eef_pos"):
        run(config_of("robomimic", source, leave_out=("depth",)), tmp_path / "b")


def test_a_file_of_robomimic_that_is_none_is_a_sentence(tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ValueError, match="holds no group `data`"):
        run(config_of("robomimic", tmp_path / "other.hdf5"), tmp_path / "a")
    source = write_robomimic(tmp_path / "raw.hdf5")
    with pytest.raises(ValueError, match="no filter key 'valid'. It has: train"):
        run(config_of("robomimic", source, filter_key="valid"), tmp_path / "b")
    with h5py.File(source, "a") as file:
        del file["data/demo_0/obs"]
        file["data/demo_0/obs"] = h5py.ExternalLink(str(tmp_path / "secret.hdf5"), "/obs")
    with pytest.raises(EpisodeError, match="demo_0, has no observations"):
        run(config_of("robomimic", source), tmp_path / "c")
    with h5py.File(source, "a") as file:
        for number in range(2):
            file.move(f"data/demo_{number}", f"data/episode_{number}")
    with pytest.raises(EpisodeError, match="no demonstrations demo_0, .*it has: episode_0, episode_1"):
        run(config_of("robomimic", source), tmp_path / "e")
    np.savez(tmp_path / "other.npz", data=np.zeros(3))
    with pytest.raises(EpisodeError, match="other.npz is an npz archive; a file of robomimic is HDF5"):
        run(config_of("robomimic", tmp_path / "other.npz"), tmp_path / "d")


# And back -----------------------------------------------------------------------------------------------------


def exported(folder, target, kind, **changes):
    config = dataset_config.get_config("export")
    config.update({"data": str(folder), "format": kind, **changes})
    return dataset.run(config, str(target))


def assert_same_but_for_the_last_record(one, other):
    for name, values in one.records.items():
        if name not in ("is_last", "reward", "success", "is_terminal"):
            np.testing.assert_allclose(values, other.records[name][: len(values)], atol=1e-5, err_msg=name)
    assert one.return_ == pytest.approx(other.return_) and one.num_records == other.num_records - 1


def test_episodes_are_exported_to_lerobot_and_read_again(tmp_path):
    source = write_lerobot(tmp_path / "so100", "v2.1", "image")
    run(config_of("lerobot", source), tmp_path / "ours")
    result = exported(tmp_path / "ours" / "episodes", tmp_path, "lerobot")
    assert (result["num_episodes"], result["num_frames"]) == (2, 3 + 5)
    info = json.loads((tmp_path / "lerobot/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 10, "so100")
    assert info["features"]["observation.images.top"] == {
        "dtype": "image",
        "shape": [16, 32, 3],
        "names": ["height", "width", "channels"],
    }
    stats = json.loads((tmp_path / "lerobot/meta/stats.json").read_text())
    actions = np.concatenate([np.array(frames_of(i)["action"])[:-1] for i in range(2)])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0), rtol=1e-5, atol=1e-5)
    assert np.shape(stats["observation.images.top"]["max"]) == (3, 1, 1) and stats["index"]["max"] == [7.0]
    bounds = dict(action_low=(0.0, 2.0), action_high=(50.0, 4.0))
    run(config_of("lerobot", tmp_path / "lerobot", **bounds), tmp_path / "again")
    before, after = (load_episodes(tmp_path / name / "episodes") for name in ("ours", "again"))
    for one, other in zip(after, before, strict=True):
        assert_same_but_for_the_last_record(one, other)
        assert one.metadata["tasks"] == other.metadata["tasks"]


@pytest.mark.parametrize("kind", ["lerobot", "minari"])
def test_an_export_takes_a_relative_folder_and_replaces_nothing_that_is_there_unless_asked(
    tmp_path, monkeypatch, kind
):
    pytest.importorskip({"lerobot": "pyarrow", "minari": "minari"}[kind])
    (episode,) = from_arrays({"position": [np.zeros((3, 2))]}, [np.zeros((2, 1))])
    append_episode(tmp_path / "data", episode)
    monkeypatch.chdir(tmp_path)
    assert exported("data", "out", kind, fps=10.0)["num_frames"] == 2
    with pytest.raises(ValueError, match=f"out/{kind} exists; choose another --workdir, or --fresh"):
        exported("data", "out", kind, fps=10.0)
    append_episode(tmp_path / "data", from_arrays({"position": [np.ones((3, 2))]}, [np.zeros((2, 1))])[0])
    config = dataset_config.get_config("export")
    config.update(data="data", format=kind, fps=10.0)
    assert dataset.run(config, "out", fresh=True)["num_episodes"] == 2


def test_pandas_reads_the_tasks_of_an_export_as_lerobot_does(tmp_path):
    pandas = pytest.importorskip("pandas")
    run(config_of("lerobot", write_lerobot(tmp_path / "so100", "v3.0")), tmp_path / "ours")
    exported(tmp_path / "ours" / "episodes", tmp_path, "lerobot")
    tasks = pandas.read_parquet(tmp_path / "lerobot/meta/tasks.parquet")
    assert list(tasks.index) == ["task 0", "task 1"] and list(tasks.task_index) == [0, 1]


def test_episodes_are_exported_to_minari_and_read_again(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    run(config_of("robomimic", write_robomimic(tmp_path / "low_dim.hdf5")), tmp_path / "ours")
    exported(tmp_path / "ours" / "episodes", tmp_path, "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    run(config_of("minari", "exported-v0"), tmp_path / "again")
    before, after = (load_episodes(tmp_path / name / "episodes") for name in ("ours", "again"))
    for one, other in zip(after, before, strict=True):
        assert one.records.keys() == other.records.keys()
        for name, values in one.records.items():
            np.testing.assert_allclose(values, other.records[name], atol=1e-6, err_msg=name)


def test_demonstrations_without_actions_are_not_exported(tmp_path):
    pytest.importorskip("pyarrow")
    (episode,) = from_arrays({"position": [np.zeros((3, 2))]})
    append_episode(tmp_path / "shown", episode)
    with pytest.raises(EpisodeError, match="has no actions, which datasets of others need"):
        exported(tmp_path / "shown", tmp_path, "lerobot", fps=10.0)
    assert not (tmp_path / "lerobot").exists()
