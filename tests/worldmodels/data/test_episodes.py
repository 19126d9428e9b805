"""Episodes on disk: round trips, the published dtypes, damaged and alien files, folders."""

import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
import types
import warnings

import h5py
import numpy as np
import psutil
import pytest

from worldmodels.data import episode_files
from worldmodels.data.episodes import (
    SUFFIXES,
    Episode,
    EpisodeError,
    append_episode,
    episode_paths,
    load_episodes,
    read_episode,
    subsample,
    write_episode,
)
from worldmodels.data.records import stack_records

ROOT = pathlib.Path(__file__).parents[3]


def make_episode(num_records=5, action_size=2, **changes):
    rng = np.random.default_rng(0)
    steps = np.arange(num_records)
    records = {
        "image": rng.integers(0, 256, (num_records, 4, 4, 3), dtype=np.uint8),
        "height": steps[:, None].astype(np.float32),
        "velocity": rng.normal(size=(num_records, 3)).astype(np.float32),
        "pre_action": rng.uniform(-1, 1, (num_records, action_size)).astype(np.float32),
        "reward": steps.astype(np.float32),
        "is_first": steps == 0,
        "is_last": steps == num_records - 1,
        "is_terminal": np.zeros(num_records, bool),
        "success": steps == 1,
        "task_id": np.full(num_records, 7),
        "physics_state": rng.normal(size=(num_records, 6)),
    }
    records = {name: value for name, value in {**records, **changes}.items() if value is not None}
    return Episode(records, {"env": "fake-pointmass", "action_repeat": 2, "versions": {"numpy": "2"}})


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype, name
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"0{request.param}"


def test_an_episode_reads_back_as_it_was_written(path):
    episode = make_episode()
    write_episode(path, episode)
    read = read_episode(path)
    assert_same(read.records, episode.records)
    assert read.metadata == episode.metadata


def test_an_episode_of_one_record_and_no_actions_reads_back(path):
    episode = make_episode(num_records=1, action_size=0, success=None)
    write_episode(path, episode)
    assert_same(read_episode(path).records, episode.records)


def test_properties_of_an_episode():
    episode = make_episode(num_records=5)
    assert (episode.num_records, episode.length, episode.return_, episode.success) == (5, 4, 10.0, True)
    assert episode.sensors == ("height", "image", "velocity")
    assert make_episode(success=None).success is None


def test_files_have_the_published_shapes_and_dtypes(path):
    write_episode(path, make_episode(num_records=5))
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files if name != "metadata"}
            assert file["metadata"].shape == () and file["metadata"].dtype.kind == "U"
    else:
        with h5py.File(path) as file:
            arrays = {name: item[()] for name, item in file.items()}
            assert isinstance(file.attrs["metadata"], str)
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "image": ((5, 4, 4, 3), "uint8"),
        "height": ((5, 1), "float64"),
        "velocity": ((5, 3), "float64"),
        "pre_action": ((5, 2), "float64"),
        "reward": ((5, 1), "float64"),
        "is_first": ((5, 1), "bool"),
        "is_last": ((5, 1), "bool"),
        "is_terminal": ((5, 1), "bool"),
        "success": ((5, 1), "bool"),
        "task_id": ((5, 1), "int64"),
        "physics_state": ((5, 6), "float64"),
    }


def test_hdf5_is_compressed_and_chunked_as_published(tmp_path):
    images = np.zeros((3, 64, 64, 3), np.uint8)
    write_episode(tmp_path / "0.hdf5", make_episode(num_records=3, image=images))
    with h5py.File(tmp_path / "0.hdf5") as file:
        assert {item.compression for item in file.values()} == {"lzf"}
        assert file["image"].chunks == (1, 64, 64, 3)
        assert file["height"].chunks == (3, 1)


def write_foreign(path, arrays):
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
        return
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value


def without_extras():
    records = make_episode(physics_state=None, success=None, task_id=None).records
    return records, {name: v if v.ndim > 1 else v[:, None] for name, v in records.items()}


def test_files_that_hold_only_float32_read_the_same(path):
    records, arrays = without_extras()
    write_foreign(path, {name: value.astype(np.float32) for name, value in arrays.items()})
    episode = read_episode(path)
    assert_same(episode.records, records)
    assert episode.metadata == {}


