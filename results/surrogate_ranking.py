"""Tells what rewards of whole episodes say of episodes that do better and worse, and of a robot that stands still.

python results/surrogate_ranking.py DEMONSTRATIONS EPISODES [EPISODES ...]

Ten demonstrations; of each folder eight episodes, with their returns in brackets. It stands still in the first pose
that is shown, and in the mean of all. Then how many of the first steps of a demonstration are passed in order, as the
schedule of discounts (ADS) counts them, and how many it asks for.
"""

import functools
from collections.abc import Sequence

import numpy as np

from agents.discount_schedule import DiscountSchedule, ScheduleSettings, pairs, progress_score
from agents.optimal_transport import cost_matrix
from agents.ot import OTSettings
from agents.progress import ORCA, Matching, TemporalOT, Transport, best_rewards
from experiments.configs import surrogate as config_file
from experiments.methods.surrogate import Data, load_data
from experiments.runs.scripts import run_script
from worldmodels.data.episodes import load_episodes

MATCHINGS: dict[str, Matching] = {
    "ot": Transport(),
    "temporal_ot": TemporalOT(),
    "orca": ORCA(temperature=100.0),
}
COSTS = (OTSettings.cost, "euclidean")


def total_reward(data: Data, matching: Matching, cost: str, observations: np.ndarray) -> float:
    """[] the sum of the rewards of an episode, observations [T, O], matched with the best demonstration."""
    length = min(len(observations), *map(len, data.demonstrations))
    own, *shown = (data.features(each)[:length] for each in (observations, *data.demonstrations))
    return float(best_rewards(own, np.stack(shown), matching, cost=cost)[0].sum())


def costs(data: Data, own: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """[N, M] costs between the steps of two episodes, observations [N, O] and [M, O]."""
    return np.asarray(cost_matrix(data.features(own), data.features(shown), OTSettings.cost))


def print_progress(data: Data, folders: Sequence[str]) -> None:
    """Prints what the schedule asks for with its first k, and what the episodes of folders come to, in steps."""
    shown, settings = data.demonstrations, ScheduleSettings()
    between = {(i, j): costs(data, shown[i], shown[j]) for i, j in pairs(len(shown))}
    schedule = DiscountSchedule(settings, [len(each) for each in shown], between)
    bar = int(settings.threshold * schedule.reference(schedule.start))
    print(f"ADS asks for {bar} of the first {schedule.start} steps")
    for folder in folders:
        episodes = load_episodes(folder, limit=8, mode="uniform")
        own = [data.observer().of_episode(episode.records) for episode in episodes]
        scores = [progress_score(costs(data, x, y), schedule.start) for x in own for y in shown]
        print(f"ADS, {folder}: {np.percentile(scores, settings.agent_percentile):.0f}", flush=True)


def main(demonstrations: str, first: str, *others: str) -> None:
    """Prints a line for each reward, cost and folder."""
    config = config_file.get_config("ot-small").to_dict()
    data = load_data(config | {"demonstrations": demonstrations, "num_demonstrations": 10})
    shown = np.concatenate(data.demonstrations)
    still = {
        "still, first pose": data.demonstrations[0][:1],
        "still, mean pose": shown.mean(axis=0, keepdims=True),
    }
    for name, matching in MATCHINGS.items():
        for cost in COSTS:
            total = functools.partial(total_reward, data, matching, cost)
            for where, pose in still.items():
                print(
                    f"{name}, {cost}, {where}: {total(np.repeat(pose, len(data.demonstrations[0]), axis=0)):.3g}"
                )
            for folder in (first, *others):
                episodes = load_episodes(folder, limit=8, mode="uniform")
                rewards = [total(data.observer().of_episode(episode.records)) for episode in episodes]
                returns = [float(episode.records["reward"].sum()) for episode in episodes]
                ranked = sorted(zip(returns, rewards, strict=True))
                text = ", ".join(f"{reward:.3g} ({gained:.0f})" for gained, reward in ranked)
                print(f"{name}, {cost}, {folder}: {text}", flush=True)
    print_progress(data, (first, *others))


if __name__ == "__main__":
    run_script(main, __doc__)
