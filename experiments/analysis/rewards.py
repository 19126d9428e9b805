"""Plots true returns against surrogate returns over folders of episodes.

    python -m experiments rewards --config=rewards --config.run=DIR --config.episodes=DIR,DIR
    python -m experiments rewards --config=rewards:small --config.reward.name=viper \
        --config.reward.model=DIR --config.model=DIR --config.demonstrations=DIR --config.episodes=DIR --workdir=DIR

With `run`, a run of `online`, the reward is as that run has learnt it; without, as at the start, and what
it learns from the first episode (the scale of `ot`) applies to all others too. Writes
`rewards.json` (returns and their rank correlation) and `figures/rewards.{png,pdf}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aime.surrogate_reward import SurrogateReward
from experiments.methods.online_checks import read_settings
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import whole_episode
from experiments.models import architectures
from experiments.runs import inputs
from experiments.runs.directory import RunDirectory
from experiments.runs.paths import folders_of
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, load_episodes


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Scores every episode of the folders `config.episodes`.

    Returns:
      {"rank_correlation": over all, "returns": {folder: {"true": [N], "surrogate": [N]}}}.
    """
    with RunDirectory(workdir, config, fresh=fresh) as directory:
        return directory.result or compare(directory)


def compare(directory: RunDirectory) -> dict:
    """Runs the comparison in an opened directory."""
    from experiments.analysis import figures  # matplotlib is slow to import
    from experiments.drawing import style

    config = directory.config
    folders = folders_of(config["episodes"])
    if not folders:
        raise ValueError("Which episodes? Pass folders separated by commas: --config.episodes=DIR,DIR.")
    inputs.check_setups(inputs.describe({"model": config["run"], "episodes": config["episodes"]}))
    learner = learner_of(config)
    reward = learner.reward
    if reward is None:
        raise ValueError("There is no surrogate reward to plot; choose one with --config.reward.name.")
    returns: dict[str, tuple[list[float], list[float]]] = {}
    state = learner.reward_state
    for name, folder in zip(labels(folders), folders, strict=True):
        episodes = load_episodes(folder, limit=config["limit"])
        check_episodes(learner, reward, episodes, f"episodes of {folder}")
        scored, state = surrogate_returns(learner, reward, state, episodes)
        returns[name] = ([episode.return_ for episode in episodes], scored)
    of_all = [np.concatenate([pair[i] for pair in returns.values()]) for i in (0, 1)]
    figure = figures.true_against_surrogate(returns, surrogate=reward.head, title="Surrogate reward")
    style.save_figure(figure, directory / "figures" / "rewards")
    result = {
        "rank_correlation": figures.rank_correlation(of_all[0], of_all[1]),
        "returns": {name: {"true": a, "surrogate": b} for name, (a, b) in returns.items()},
    }
    print(f"Rank correlation of true and surrogate return: {result['rank_correlation']:.3f}", flush=True)
    return directory.mark_done(result)


def learner_of(config: Mapping) -> OnlineLearner:
    """Loads the learner of the run that the config names, from its newest checkpoint; or creates one."""
    settings = dict(config)
    if config["run"]:
        path = Path(config["run"]).expanduser()
        settings = read_settings(path)
    if not settings["demonstrations"]:
        raise ValueError("A surrogate reward comes from demonstrations; pass --config.demonstrations=DIR.")
    if settings.get("num_seeds", 1) > 1:
        raise ValueError(
            "The reward of one seed is scored; leave out --config.num_seeds, and of a run with several name one, "
            "--config.run=DIR/seeds/0."
        )
    settings["embodiment"] = ""  # not needed to score
    settings["regularizer"] = dict(settings["regularizer"], label=False)
    shown = load_episodes(folders_of(settings["demonstrations"]), limit=settings["num_demonstrations"])
    learner = OnlineLearner(settings, shown)
    if config["run"]:
        restored = Checkpoints(path / "checkpoints").restore(learner.state)
        if restored is None:
            raise ValueError(f"{path} has no checkpoint yet; run its command first.")
        learner.state = restored[1]
    return learner


def check_episodes(
    learner: OnlineLearner, reward: SurrogateReward, episodes: Sequence[Episode], what: str
) -> None:
    """Raises a ValueError if episodes are of another body, or lack what the reward may score."""
    architectures.check_body(learner.architecture, episodes, what)
    missing = sorted({name for name in reward.sensors for e in episodes if name not in e.records})
    if missing:
        raise ValueError(
            f"The {what} lack {', '.join(missing)}, which the reward scores; choose episodes with the sensors of the "
            "demonstrations."
        )


def surrogate_returns(
    learner: OnlineLearner, reward: SurrogateReward, state, episodes: Sequence[Episode]
) -> tuple[list[float], object]:
    """Sums the rewards that episodes get one after the other; returns the sums and the reward's state after them."""
    returns = []
    for episode in episodes:
        values, state = reward.score(state, learner.model, whole_episode(episode, learner.sensors))
        returns.append(float(np.sum(values)))
    return returns, state


def labels(folders: list[str]) -> list[str]:
    """Shortens the names of folders: the last part of the path that is not "episodes", numbered where two are alike."""
    names = [next((part for part in reversed(Path(f).parts) if part != "episodes"), f) for f in folders]
    return [f"{name} {i + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
