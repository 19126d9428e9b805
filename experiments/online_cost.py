"""What online imitation costs: collection, model, policy, value and reward apart, on the data of a run.

    python -m experiments.online_cost --config.run=runs/demo-online/ail-0 --workdir=runs/online-cost

An update is one compiled program, so that its parts are differences of programs: the model alone, the policy's AIME
loss alone, both (reward `none`), with imagination and critic (the environment's reward, which costs nothing), and with
each surrogate reward. Writes `online-cost.{md,csv}`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax

from agents.actors import FilterActor
from agents.loop import collect_episodes
from aime.rewards import reward_class
from experiments.benchmark import Row, as_csv, markdown, surroundings, timed
from experiments.collection import make_envs
from experiments.files import write_atomically
from experiments.main import launch
from experiments.online import environment_from
from experiments.online_checks import read_settings
from experiments.online_learner import OnlineLearner
from experiments.run_directory import plain_config
from experiments.timing import machine, measure
from worldmodels.episodes import load_episodes


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Measures everything, prints and writes the table; an earlier one is replaced.

    Returns:
      {"rows": [Row]}.
    """
    config, before = plain_config(config), machine()
    if not config["run"]:
        raise ValueError("Which run's cost? Pass --config.run=DIR, a --workdir of experiments.online.")
    rows = []
    for row in measurements(config):
        rows.append(row)
        print(" | ".join(cell for cell in row.cells if cell), flush=True)
    workdir = Path(workdir)
    heading = dict(title="What online imitation costs", module="experiments.online_cost")
    write_atomically(workdir / "online-cost.md", markdown(rows, surroundings(before), **heading))
    write_atomically(workdir / "online-cost.csv", as_csv(rows))
    return {"rows": rows}


def measurements(config: Mapping) -> Iterator[Row]:
    """Yields the rows one by one."""
    path = Path(config["run"]).expanduser()
    settings = read_settings(path)
    for name in config["rewards"]:  # before any of them is measured
        if name != "none":
            reward_class(name)
    if config["reward_model"]:
        settings["reward"]["model"] = config["reward_model"]
    episodes = load_episodes(path / "episodes")
    for name in config["rewards"]:
        learner = learner_with(settings, name, episodes)
        yield from update_rows(config, learner, name)
    yield from collection_rows(config, settings, learner)
    yield from memory_rows(learner, len(episodes))


def learner_with(settings: Mapping, reward: str, episodes: list) -> OnlineLearner:
    """A learner at the start of a run with this reward, its online buffer filled with the episodes of the run."""
    demonstrations = load_episodes(settings["demonstrations"], limit=settings["num_demonstrations"])
    learner = OnlineLearner({**settings, "reward": {**settings["reward"], "name": reward}}, demonstrations)
    for episode in episodes:
        learner.remember(learner.score(episode))
    return learner


def update_rows(config: Mapping, learner: OnlineLearner, reward: str) -> Iterator[Row]:
    """Updates of this reward; of the parts that no reward changes, at the reward `none`; and scoring an episode."""
    stages = {"online": f"update, reward {reward}"}
    if reward == "none":
        body = {"model": "model alone"} if learner.data.body is not None else {}
        stages = {**body, "policy": "policy's AIME loss alone", **stages}
    for stage, title in stages.items():
        loop = learner.make_loop(stage, config["updates"])

        def call(loop=loop):
            learner.state, metrics = loop(learner.state, learner.data)
            return metrics

        yield timed(title, measure(call, config["repetitions"], count=config["updates"]))
    if learner.stored_head is not None:
        episode = load_episodes(Path(config["run"]).expanduser() / "episodes", limit=1)[0]
        timing = measure(lambda: learner.score(episode), config["repetitions"])
        yield timed(f"reward {reward} of an episode", timing)


def collection_rows(config: Mapping, settings: Mapping, learner: OnlineLearner) -> Iterator[Row]:
    """An episode, played by the policy in several environments that step together."""
    shown = load_episodes(settings["demonstrations"], limit=1)
    environment = environment_from(settings, shown)
    for num_envs in config["num_envs"]:
        with make_envs(environment, num_envs, seed=0, workers=settings["workers"]) as envs:
            actor = FilterActor(
                learner.model, learner.policy, num_envs, jax.random.key(0), sample_action=True
            )
            play = functools.partial(collect_episodes, envs, actor, num_envs)
            timing = measure(play, config["rounds"], count=num_envs)
        steps, plural = round(shown[0].length / timing.wall), "s"[: num_envs > 1]
        yield timed(f"episode, {num_envs} environment{plural} at once", timing, note=f"{steps} agent steps/s")


def memory_rows(learner: OnlineLearner, num_episodes: int) -> Iterator[Row]:
    """What a batch is mixed from."""
    online = learner.data.online
    note = f"room for {online.capacity} records, {num_episodes} episodes in it"
    yield Row("online buffer", memory=online.num_bytes, note=note)
    for name, data in (
        ("pretraining data", learner.data.body),
        ("demonstrations", learner.data.demonstrations),
    ):
        if data is not None:
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(data))
            yield Row(name, memory=size)


def main() -> None:
    """Command line."""
    launch(run, default_config="online_cost", default_workdir="runs/online-cost")


if __name__ == "__main__":
    main()
