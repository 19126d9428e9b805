import time

import numpy as np
import pytest

from experiments.analysis import intervals
from experiments.data.evaluation import by_expert, by_random_and_expert


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert intervals.interquartile_mean(np.array([100.0, 1.0, 2.0, -50.0])) == 1.5


def test_interquartile_mean_of_five_values_leaves_out_one_at_each_end():
    assert intervals.interquartile_mean(np.array([9.0, 1.0, 2.0, 3.0, -7.0])) == 2.0


def test_seed_scores_are_means_over_episodes_of_any_number():
    np.testing.assert_allclose(intervals.seed_scores([[1.0, 3.0], [5.0]]), [2.0, 5.0])


def test_student_interval_of_two_values_matches_the_cauchy_quantile():
    interval = intervals.student_t_interval([0.0, 2.0])
    half_width = np.tan(np.pi * 0.475)  # t with one degree of freedom is Cauchy; s / sqrt(2) = 1.
    np.testing.assert_allclose([interval.low, interval.high], [1 - half_width, 1 + half_width], rtol=1e-9)


def test_student_interval_of_four_values_uses_the_tabulated_quantile():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    interval = intervals.student_t_interval(values)
    np.testing.assert_allclose(interval.high - 2.5, 3.182446 * values.std(ddof=1) / 2, rtol=1e-6)


def test_student_interval_of_one_value_is_unknown():
    interval = intervals.student_t_interval([3.0])
    assert np.isnan(interval.low) and np.isnan(interval.high)


def test_bootstrap_of_equal_scores_has_no_width():
    interval = intervals.stratified_bootstrap_interval([np.full((3, 5), 7.0)])
    assert (interval.low, interval.high) == (7.0, 7.0)


def test_bootstrap_of_many_seeds_approaches_the_normal_interval():
    scores = np.random.default_rng(0).normal(size=(400, 1))
    interval = intervals.stratified_bootstrap_interval([scores])
    half_width = 1.96 * scores.std() / np.sqrt(400)
    np.testing.assert_allclose(
        [interval.low, interval.high], [scores.mean() - half_width, scores.mean() + half_width], atol=0.01
    )


def test_bootstrap_draws_seeds_within_their_own_stratum():
    interval = intervals.stratified_bootstrap_interval([np.zeros((3, 2)), np.full((3, 4), 8.0)])
    assert (interval.low, interval.high) == (4.0, 4.0)


def test_statistics_over_tasks_are_those_of_their_means_but_for_the_interquartile_mean():
    tasks = [np.array([1.0, 3.0]), np.array([10.0]), np.array([4.0, 4.0, 4.0, 100.0])]
    found = {name: float(intervals.over_tasks(tasks, name)) for name in intervals.STATISTICS}
    # Means of tasks: 2, 10, 28. All seeds: 1 3 4 4 4 10 100, one left out at each end.
    assert found == {"mean": 40 / 3, "median": 10.0, "iqm": 5.0}


def test_bootstrap_of_a_median_over_tasks_has_its_closed_form():
    """Only the middle task varies: its mean is 1, 2 or 1.5, and so is the median."""
    tasks = [[[0.0]], [[1.0], [2.0]], [[3.0]]]
    wide = intervals.stratified_bootstrap_interval(tasks, "median")
    narrow = intervals.stratified_bootstrap_interval(tasks, "median", confidence=0.4)
    assert (wide.low, wide.high, narrow.low, narrow.high) == (1.0, 2.0, 1.5, 1.5)


def test_bootstrap_never_reads_the_padding_of_a_short_seed():
    interval = intervals.stratified_bootstrap_interval([[[5.0], [5.0, 5.0, 5.0]]])
    assert (interval.low, interval.high) == (5.0, 5.0)


def test_bootstrap_is_reproducible_and_depends_on_its_seed():
    scores = np.random.default_rng(1).normal(size=(5, 20))
    first, again, other = (
        intervals.stratified_bootstrap_interval([scores], "iqm", seed=seed) for seed in (3, 3, 4)
    )
    assert first == again and first != other


