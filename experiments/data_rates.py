"""How fast this machine draws, converts and reads episodes: the tables of results/rendering.md and results/data.md.

    python -m experiments.dataset --config=experiments/configs/dataset.py:rates --workdir=DIR

Sources to convert are made up, at the published sizes.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from experiments import convert
from experiments.configs.convert import get_config as convert_config
from experiments.converters import minari, tdmpc2
from experiments.envs import registry, rendering
from experiments.envs.interface import MissingPackageError
from experiments.envs.render_pool import RenderPool
from experiments.files import write_atomically
from experiments.run_directory import describe_session
from experiments.timing import machine
from worldmodels.dataset import sample
from worldmodels.episodes import Episode, load_episodes, write_episode
from worldmodels.streaming import open_dataset

BATCH_SIZE, LENGTH = 50, 50  # published
_STATES = 64


def write(config, folder: Path) -> dict:
    """Measures and writes the two tables into `folder`.

    Returns:
      {"rendering": rows, "conversion": rows, "reading": rows}; a row is a dict.
    """
    drawn = list(rendering_rows(config))
    columns = ("environment", "backend", "quality", "processes", "images/s", "processor time per image")
    page = ["# Drawing", _how(), _table(drawn, columns)]
    write_atomically(folder / "rendering.md", "\n\n".join(page) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        converted = list(conversion_rows(Path(scratch)))
        read = list(reading_rows(Path(scratch), config))
    page = [
        "# Converting and reading data",
        _how(),
        "## Conversion",
        _table(converted, ("source", "episodes", "episodes/s", "processor time per episode")),
    ]
    columns = ("storage", "format", "batch", "windows/s")
    page += [
        f"## Drawing a batch of {BATCH_SIZE} windows of {LENGTH} records with images",
        _table(read, columns),
    ]
    write_atomically(folder / "data.md", "\n\n".join(page) + "\n")
    print(f"{folder / 'rendering.md'} and {folder / 'data.md'} are written.")
    return {"rendering": drawn, "conversion": converted, "reading": read}


def rendering_rows(config) -> Iterator[dict]:
    """Images per second for each environment, quality and number of processes, with the backend chosen here."""
    backend = rendering.require_rendering()
    size = (config.image_size, config.image_size)
    for name in config.env.split(","):
        try:
            states = _states_of(name)
        except MissingPackageError as error:
            yield {"environment": name, "images/s": _not_installed(error)}
            continue
        for quality, workers in itertools.product(rendering.QUALITIES, sorted({1, config.workers})):
            with RenderPool(name, workers, size=size, camera=config.camera, quality=quality) as pool:
                number, seconds, cpu = _draw_for(pool, states, workers, config.seconds)
            yield {
                "environment": name,
                "backend": backend,
                "quality": quality,
                "processes": workers,
                "images/s": f"{number / seconds:.0f}",
                "processor time per image": f"{1000 * cpu / number:.1f} ms",
            }


def _states_of(name: str) -> np.ndarray:
    """Physics states [_STATES, P] of the first steps of an episode."""
    environment = registry.make(name)
    environment.reset(0)
    rng = np.random.default_rng(0)
    states = []
    for _ in range(_STATES):
        environment.step(rng.uniform(-1, 1, environment.action_spec.shape))
        states.append(environment.physics_state())
    environment.close()
    return np.stack(states)


def _not_installed(error: ImportError) -> str:
    """What stands in the place of a rate."""
    name = getattr(error.__cause__ or error, "name", None) or str(error)
    return f"{name.partition('.')[0]} is not installed"


def _draw_for(pool: RenderPool, states: np.ndarray, workers: int, seconds: float) -> tuple[int, float, float]:
    """Lets all processes draw at once; the first images, which start OpenGL, do not count.

    Returns:
      Images, seconds, and processor time of the processes, which depends little on other work on the machine.
    """
    list(pool.render_many([(i, states[:2], None) for i in range(workers)]))
    began, cpu, number = time.perf_counter(), pool.cpu_seconds, 0
    while time.perf_counter() - began < seconds:
        drawn = pool.render_many([(i, states, None) for i in range(workers)])
        number += sum(len(frames) for _, frames in drawn)
    return number, time.perf_counter() - began, pool.cpu_seconds - cpu


def conversion_rows(folder: Path) -> Iterator[dict]:
    """Episodes per second of each conversion that needs no simulator."""
    rng = np.random.default_rng(0)
    for name, preset, num_episodes, make in _SOURCES:
        source = folder / preset
        source.mkdir()
        config = convert_config(preset)
        try:
            with config.unlocked():
                config.source = str(make(source, rng, num_episodes))
        except ImportError as error:
            yield {"source": name, "episodes/s": _not_installed(error)}
            continue
        began, cpu_began = time.perf_counter(), time.process_time()
        convert.run(config, folder / f"{preset}-converted")
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        yield {
            "source": name,
            "episodes": num_episodes,
            "episodes/s": f"{num_episodes / seconds:.3g}",
            "processor time per episode": f"{1000 * cpu / num_episodes:.3g} ms",
        }


def _smooth_images(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Pictures that compress about as drawn ones do: flat areas with a little noise."""
    coarse = rng.integers(0, 256, (shape[0], 4, 4, *shape[3:]), dtype=np.uint8)
    images = coarse.repeat(shape[1] // 4, axis=1).repeat(shape[2] // 4, axis=2)
    noisy = rng.random(images.shape, np.float32) < 0.05
    return np.where(noisy, images ^ 3, images)


def _make_patchail(folder: Path, rng: np.random.Generator, num_episodes: int) -> Path:
    shape = (num_episodes, 500)
    frames = np.stack([_smooth_images(rng, (500, 84, 84, 9)) for _ in range(num_episodes)])
    content = [
        np.moveaxis(frames, -1, 2),
        *(rng.random((*shape, size)) for size in (24, 6)),
        rng.random(shape),
    ]
    (folder / "expert_demos.pkl").write_bytes(pickle.dumps(content, protocol=4))
    return folder / "expert_demos.pkl"


def _make_chunk(folder: Path, rng: np.random.Generator, num_episodes: int) -> Path:
    shape = (num_episodes, 101)
    sizes = {"obs": (39,), "action": (6,), "reward": ()}
    arrays = {name: rng.random((*shape, *size), np.float32) for name, size in sizes.items()}
    tdmpc2.save_chunk(folder / "chunk_11.pt", arrays | {"task": np.full(shape, tdmpc2.FIRST_METAWORLD_ID)})
    return folder


def _make_minari(folder: Path, rng: np.random.Generator, num_episodes: int) -> str:
    """Returns the name of a dataset below `folder`, where Minari is told to look from now on."""
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    steps = 1000
    episodes = [
        {
            "observations": rng.normal(size=(steps + 1, 3)).astype(np.float32),
            "actions": rng.uniform(-2, 2, (steps, 1)).astype(np.float32),
            "rewards": rng.random(steps),
            "terminations": np.zeros(steps, bool),
            "truncations": np.arange(steps) == steps - 1,
        }
        for _ in range(num_episodes)
    ]
    minari.save_dataset("made-up/pendulum-v0", episodes, env="Pendulum-v1")
    return "made-up/pendulum-v0"


def _make_logs(folder: Path, rng: np.random.Generator, num_episodes: int) -> Path:
    for number in range(num_episodes):
        arrays = {"obs": rng.random((101, 39)), "action": rng.random((101, 4)), "reward": rng.random(101)}
        images = _smooth_images(rng, (101, 64, 64, 3))
        np.savez_compressed(folder / f"{number}.npz", **arrays, success=np.ones(101), image=images)
    return folder


def _make_npz(folder: Path, rng: np.random.Generator, num_episodes: int) -> Path:
    for number in range(num_episodes):
        write_episode(folder / f"{number}.npz", _episode(rng))
    return folder


_SOURCES = (  # name, preset of experiments.convert, episodes, what makes them up
    ("PatchAIL, 500 records, 84 x 84 to 64 x 64", "patchail", 2, _make_patchail),
    ("TD-MPC2 chunk of mt80, 101 records, no images", "tdmpc2-mt50", 200, _make_chunk),
    ("TD-MPC2 log of an expert, 101 records, 64 x 64", "tdmpc2-expert", 10, _make_logs),
    ("Minari, 1001 records of Pendulum, no images", "minari", 50, _make_minari),
    ("npz to HDF5, 501 records, 64 x 64", "files", 4, _make_npz),
)


def _episode(rng: np.random.Generator, num_records: int = 501) -> Episode:
    steps = np.arange(num_records)
    return Episode(
        {
            "image": _smooth_images(rng, (num_records, 64, 64, 3)),
            "orientations": rng.normal(size=(num_records, 14)),
            "pre_action": rng.uniform(-1, 1, (num_records, 6)),
            "reward": np.zeros(num_records),
            "is_first": steps == 0,
            "is_last": steps == num_records - 1,
            "is_terminal": np.zeros(num_records, bool),
        }
    )


def reading_rows(folder: Path, config) -> Iterator[dict]:
    """Time for one batch from each storage; on disk of both file formats."""
    rng = np.random.default_rng(1)
    for suffix in (".hdf5", ".npz"):
        for number in range(4):
            write_episode(folder / f"read{suffix}" / f"{number}{suffix}", _episode(rng))
    for storage, suffix in (("device", ".hdf5"), ("memory", ".hdf5"), ("disk", ".hdf5"), ("disk", ".npz")):
        episodes = load_episodes(folder / f"read{suffix}", images_on_disk=True)
        data = open_dataset(episodes, storage=storage, length=LENGTH, sensors=("image",))
        draw = jax.jit(sample, static_argnums=2) if storage == "device" else sample
        seconds = _median(lambda key, draw=draw, data=data: draw(data, key, BATCH_SIZE), config.seconds)
        yield {
            "storage": storage,
            "format": suffix[1:],
            "batch": f"{1000 * seconds:.3g} ms",
            "windows/s": f"{BATCH_SIZE / seconds:.3g}",
        }


def _median(call: Callable, seconds: float) -> float:
    """Median time of calls with new keys, after one that does not count."""
    jax.block_until_ready(call(jax.random.key(0)))
    times: list[float] = []
    while not times or sum(times) < seconds:
        key = jax.random.key(len(times) + 1)
        began = time.perf_counter()
        jax.block_until_ready(call(key))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _how() -> str:
    """Command, commit and machine, for a reader who wants the same table."""
    session, computer = describe_session(), machine()
    command = shlex.join(["python", "-m", "experiments.dataset", *session["argv"][1:]])
    commit = session["commit"] or {"hash": "unknown", "edited": False}
    edited = " with changes" if commit["edited"] else ""
    versions = {
        name: session["versions"].get(name, "none") for name in ("mujoco", "dm_control", "h5py", "jax")
    }
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"`{command}`, commit {commit['hash'][:7]}{edited}, {session['time'][:10]}: "
        f"{computer['processor']}, {computer['cpus']} CPUs, load {computer['load']}, {computer['memory']}; {listed}."
    )


def _table(rows: Sequence[dict], columns: Sequence[str]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(column, "–")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)
