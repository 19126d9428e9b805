"""Summaries and mixes of folders of episodes."""

import numpy as np
import pytest

from worldmodels.data import episode_folders
from worldmodels.data.episode_folders import mix_folders, summarise_folder
from worldmodels.data.episodes import Episode, EpisodeError, append_episode, load_episodes


def make_episode(num_records, *, value=0.0, sensor="height", action_size=2, success=None, **metadata):
    records = {
        sensor: np.full((num_records, 1), value),
        "pre_action": np.zeros((num_records, action_size)),
        "reward": np.ones(num_records),
        "is_first": np.arange(num_records) == 0,
        "is_last": np.arange(num_records) == num_records - 1,
        "is_terminal": np.zeros(num_records, bool),
    }
    if success is not None:
        records["success"] = np.full(num_records, success)
    return Episode(records, metadata)


def make_folder(folder, values, suffix=".hdf5", **kwargs):
    for value in values:
        append_episode(folder, make_episode(3, value=value, **kwargs), suffix)
    return folder


def values_in(folder):
    return [float(episode.records["height"][0, 0]) for episode in load_episodes(folder)]


def test_summary_of_a_folder(tmp_path):
    for num_records, success in ((3, True), (5, False)):
        append_episode(tmp_path, make_episode(num_records, success=success))
    assert summarise_folder(tmp_path) == {
        "num_episodes": 2,
        "num_records": 8,
        "success_rate": 0.5,
        "length_mean": 3.0,
        "length_std": 1.0,
        "length_min": 2.0,
        "length_max": 4.0,
        "return_mean": 4.0,
        "return_std": 1.0,
        "return_min": 3.0,
        "return_max": 5.0,
    }


def test_success_is_unknown_where_the_environment_does_not_define_it(tmp_path):
    assert summarise_folder(make_folder(tmp_path, [0]))["success_rate"] is None


def test_a_mix_has_the_episodes_of_all_sources_in_order(tmp_path):
    sources = [make_folder(tmp_path / "a", [1, 2], ".npz"), make_folder(tmp_path / "b", [3, 4, 5])]
    target = mix_folders(sources, tmp_path / "mix")
    assert values_in(target) == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in target.iterdir()) == [
        "0.npz",
        "1.npz",
        "2.hdf5",
        "3.hdf5",
        "4.hdf5",
        "mix.json",
    ]


def test_a_mix_may_take_some_of_each_source(tmp_path):
    sources = [make_folder(tmp_path / "a", [1, 2]), make_folder(tmp_path / "b", [3, 4, 5])]
    assert values_in(mix_folders(sources, tmp_path / "mix", limit=1, mode="backward")) == [2, 5]


def test_an_interrupted_mix_is_not_there_and_continues(tmp_path, monkeypatch):
    source, target = make_folder(tmp_path / "a", [1, 2, 3]), tmp_path / "mix"
    copied, write = [], episode_folders.write_atomically

    def copy(path, content):
        if len(copied) == 3:  # the manifest and two episodes
            raise KeyboardInterrupt
        copied.append(path)
        return write(path, content)

    monkeypatch.setattr(episode_folders, "write_atomically", copy)
    with pytest.raises(KeyboardInterrupt):
        mix_folders([source], target)
    assert not target.exists()
    copied[:] = copied[:1]  # room for one more copy only
    assert values_in(mix_folders([source], target)) == [1, 2, 3]
    assert not (tmp_path / ".mix.partial").exists()


def test_the_same_mix_again_does_nothing_and_another_is_refused(tmp_path):
    a, b = make_folder(tmp_path / "a", [1]), make_folder(tmp_path / "b", [2])
    target = mix_folders([a, b], tmp_path / "mix")
    before = (target / "0.hdf5").stat().st_mtime_ns
    assert mix_folders([a, b], target) == target
    assert (target / "0.hdf5").stat().st_mtime_ns == before
    with pytest.raises(EpisodeError, match="exists and is not the mix"):
        mix_folders([a], target)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"sensor": "depth"}, "sensors"),
        ({"action_size": 3}, "action size 2"),
        ({"action_repeat": 4}, "the action repeat 2"),
        ({"environment": "cheetah-run"}, "the body walker"),
        ({"rendering": {"quality": "fast", "camera": None}}, "the quality of images published"),
        ({"rendering": {"quality": "published", "camera": 1}}, "the camera published"),
    ],
)
def test_different_robots_do_not_mix(tmp_path, other, what):
    setup = dict(
        action_repeat=2, environment="walker-run", rendering={"quality": "published", "camera": None}
    )
    a = make_folder(tmp_path / "a", [1], **setup)
    b = make_folder(tmp_path / "b", [2], **{**setup, **other})
    with pytest.raises(EpisodeError, match=f"0.hdf5 has {what}.*(mix only one robot|must agree)"):
        mix_folders([a, b], tmp_path / "mix")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_tasks_of_one_robot_mix_also_with_files_that_do_not_tell_their_origin(tmp_path):
    a = make_folder(tmp_path / "a", [1], environment="walker-stand", action_repeat=2)
    b = make_folder(tmp_path / "b", [2], environment="walker-run", rendering={"quality": "fast"})
    c = make_folder(tmp_path / "c", [3])
    assert values_in(mix_folders([a, b, c], tmp_path / "mix")) == [1, 2, 3]


@pytest.mark.parametrize("place", [".", "a", "a/mix", "link/mix"])
def test_a_mix_among_its_sources_is_refused(tmp_path, place):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    source = make_folder(tmp_path / "a", [1])
    with pytest.raises(EpisodeError, match="overlaps with .* choose another --workdir"):
        mix_folders([source], tmp_path / place)


def test_a_mix_of_nothing_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match="no sources"):
        mix_folders([], tmp_path / "mix")