def test_bootstrap_of_ten_seeds_and_a_hundred_episodes_is_fast():
    scores = np.random.default_rng(1).normal(size=(10, 100))
    start = time.process_time()
    intervals.stratified_bootstrap_interval([scores])
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize(
    "shape, kind",
    [
        ((1, 20), "Student t over 20 episodes"),
        ((4, 5), "Student t over 4 seeds"),
        ((12, 5), "bootstrap over 12"),
    ],
)
def test_confidence_interval_suits_the_number_of_seeds(shape, kind):
    scores = np.random.default_rng(0).normal(size=shape)
    assert intervals.confidence_interval(scores).kind.startswith(kind)


def test_summary_counts_seeds_and_episodes():
    summary = intervals.summarise([[1.0, 3.0], [5.0, 7.0], [2.0, 2.0, 2.0]])
    assert (summary.mean, summary.median, summary.num_seeds, summary.num_episodes) == (10 / 3, 2.0, 3, 2)


def test_normalised_scores_match_their_formulas():
    assert by_expert(50.0, 200.0) == 25.0
    np.testing.assert_allclose(
        by_random_and_expert(np.array([20.0, 120.0, 220.0]), 20.0, 220.0), [0.0, 50.0, 100.0]
    )


def test_an_expert_no_better_than_random_is_refused():
    with pytest.raises(ValueError, match="above the random one"):
        by_random_and_expert(1.0, random=5.0, expert=5.0)


def test_an_expert_without_return_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        by_expert(1.0, 0.0)


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], [np.nan]], [1.0, 2.0]])
def test_unusable_scores_are_refused_in_one_sentence(scores):
    with pytest.raises(ValueError, match="Scores"):
        intervals.seed_scores(scores)


def test_an_unknown_statistic_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="Known: iqm, mean, median"):
        intervals.stratified_bootstrap_interval([[[1.0]]], "mode")


def test_bootstrap_of_two_seeds_with_one_episode_has_its_closed_form():
    """Resamples are 1, 2 or their mean, with probabilities 1/4, 1/4 and 1/2."""
    wide = intervals.stratified_bootstrap_interval([[[1.0], [2.0]]], "iqm")
    assert (wide.low, wide.high) == (1.0, 2.0)
    narrow = intervals.stratified_bootstrap_interval([[[1.0], [2.0]]], "iqm", confidence=0.4)
    assert (narrow.low, narrow.high) == (1.5, 1.5)  # the 30% and 70% quantiles


def test_probability_of_improvement_counts_pairs_of_seeds_and_half_of_ties():
    ours, theirs = [[1.0], [3.0]], [[0.0], [1.0], [2.0]]
    # 1 beats 0 and ties 1; 3 beats all: (1 + 0.5 + 3) / 6.
    assert intervals.probability_of_improvement([ours], [theirs]).probability == pytest.approx(0.75)
    assert intervals.probability_of_improvement([theirs], [ours]).probability == pytest.approx(0.25)


def test_probability_of_improvement_of_separate_methods_is_certain():
    better = intervals.probability_of_improvement([[[5.0], [6.0]]], [[[1.0], [2.0]]])
    assert (better.probability, better.interval.low, better.interval.high) == (1.0, 1.0, 1.0)


def test_probability_of_improvement_averages_over_tasks():
    ours, theirs = [[[5.0]], [[0.0]]], [[[1.0]], [[1.0]]]
    assert intervals.probability_of_improvement(ours, theirs).probability == 0.5


def test_probability_of_improvement_of_normal_scores_is_that_of_the_normal_distribution():
    """X ~ N(1, 1), Y ~ N(0, 1): Phi(1 / sqrt 2) = 0.7602."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, (400, 1)), rng.normal(0, 1, (400, 1))
    better = intervals.probability_of_improvement([x], [y], resamples=50)
    assert better.probability == pytest.approx(0.7602, abs=0.03)
    assert better.interval.low < 0.7602 < better.interval.high


def test_probability_of_improvement_needs_the_same_tasks():
    with pytest.raises(ValueError, match="scores of the same tasks, at least one; got 1 and 2"):
        intervals.probability_of_improvement([[[1.0]]], [[[1.0]], [[2.0]]])