def test_arrays_without_a_last_axis_read_the_same(path):
    records, arrays = without_extras()
    write_foreign(path, {**arrays, "height": arrays["height"][:, 0], "reward": arrays["reward"][:, 0]})
    assert_same(read_episode(path).records, records)


def test_only_the_asked_keys_are_read(path):
    write_episode(path, make_episode())
    assert sorted(read_episode(path, keys=["height"]).records) == [
        "height",
        "is_first",
        "is_last",
        "is_terminal",
        "reward",
        "success",
    ]


def test_a_key_that_is_not_there_is_named_with_those_that_are(path):
    write_episode(path, make_episode())
    with pytest.raises(EpisodeError, match=r"0\.(npz|hdf5) lacks depth; it has height"):
        read_episode(path, keys=["depth"])


@pytest.mark.parametrize("name", ["pre_action", "reward", "is_first", "is_last", "is_terminal"])
def test_a_file_without_a_required_key_is_refused(path, name):
    _, arrays = without_extras()
    write_foreign(path, {key: value for key, value in arrays.items() if key != name})
    with pytest.raises(EpisodeError, match=f"lacks {name};"):
        read_episode(path)


def foreign_with(**changes):
    return {**without_extras()[1], **changes}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (foreign_with(height=np.array([[0], [0], [0], [np.nan], [0]])), "'height' has NaN .* in record 3"),
        (foreign_with(reward=np.full((5, 1), np.inf)), "'reward' has NaN or infinite"),
        (foreign_with(is_first=np.full((5, 1), np.nan)), "'is_first' has NaN or infinite"),
        (foreign_with(velocity=np.full((5, 3), 1e300)), "'velocity' has NaN or infinite"),
        (foreign_with(height=np.zeros((4, 1))), r"unequal length \(height 4, image 5"),
        (foreign_with(reward=np.zeros((5, 2))), r"'reward' has shape \[5, 2\]"),
        (foreign_with(image=np.full((5, 4, 4, 3), 0.5)), "expected 0 to 255"),
        (foreign_with(image=np.ones((5, 4, 4, 3), np.float32)), "expected 0 to 255"),
        (foreign_with(image=np.full((5, 4, 4, 3), 300.0)), "expected 0 to 255"),
        (foreign_with(image=np.full((5, 4, 4, 3), -1)), "expected 0 to 255"),
        (
            foreign_with(height=np.zeros((5, 4, 4))),
            r"'height' has shape \[5, 4, 4\]; expected a vector per record",
        ),
        (foreign_with(image=np.zeros((5, 1, 4, 4, 3))), r"\[5, 1, 4, 4, 3\].*or images, \[T, y, x, 3\]"),
        (foreign_with(image=np.zeros((5, 0, 0, 3))), "no pixels"),
        (
            foreign_with(pre_action=np.zeros((5, 2, 2))),
            "'pre_action' has shape.* expected a vector per record",
        ),
        ({name: value[:0] for name, value in foreign_with().items()}, "has no records"),
    ],
)
def test_bad_arrays_are_refused_with_the_file_and_the_reason(path, arrays, message):
    write_foreign(path, arrays)
    with pytest.raises(EpisodeError, match=message) as caught:
        read_episode(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_refused(path, kept):
    write_episode(path, make_episode(num_records=50))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(EpisodeError, match="not a readable episode, it is damaged.*move it elsewhere"):
        read_episode(path)


def test_a_damaged_array_is_refused(tmp_path):
    write_episode(tmp_path / "0.npz", make_episode(num_records=50))
    content = bytearray((tmp_path / "0.npz").read_bytes())
    content[300:400] = bytes(100)
    (tmp_path / "0.npz").write_bytes(content)
    with pytest.raises(EpisodeError, match="not a readable episode"):
        read_episode(tmp_path / "0.npz")


def test_an_alien_file_is_refused(path):
    path.write_text("name,value\n")
    with pytest.raises(EpisodeError, match="not a readable episode"):
        read_episode(path)


def test_a_single_array_is_not_an_episode(tmp_path):
    with open(tmp_path / "0.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(EpisodeError, match="a single array"):
        read_episode(tmp_path / "0.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "0.npz", **foreign_with(height=np.array([{}] * 5, dtype=object)))
    assert "height" not in read_episode(tmp_path / "0.npz").records
    with pytest.raises(EpisodeError, match="'height' is text or Python objects, which are never loaded"):
        read_episode(tmp_path / "0.npz", ["height"])
    (tmp_path / "0.npz").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(EpisodeError, match="no whole npz archive, perhaps a single array or a pickle"):
        read_episode(tmp_path / "0.npz")


def test_other_files_that_an_hdf5_file_names_are_never_opened(tmp_path):
    write_episode(tmp_path / "1.hdf5", make_episode())
    (tmp_path / "secret").write_bytes(bytes(40))
    for number in (2, 3, 4):
        with h5py.File(tmp_path / f"{number}.hdf5", "w") as file:
            for name, value in foreign_with(height=None).items():
                if value is not None:
                    file[name] = value
            if number == 2:
                file["height"] = h5py.ExternalLink("1.hdf5", "height")
            elif number == 3:
                layout = h5py.VirtualLayout((5, 1), float)
                layout[:] = h5py.VirtualSource("1.hdf5", "height", (5, 1))
                file.create_virtual_dataset("height", layout)
            else:
                external = [(str(tmp_path / "secret"), 0, 40)]
                file.create_dataset("height", (5, 1), "float64", external=external)
        assert "height" not in read_episode(tmp_path / f"{number}.hdf5").records
        with pytest.raises(EpisodeError, match="'height' is stored in another file, which is never opened"):
            read_episode(tmp_path / f"{number}.hdf5", ["height"])


EXTRAS = {
    "note": b"text",
    "notes": np.full((5, 1), b"text"),
    "scalar": 3.0,
    "empty name ": np.zeros((5, 1)),
    "complex": np.zeros((5, 1), complex),
}


def test_what_is_no_array_of_numbers_is_ignored_unless_it_is_asked_for(path):
    """Files of other programs hold groups, text, scalars and odd names beside what an episode needs."""
    if path.suffix == ".npz":
        np.savez(path, **foreign_with(), **EXTRAS)
    else:
        with h5py.File(path, "w") as file:
            for name, value in {**foreign_with(), **EXTRAS}.items():
                file[name] = value
            file["more/height"] = np.zeros(5)
            file.attrs["sim"] = True
    for keys in (None, ["height"]):
        episode = read_episode(path, keys)
        assert "height" in episode.records and not {"note", "notes", "scalar", "more"} & set(episode.records)
    for name in ("note", "notes", "scalar", "complex", *(["more"] if path.suffix == ".hdf5" else [])):
        with pytest.raises(EpisodeError, match=f"{path}: '{name}' is .*; expected an array of numbers"):
            read_episode(path, [name])


def test_a_readable_file_of_another_kind_is_told_from_a_damaged_one(path):
    if path.suffix == ".npz":
        np.savez(path, action=np.zeros((5, 2)), qpos=np.zeros((5, 2)))
    else:
        with h5py.File(path, "w") as file:
            file["action"], file["observations/qpos"] = np.zeros((5, 2)), np.zeros((5, 2))
    has = "action, qpos" if path.suffix == ".npz" else r"action, observations \(a group\)"
    for keys in (None, ["qpos"]):
        with pytest.raises(
            EpisodeError, match=f"{path} can be read and is no episode: it lacks .*has {has}"
        ) as told:
            read_episode(path, keys)
        assert "delete" not in str(told.value)


@pytest.mark.parametrize("images_on_disk", [False, True])
def test_a_small_file_that_declares_gigabytes_is_refused(tmp_path, images_on_disk):
    write_episode(tmp_path / "0.hdf5", make_episode())
    with h5py.File(tmp_path / "0.hdf5", "a") as file:
        file.create_dataset("many", (5, 10**8), "float64", chunks=(1, 1000))
    with pytest.raises(EpisodeError, match=r"declares 3.7 GiB of arrays in a file of \d+ bytes"):
        read_episode(tmp_path / "0.hdf5", images_on_disk=images_on_disk)
    assert read_episode(tmp_path / "0.hdf5", ["height"], images_on_disk=images_on_disk).num_records == 5


def test_more_than_there_is_memory_for_is_refused_unless_it_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(episode_files, "_ALWAYS_READ", 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=2**21))
    images = np.random.default_rng(0).integers(0, 256, (5, 500, 500, 3), dtype=np.uint8)
    write_episode(tmp_path / "0.hdf5", make_episode(image=images))
    with pytest.raises(EpisodeError, match="0.0 GiB of memory are free.*split into shorter episodes"):
        read_episode(tmp_path / "0.hdf5")
    image = read_episode(tmp_path / "0.hdf5", images_on_disk=True).records["image"]
    np.testing.assert_array_equal(image[1:3], images[1:3])
    with pytest.raises(EpisodeError, match="split into shorter episodes"):
        np.asarray(image)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([1], "metadata of type list"),
        (None, "metadata of type NoneType"),
        ({"environment": 5}, "with the environment 5, expected a str"),
        ({"rendering": "fast"}, "with the rendering 'fast', expected a dict"),
    ],
)
def test_metadata_of_another_kind_are_neither_read_nor_written(path, metadata, message):
    text = json.dumps(metadata)
    if path.suffix == ".npz":
        np.savez(path, **foreign_with(metadata=np.array(text)))
    else:
        write_foreign(path, foreign_with())
        with h5py.File(path, "a") as file:
            file.attrs["metadata"] = text
    with pytest.raises(EpisodeError, match=f"{path} has .*{message}"):
        read_episode(path)
    with pytest.raises(EpisodeError, match=message):
        write_episode(path, Episode(make_episode().records, metadata))


