import numpy as np
import pytest

from worldmodels.data.arrays import from_arrays, from_transitions


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


@pytest.mark.parametrize(
    "name",
    ["reward", "pre_action", "is_first", "is_last", "is_terminal", "success", "task_id", "physics_state"],
)
def test_a_sensor_named_like_a_part_of_the_records_is_refused_and_not_lost(name):
    seen = {"position": np.zeros((1, 3, 1)), name: np.ones((1, 3, 1))}
    with pytest.raises(ValueError, match=f"a part called '{name}'; give the sensor another name"):
        from_arrays(seen)
    with pytest.raises(ValueError, match=f"a part called '{name}'; give the sensor another name"):
        from_transitions({sensor: arrays[0] for sensor, arrays in seen.items()}, np.zeros((3, 1)))


def test_a_single_action_needs_no_axis_of_its_own():
    seen, done = np.zeros((4, 2)), np.array([0.1, 0.2, 0.3])
    (episode,) = from_arrays({"position": [seen]}, [done])
    np.testing.assert_allclose(episode.records["pre_action"], [[0], [0.1], [0.2], [0.3]])
    (episode,) = from_transitions({"position": seen[:3]}, done)
    np.testing.assert_allclose(episode.records["pre_action"], [[0], [0.1], [0.2]])
    with pytest.raises(ValueError, match=r"\[T, A\]; there are some of shape \[3, 1, 2\]"):
        from_arrays({"position": [seen]}, [np.zeros((3, 1, 2))])


def test_a_sensor_may_be_named_like_an_argument():
    seen = {"actions": np.array([[5.0], [6.0], [7.0]]), "next actions": np.array([[8.0], [9.0], [10.0]])}
    following = {name: values + 1 for name, values in seen.items()}
    (episode,) = from_transitions(seen, np.array([[0.1], [0.2], [0.3]]), next_observations=following)
    np.testing.assert_allclose(episode.records["actions"][:, 0], [5, 6, 7, 8])
    np.testing.assert_allclose(episode.records["next actions"][:, 0], [8, 9, 10, 11])
    np.testing.assert_allclose(episode.records["pre_action"][:, 0], [0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("seen", [{}, np.zeros((1, 3, 2))])
def test_observations_without_names_are_refused(seen):
    for make in (from_arrays, from_transitions):
        with pytest.raises(ValueError, match=r"have names; pass them as \{sensor: arrays\}"):
            make(seen, np.zeros((1, 2, 1)))


def test_actions_may_leave_their_bounds_by_a_rounding():
    scaled = np.float32([[1.0000001], [-1.0000001]])
    (episode,) = from_arrays({"position": [np.zeros((3, 1))]}, [scaled])
    np.testing.assert_array_equal(episode.records["pre_action"][1:], scaled)
    with pytest.raises(ValueError, match="one of 1.00001"):
        from_arrays({"position": [np.zeros((3, 1))]}, [np.float32([[1.00001], [0]])])


STEPS = dict(
    observations={"position": np.arange(6.0)[:, None]},
    actions=np.arange(1, 7)[:, None] / 10,
    rewards=np.arange(1.0, 7.0),
    timeouts=np.array([0, 0, 1, 0, 0, 0]),
    successes=np.array([0, 0, 1, 0, 0, 0]),
)


def test_steps_whose_next_observations_are_known_become_episodes_that_lack_nothing():
    first, second = from_transitions(
        **STEPS, next_observations={"position": np.arange(6.0)[:, None] + 0.5}, terminals=[0, 0, 0, 0, 0, 1]
    )
    assert [episode.length for episode in (first, second)] == [3, 3]
    np.testing.assert_allclose(first.records["position"][:, 0], [0, 1, 2, 2.5])
    np.testing.assert_allclose(first.records["pre_action"][:, 0], [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(second.records["reward"], [0, 4, 5, 6])
    assert first.records["success"].tolist() == [False, False, False, True]
    assert not first.records["is_terminal"].any() and second.records["is_terminal"].tolist() == [0, 0, 0, 1]


def test_without_next_observations_the_last_action_is_dropped_and_the_return_kept():
    first, second = from_transitions(**STEPS)
    np.testing.assert_allclose(first.records["position"][:, 0], [0, 1, 2])
    np.testing.assert_allclose(first.records["pre_action"][:, 0], [0, 0.1, 0.2])
    np.testing.assert_allclose(first.records["reward"], [0, 1, 2 + 3])
    assert (first.return_, second.return_) == (6.0, 15.0)
    assert first.success and not second.success and not second.records["is_terminal"].any()


def test_steps_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="there are 5 of actions, .* 6 of sensor position"):
        from_transitions(**STEPS | {"actions": np.zeros((5, 1))})
    with pytest.raises(ValueError, match="one step shows nothing"):
        from_transitions(**STEPS | {"timeouts": [1, 0, 0, 0, 0, 0]})
