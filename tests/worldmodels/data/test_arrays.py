import numpy as np
import pytest

from worldmodels.data.arrays import from_arrays


def test_an_action_is_stored_with_the_record_that_it_led_to():
    seen = {"position": [np.arange(4.0)[:, None]], "image": [np.zeros((4, 2, 2, 3), np.uint8)]}
    (episode,) = from_arrays(
        seen, [np.array([[0.1], [0.2], [0.3]])], [np.array([1.0, 2.0, 3.0])], terminal=True
    )
    records = episode.records
    np.testing.assert_allclose(records["pre_action"], [[0], [0.1], [0.2], [0.3]])
    np.testing.assert_allclose(records["reward"], [0, 1, 2, 3])
    np.testing.assert_array_equal(records["is_first"], [1, 0, 0, 0])
    np.testing.assert_array_equal(records["is_last"], [0, 0, 0, 1])
    np.testing.assert_array_equal(records["is_terminal"], [0, 0, 0, 1])
    assert records["image"].dtype == np.uint8 and records["position"].dtype == np.float32


def test_episodes_may_differ_in_length_and_lack_actions():
    first, second = from_arrays(
        {"position": [np.zeros((3, 2)), np.zeros((5, 2))]}, metadata={"environment": "mine"}
    )
    assert (first.length, second.length) == (2, 4)
    assert first.records["pre_action"].shape == (3, 0) and second.metadata == {"environment": "mine"}


@pytest.mark.parametrize(
    ("seen", "actions", "message"),
    [
        (np.zeros((2, 5, 1)), np.zeros((3, 4, 1)), "there are 2 of position, 3 of actions"),
        (np.zeros((2, 5, 1)), np.zeros((2, 5, 1)), "are 4 of position, 5 of actions, 4 of rewards"),
        (np.zeros((2, 5, 1)), np.full((2, 4, 1), 3.0), r"in \[-1, 1\]; there is one of 3"),
    ],
)
def test_what_does_not_go_together_is_refused(seen, actions, message):
    with pytest.raises(ValueError, match=message):
        from_arrays({"position": seen}, actions)