def test_unknown_suffixes_and_absent_files_are_refused(tmp_path):
    with pytest.raises(EpisodeError, match="'.pkl'"):
        write_episode(tmp_path / "0.pkl", make_episode())
    with pytest.raises(EpisodeError, match="'.csv'"):
        read_episode(tmp_path / "0.csv")
    with pytest.raises(EpisodeError, match="There is no episode file"):
        read_episode(tmp_path / "0.npz")


@pytest.mark.parametrize(
    "changes", [{"height": np.full((5, 1), np.nan)}, {"reward": None}, {"height": np.zeros((4, 1))}]
)
def test_a_bad_episode_is_not_written(path, changes):
    with pytest.raises(EpisodeError, match="The episode to be written to"):
        write_episode(path, make_episode(**changes))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "arm/left", "file", "metadata", "allow_pickle"])
def test_names_that_files_cannot_hold_are_refused(path, name):
    with pytest.raises(EpisodeError, match=f"of the name '{name}', which files cannot hold"):
        write_episode(path, make_episode(**{name: np.zeros((5, 1))}))
    assert list(path.parent.iterdir()) == []


def test_metadata_may_hold_numpy_values_but_not_objects(path):
    episode = make_episode()
    episode.metadata = {"seed": np.int64(3), "low": np.zeros(2)}
    write_episode(path, episode)
    assert read_episode(path).metadata == {"seed": 3, "low": [0.0, 0.0]}
    for metadata in ({"env": object()}, {"log": "x" * 70_000}):
        episode.metadata = metadata
        with pytest.raises(EpisodeError, match="metadata"):
            write_episode(path, episode)


