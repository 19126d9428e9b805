"""What data and models that are used together must have in common."""

import numpy as np
import pytest

from worldmodels.data.episodes import Episode, EpisodeError, append_episode, load_episodes
from worldmodels.data.setups import check_together, setup_of

WALKER = {
    "environment": "walker-walk",
    "action_repeat": 2,
    "control_seconds": 0.05,
    "rendering": {"quality": "published", "camera": None},
    "action_bounds": {"low": [0.0], "high": [50.0]},
}


def write(folder, **changes):
    steps = np.arange(3)
    records = {
        "image": np.full((3, 2, 2, 3), 9, np.uint8),
        "height": np.zeros((3, 1)),
        "pre_action": np.zeros((3, 1)),
        "reward": np.zeros(3),
        "is_first": steps == 0,
        "is_last": steps == 2,
        "is_terminal": np.zeros(3, bool),
    }
    append_episode(folder, Episode(records, {**WALKER, **changes}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"action_repeat": 4}, "the action repeat 2 and .* has 4"),
        ({"environment": "cheetah-run"}, "the body walker and .* has cheetah"),
        ({"control_seconds": 0.025}, "the seconds per step 0.05 and .* has 0.025"),
        ({"action_bounds": {"low": [0.0], "high": [40.0]}}, r"the action bounds .* has \[0.0\] to \[40.0\]"),
        ({"rendering": {"quality": "fast"}}, "the quality of images published and .* has fast"),
        ({"rendering": {"quality": "published", "camera": 1}}, "the camera published and .* has 1"),
    ],
)
@pytest.mark.parametrize("num_folders", [1, 2])
def test_episodes_of_different_set_ups_are_not_opened_together(tmp_path, change, sentence, num_folders):
    folders = [tmp_path / "a", tmp_path / "b"][:num_folders]
    write(folders[0])
    write(folders[-1], **change)
    with pytest.raises(
        EpisodeError, match=f"a/0.hdf5 has {sentence}; what is learnt from together must agree"
    ):
        load_episodes(folders)
    if "rendering" in change:  # where nobody looks at images it does not matter how they were drawn
        assert len(load_episodes(folders, keys=["height"])) == 2


def test_tasks_of_one_body_and_data_that_record_nothing_go_together(tmp_path):
    write(tmp_path)
    write(tmp_path, environment="walker-run")
    write(tmp_path, environment=None, action_repeat=None, control_seconds=None, rendering=None)
    assert len(load_episodes(tmp_path)) == 3


def test_the_body_is_read_off_the_name():
    names = ["walker-walk", "gymnasium:HalfCheetah-v5", "my.module:make_walk", "", None]
    assert [setup_of({"environment": name}).get("body") for name in names] == [
        "walker",
        "HalfCheetah",
        None,
        None,
        None,
    ]
    check_together({"environment": "my.module:make_walk"}, {"environment": "my.module:make_run"}, ("a", "b"))
