"""Tells what rewards of whole episodes say of episodes that do better and worse, and of a robot that stands still.

python results/surrogate_ranking.py DEMONSTRATIONS EPISODES [EPISODES ...]

Ten demonstrations; of each folder eight episodes, with their returns in brackets. It stands still in the first pose
that is shown, and in the mean of all.
"""

import functools

import numpy as np

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
                pairs = ", ".join(f"{r:.3g} ({g:.0f})" for g, r in sorted(zip(returns, rewards, strict=True)))
                print(f"{name}, {cost}, {folder}: {pairs}", flush=True)


if __name__ == "__main__":
    run_script(main, __doc__)