def test_a_failed_write_leaves_the_old_file_alone(path, monkeypatch):
    write_episode(path, make_episode(num_records=3))

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        EpisodeError, match="Cannot write episode .*No space left on device. Check free space"
    ):
        write_episode(path, make_episode(num_records=4))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert read_episode(path).num_records == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_writer_leaves_no_half_file(tmp_path, suffix):
    script = (
        "import itertools, numpy as np\n"
        "from worldmodels.data.episodes import *\n"
        "n = 20_000\n"
        "flags = {k: np.zeros(n, bool) for k in FLAGS}\n"
        "sensor = np.random.default_rng(0).normal(size=(n, 10))\n"
        "e = Episode(dict(x=sensor, pre_action=np.zeros((n, 1)), reward=np.zeros(n), **flags))\n"
        f"for _ in itertools.count(): append_episode({str(tmp_path)!r}, e, {suffix!r})\n"
    )
    for delay in (0.03, 0.11):
        before = len(episode_paths(tmp_path))
        writer = subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.getcwd()}
        )
        try:
            deadline = time.monotonic() + 30
            while len(episode_paths(tmp_path)) == before and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(delay)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        episodes = load_episodes(tmp_path)
        assert len(episodes) > before
        assert {episode.num_records for episode in episodes} == {20_000}


