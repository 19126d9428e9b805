"""ADS: discounts, subsequences and steps of the schedule in hand numbers."""

import numpy as np
import pytest

from agents.discount_schedule import (
    DiscountSchedule,
    ScheduleSettings,
    discount,
    longest_increasing_subsequence,
    pairs,
    progress_score,
)

TIME = np.arange(20.0)


def cost_between(x, y):
    return np.abs(np.subtract.outer(x, y))


def schedule(*demonstrations, **settings):
    costs = {
        (i, j): cost_between(demonstrations[i], demonstrations[j]) for i, j in pairs(len(demonstrations))
    }
    return DiscountSchedule(ScheduleSettings(**settings), [len(d) for d in demonstrations], costs)


def test_the_discount_gives_step_k_the_weight_alpha():
    assert discount(10, 0.2) == pytest.approx(0.851340, abs=1e-6)
    assert discount(100, 0.2) ** 100 == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([], 0),
        ([3], 1),
        ([1, 2, 3], 3),
        ([3, 2, 1], 1),
        ([2, 2, 2], 1),
        ([0, 4, 1, 5, 2, 3], 4),
        ([5, 1, 2, 9, 3], 3),
    ],
)
def test_the_longest_increasing_subsequence(values, length):
    assert longest_increasing_subsequence(values) == length


def test_a_copy_passes_every_step_and_a_standing_agent_one():
    assert progress_score(cost_between(TIME, TIME), 7) == 7
    assert progress_score(cost_between(np.zeros(20), TIME), 7) == 1
    assert progress_score(cost_between(TIME[::-1], TIME), 20) == 1


def test_only_the_first_steps_of_both_count():
    late = np.concatenate([np.full(10, 15.0), TIME[:10]])
    assert progress_score(cost_between(late, TIME), 10) == 1


def test_it_starts_with_a_fifth_of_the_shortest_demonstration():
    assert schedule(TIME, TIME[:15]).start == 3
    assert schedule(TIME, TIME[:15]).horizon == 15


def test_an_agent_that_keeps_up_moves_on_by_at_most_five_steps():
    assert schedule(TIME, TIME).advance(4, [cost_between(TIME, TIME)]) == 9


def test_it_stops_where_the_agent_falls_behind():
    """The agent is at the demonstration's first 6 steps and stands still; the bar at k is int(0.9 k)."""
    agent = np.minimum(TIME, 5.0)
    ads = schedule(TIME, TIME)
    # score(k) = min(k, 6): k = 7 has the bar 6 and is passed, k = 8 has the bar 7 and is not.
    assert ads.advance(4, [cost_between(agent, TIME)]) == 8
    assert ads.advance(8, [cost_between(agent, TIME)]) == 8


def test_it_never_passes_the_end():
    assert schedule(TIME, TIME).advance(18, [cost_between(TIME, TIME)]) == 20


def test_the_reference_is_the_median_over_pairs_in_both_directions():
    ads = schedule(TIME, TIME, TIME[::-1])
    # Scores of the six ordered pairs at k = 20: 20, 20, 1, 1, 1, 1.
    assert ads.reference(20) == 1.0
    assert schedule(TIME, TIME).reference(13) == 13.0


def test_a_single_demonstration_is_its_own_reference():
    assert schedule(TIME).reference(9) == 9.0


def test_the_agents_score_is_the_ninetieth_percentile():
    costs = [cost_between(TIME, TIME)] + [cost_between(np.zeros(20), TIME)] * 9
    # Scores 1 (nine times) and 4 at k = 4: numpy's 90th percentile is 1 + 0.1 * 3, below int(0.9 * 4) = 3.
    assert schedule(TIME, TIME).advance(4, costs) == 4
    assert schedule(TIME, TIME, agent_percentile=100.0).advance(4, costs) == 9


def test_the_published_settings_are_the_default():
    assert ScheduleSettings() == ScheduleSettings(0.2, 0.2, 0.9, 5, 50.0, 90.0)
