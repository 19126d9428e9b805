"""Measures how time and memory grow with the data, the windows, the batch, the sensors and the environments.

    python results/growth.py FOLDER

Writes `growth.{md,csv,png,pdf}` into the folder: processor seconds (of all threads, minima of several repetitions) and
bytes, and the power of the size with which each grows between its two largest sizes: 1 is linear.
"""

import functools
import itertools
import math
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from agents.loop import collect_episodes
from agents.noise import UniformActor
from aime.regularizer import draw_model_batch
from experiments.configs import benchmark
from experiments.drawing import style
from experiments.drawing.table import Table
from experiments.envs.sensors import Setup
from experiments.envs.vector import VectorEnvironment
from experiments.runs.scripts import run_script
from experiments.runs.settings import plain_config
from experiments.speed import benchmark_programs as programs
from experiments.speed.timing import forget_peak_memory, machine, peak_memory
from worldmodels.data import dataset, replay
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import load_episodes, write_episode

RECORDS, LENGTH, BATCH = 500, 50, 50
SENSORS = {"position": 8}
EPISODES = (100, 1000, 10_000)
REPETITIONS = 5


def least(call, inner: int = 1, repetitions: int = REPETITIONS) -> float:
    """Processor seconds of a call, the least of several; a call before them does not count."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repetitions):
        began = time.process_time()
        for _ in range(inner):
            jax.block_until_ready(call())
        seconds.append((time.process_time() - began) / inner)
    return min(seconds)


def noise(num_episodes: int, sensors: dict) -> list:
    config = dict(episode_length=RECORDS - 1, num_episodes=num_episodes, sensors=sensors, action_size=6)
    return programs.random_episodes(config)


def data_rows():
    """Reading episodes, moving them to the device, and drawing from them and from a replay."""
    few = noise(10, SENSORS)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(
            EPISODES[-1]
        ):  # ten files under many names: reading takes as long, the disk stays small
            path = Path(folder, f"{number}.hdf5")
            if number < len(few):
                write_episode(path, few[number])
            else:
                os.link(Path(folder, f"{number % len(few)}.hdf5"), path)
        for size in EPISODES:
            forget_peak_memory()
            before, began = peak_memory(), time.process_time()
            episodes = load_episodes(folder, size)
            yield "reading episodes", size, time.process_time() - began, peak_memory() - before
            began = time.process_time()
            data = jax.block_until_ready(SequenceDataset.create(episodes, length=LENGTH))
            yield "putting them on the device", size, time.process_time() - began, bytes_of(data)
            del episodes
            online = replay.Replay.create(
                few[0], capacity=size * RECORDS, length=LENGTH, sensors=list(SENSORS)
            )
            online = replay.append_episode(online, few[0])  # compiles
            began = time.process_time()
            for number in range(EPISODES[0]):
                online = replay.append_episode(online, few[number % len(few)])
            jax.block_until_ready(online)
            seconds = (time.process_time() - began) / EPISODES[0]
            yield "appending an episode to a replay of as many", size, seconds, bytes_of(online)
            draw = jax.jit(lambda data, key: dataset.sample(data, key, BATCH))
            mixed = jax.jit(lambda *args: draw_model_batch(*args, batch_size=BATCH))
            key = jax.random.key(0)
            yield "drawing a batch", size, least(lambda: draw(data, key), 100), None  # noqa: B023
            yield "drawing a mixed batch", size, least(lambda: mixed(data, online, key), 100), None  # noqa: B023


def bytes_of(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def update_rows():
    """An update of the small world model, one size changed at a time from the smallest of each."""
    config = plain_config(benchmark.get_config())
    setup = Setup(inputs=("sensor",), targets=("sensor",))
    config |= dict(env="", setup=setup, num_episodes=10, episode_length=RECORDS - 1, updates_per_dispatch=10)

    @functools.cache
    def measured(length: int, batch_size: int, size: int) -> tuple[float, int]:
        options = config["small"]["pretrain"] | dict(length=length, batch_size=batch_size)
        changes = dict(small=config["small"] | {"pretrain": options}, sensors={"sensor": size})
        program = programs.world_model_program(config | changes, "small", None).compile()
        return least(program, repetitions=3) / program.num_updates, program.memory

    for length in (32, 64, 128):
        yield "update, records of a window", length, *measured(length, 32, 8)
    for batch_size in (32, 128, 512):
        yield "update, windows of a batch", batch_size, *measured(32, batch_size, 8)
    for size in (8, 800, 8000):
        yield "update, numbers of a sensor", size, *measured(32, 32, size)


def collection_rows():
    """Random steps of a walker, and the calls of an actor with a small world model."""
    config = plain_config(benchmark.get_config())
    config["published"] = config["small"]
    for number in (1, 2, 4, 8, 16):
        with VectorEnvironment("walker-walk", number, seed=0, workers=0) as envs:
            actor = UniformActor(number, envs.action_spec.shape[0], seed=0)
            began = time.process_time()
            episodes = collect_episodes(envs, actor, number)
        steps = max(episode.length for episode in episodes)
        yield "collection, a step of all environments", number, (time.process_time() - began) / steps, None
    for number in (1, 10, 100, 1000):
        act = programs.ActingProgram(config, "published", number)
        yield "acting, a call for all environments", number, least(act, 20), None


def main(folder: str) -> None:
    """Measures, and writes table and figure."""
    facts, series = machine(), {}
    for what, *row in itertools.chain(data_rows(), collection_rows(), update_rows()):
        series.setdefault(what, []).append(row)
        print(what, *row, flush=True)
    rows = [row for what, points in series.items() for row in lines(what, points)]
    numbers = [
        dict(what=what, size=size, seconds=seconds, bytes=memory)
        for what, points in series.items()
        for size, seconds, memory in points
    ]
    headings = ("What", "Sizes", "Processor time", "Power", "Memory", "Power")
    caption = (
        f"{facts['processor']}, {facts['cpus']} cores, load {facts['load']} before; jax {jax.__version__}."
    )
    Table(headings, rows, caption, numbers=numbers).write(Path(folder, "growth"))
    style.save_figure(figure(series), Path(folder, "growth"))


def lines(what: str, points: list) -> list[tuple[str, ...]]:
    """Returns the row of a table; the powers are of the growth between the two largest sizes."""
    sizes, seconds, memory = zip(*points, strict=True)
    times = [f"{1e3 * value:.3g}" for value in seconds]
    amounts = [f"{value / 2**20:.3g}" for value in memory if value is not None]
    powers = [f"{power(sizes, seconds):.2f}", f"{power(sizes, memory):.2f}" if amounts else ""]
    return [
        (
            what,
            ", ".join(map(str, sizes)),
            ", ".join(times) + " ms",
            powers[0],
            ", ".join(amounts) + " MiB" * bool(amounts),
            powers[1],
        )
    ]


def power(sizes, values) -> float:
    """Returns p where the values grow as sizes ** p between the two largest sizes."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def kind(what: str) -> str:
    """Returns the panel of a series."""
    if what.startswith("update"):
        return "update"
    return "environments" if what.endswith("environments") else "episodes"


@style.styled
def figure(series: dict) -> Figure:
    """Draws processor time against size, everything relative to the smallest; the dashed line is linear growth."""
    fig = Figure(figsize=(style.WIDTH, 4.0), layout="constrained")
    axes = fig.subplots(1, 3, sharey=True)
    for axis, title in zip(axes, ("episodes", "update", "environments"), strict=True):
        for what, points in series.items():
            if title == kind(what):
                sizes, seconds, _ = np.array(points, float).T
                axis.loglog(
                    sizes / sizes[0], seconds / seconds[0], "o-", label=what.partition(", ")[2] or what
                )
        axis.plot([1, 100], [1, 100], color=style.MUTED, linestyle=style.DASHED, label="linear")
        axis.set(title=title, xlabel="size, times the smallest")
        axis.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0].set_ylabel("processor time, times the smallest")
    return fig


if __name__ == "__main__":
    run_script(main, __doc__)