def test_paths_are_sorted_by_folder_and_then_by_number(tmp_path):
    names = ["b/2.npz", "b/10.npz", "a/1.hdf5", "11.hdf5", "9.hdf5"]
    for name in [*names, "a/notes.txt", "a/best.npz", ".hidden/0.npz", ".12.hdf5.tmp"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in episode_paths(tmp_path)]
    assert found == ["9.hdf5", "11.hdf5", "a/1.hdf5", "b/2.npz", "b/10.npz"]


def test_two_files_of_one_number_are_refused(tmp_path):
    (tmp_path / "3.npz").touch()
    (tmp_path / "3.hdf5").touch()
    with pytest.raises(EpisodeError, match="same number"):
        episode_paths(tmp_path)


def test_links_are_followed_and_no_folder_counts_twice(tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("data/a/0.npz", "elsewhere/1.npz"):
        (tmp_path / name).touch()
    for link, target in (("a/circle", ""), ("b", "a"), ("c", "../elsewhere")):
        (tmp_path / "data" / link).symlink_to(tmp_path / "data" / target)
    found = [str(path.relative_to(tmp_path / "data")) for path in episode_paths(tmp_path / "data")]
    assert found == ["a/0.npz", "c/1.npz"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(EpisodeError, match=r"The folder .*closed cannot be read \(Permission denied\)"):
        episode_paths(tmp_path)


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    append_episode("~/data", make_episode())
    assert load_episodes("~/data")[0].num_records == 5


def test_absent_and_empty_folders_are_told_apart(tmp_path):
    assert episode_paths(tmp_path) == []
    with pytest.raises(EpisodeError, match="There is no folder"):
        episode_paths(tmp_path / "absent")
    with pytest.raises(EpisodeError, match="holds no episodes.*collect or download some"):
        load_episodes(tmp_path)
    for name in ("0.h5", "sub/episode_0.hdf5", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(EpisodeError, match=r"; of 0.h5, sub/episode_0.hdf5 it cannot use the names; rename"):
        load_episodes(tmp_path)


def test_the_path_of_an_absent_folder_says_from_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EpisodeError, match=f"There is no folder {tmp_path}/runs/absent;"):
        episode_paths("runs/absent")


def test_appending_continues_the_numbering(tmp_path):
    folder = tmp_path / "new"
    assert append_episode(folder, make_episode(3)).name == "0.hdf5"
    write_episode(folder / "11.npz", make_episode(4))
    assert append_episode(folder, make_episode(5), suffix=".npz").name == "12.npz"
    assert [episode.num_records for episode in load_episodes(folder)] == [3, 4, 5]
    assert [e.num_records for e in load_episodes(folder, limit=1, mode="backward")] == [5]


def test_a_folder_that_is_filled_twice_is_told(tmp_path):
    append_episode(tmp_path, make_episode(3))
    append_episode(tmp_path, make_episode(3, height=np.ones((3, 1))))
    with pytest.warns(
        UserWarning, match="2.npz is the same episode as .*0.hdf5; if the folder was filled twice"
    ):
        append_episode(tmp_path, make_episode(3), suffix=".npz")


def test_subsampling_modes():
    items = list(range(10))
    assert subsample(items, 3) == [0, 1, 2]
    assert subsample(items, 3, mode="backward") == [7, 8, 9]
    assert subsample(items, 4, mode="uniform") == [0, 3, 6, 9]
    assert subsample(items, None) == subsample(items, 99, mode="random") == items
    random = subsample(items, 4, mode="random", seed=1)
    assert random == subsample(items, 4, mode="random", seed=1) == sorted(set(random))
    assert any(random != subsample(items, 4, mode="random", seed=seed) for seed in range(2, 5))


def test_subsampling_names_what_it_knows():
    with pytest.raises(ValueError, match="Known: forward, backward, random, uniform"):
        subsample([1], 1, mode="best")
    with pytest.raises(ValueError, match="at least 1"):
        subsample([1], 0)


def test_records_are_stacked_with_the_dtypes_of_memory():
    record = {"height": np.zeros(1), "pre_action": np.zeros(2), "reward": 1.0, "is_first": True}
    stacked = stack_records([record, {**record, "is_first": False}])
    assert {name: (value.shape, value.dtype.name) for name, value in stacked.items()} == {
        "height": ((2, 1), "float32"),
        "pre_action": ((2, 2), "float32"),
        "reward": ((2,), "float32"),
        "is_first": ((2,), "bool"),
    }


def test_records_that_differ_are_refused():
    with pytest.raises(EpisodeError, match="Record 1 and record 0 of an episode differ in height"):
        stack_records([{"reward": 0.0, "height": np.zeros(1)}, {"reward": 0.0}])
    with pytest.raises(EpisodeError, match="different shapes"):
        stack_records([{"height": np.zeros(1)}, {"height": np.zeros(2)}])
    with pytest.raises(EpisodeError, match="no records"):
        stack_records([])


def test_episodes_do_not_import_jax():
    script = "import sys, worldmodels.data.episodes, worldmodels.data.episode_folders; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode == 0


# Images that stay on disk ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_may_stay_on_disk_until_they_are_asked_for(path, dtype):
    _, arrays = without_extras()
    write_foreign(path, {**arrays, "image": arrays["image"].astype(dtype)})
    image = read_episode(path, images_on_disk=True).records["image"]
    assert (image.shape, image.ndim, image.dtype, len(image)) == ((5, 4, 4, 3), 4, np.uint8, 5)
    for read in (np.asarray(image), image[1:3], image[-1:], image[2]):
        assert read.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(image), arrays["image"])
    np.testing.assert_array_equal(image[1:3], arrays["image"][1:3])
    np.testing.assert_array_equal(image[2], arrays["image"][2])


def test_an_episode_with_images_on_disk_can_be_written(path):
    write_episode(path, make_episode())
    write_episode(path.with_name(f"1{path.suffix}"), read_episode(path, images_on_disk=True))
    assert_same(read_episode(path.with_name(f"1{path.suffix}")).records, make_episode().records)


def test_images_on_disk_of_another_number_than_records_are_refused(path):
    write_foreign(path, foreign_with(image=np.zeros((4, 4, 4, 3), np.uint8)))
    with pytest.raises(EpisodeError, match="4 images 'image' and 5 records"):
        read_episode(path, images_on_disk=True)


@pytest.mark.parametrize("images_on_disk", [False, True])
def test_channels_before_rows_are_refused_with_the_way_out(path, images_on_disk):
    write_foreign(path, foreign_with(image=np.zeros((5, 3, 4, 4), np.uint8)))
    with pytest.raises(EpisodeError, match=r"channels before rows; expected \[T, y, x, 3\].*channels_first"):
        read_episode(path, images_on_disk=images_on_disk)


def test_gray_pictures_are_refused(path):
    write_foreign(path, foreign_with(image=np.zeros((5, 4, 4, 1), np.uint8)))
    with pytest.raises(EpisodeError, match="expected colours"):
        read_episode(path)


# Several folders, splits, labels --------------------------------------------------------------------------------


def test_several_folders_are_read_one_after_the_other(tmp_path):
    for name, lengths in (("a", (3, 4)), ("b", (5,))):
        for length in lengths:
            append_episode(tmp_path / name, make_episode(length))
    folders = [tmp_path / "b", tmp_path / "a"]
    assert [episode.num_records for episode in load_episodes(folders)] == [5, 3, 4]


def test_actions_that_no_policy_can_take_are_told_when_data_are_opened(tmp_path):
    for number, size in enumerate((1.0, 2.5, 1.0)):
        append_episode(
            tmp_path, make_episode(pre_action=np.full((5, 2), -size if number else 1.0, np.float32))
        )
    with pytest.warns(
        UserWarning, match=f"{tmp_path}: 1 of 3 episodes have actions of up to 2.5 .*convert:files"
    ):
        load_episodes(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_episodes(tmp_path, limit=1)
        load_episodes(tmp_path, keys=["height"])
