"""Measures how fast this machine trains, acts and collects, against the limits of its arithmetic.

    python -m experiments benchmark --workdir=runs/benchmark

Prints a table while it measures and writes `benchmark.{md,csv,json}`: medians over several repetitions, on random
data. The floor of an update is the time that its products of matrices would take at the rate of one large product; if
that is longer, the time to move their operands and results once at the rate of the memory.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
from jax import lax

from agents.plan_search import PlanSettings
from experiments.drawing.table import Table
from experiments.runs.session import describe_session
from experiments.runs.settings import plain_config, write_json
from experiments.speed import benchmark_programs as programs
from experiments.speed.timing import (
    Timing,
    forget_peak_memory,
    machine,
    matmul_rate,
    measure,
    memory_rate,
    peak_memory,
    product_bytes,
    product_flops,
    vector_product_rate,
)
from worldmodels.convolution import conv_general_dilated
from worldmodels.files import write_atomically

IMPORTS = {
    "jax alone": "import jax",
    "worldmodels and aime": "import aime.offline, worldmodels.data.dataset, worldmodels.training",
    "experiments.methods.imitate": "import experiments.methods.imitate",
}
HEADINGS = (
    "What",
    "Median",
    "Fastest",
    "Processor",
    "GFLOP",
    "GFLOP/s",
    "GB",
    "Floor",
    "Memory",
    "Peak",
    "Note",
)
CAPTION = (
    "Median and fastest are wall time; Processor is the time of all threads. GFLOP counts products of matrices; "
    "GB their operands and results, each moved once; Floor is what the one takes at the rate of the first row, or "
    "the other at that of the second if that is longer, for acting on a CPU at the rate at which NumPy multiplies "
    "a vector with a matrix of as many bytes. Memory is that of arguments and temporaries, Peak all that the process "
    "held."
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      name: what was measured, of what.
      seconds, seconds_min: wall time, median and minimum.
      cpu_seconds: processor time of all threads, median; None for processes that were not this one.
      gflop: arithmetic of its products of matrices. gigabytes: their operands and results.
      floor: seconds that these would take at the rates of the machine, the longer of the two.
      memory: bytes of arguments and temporaries.
      peak: bytes of main memory that the process held at once meanwhile.
      note: what a reader should know.
    """

    name: str
    seconds: float | None = None
    seconds_min: float | None = None
    cpu_seconds: float | None = None
    gflop: float | None = None
    gigabytes: float | None = None
    floor: float | None = None
    memory: int | None = None
    peak: int | None = None
    note: str = ""

    @property
    def cells(self) -> list[str]:
        """Rounded text, in the order of `HEADINGS`."""
        rate = self.gflop / self.seconds if self.gflop and self.seconds else None
        times = [self.seconds, self.seconds_min, self.cpu_seconds]
        return [
            self.name,
            *map(duration, times),
            number(self.gflop),
            number(rate),
            number(self.gigabytes),
            duration(self.floor),
            *(f"{size / 2**20:.0f} MiB" if size else "" for size in (self.memory, self.peak)),
            self.note,
        ]


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Measures everything, prints and writes the table; an earlier one is replaced.

    Returns:
      {"rows": [Row as dict], "machine", "session"}.
    """
    config = plain_config(config)
    before, rows, workdir = machine(), [], Path(workdir)
    for row in measurements(config):
        rows.append(row)
        print(" | ".join(cell for cell in row.cells if cell), flush=True)
        result = write(workdir, rows, before)  # an interrupted benchmark leaves what it has
    print(f"Written: {workdir / 'benchmark.md'}")
    return result


def write(workdir: Path, rows: list[Row], before: Mapping) -> dict:
    """Writes the rows in all formats; returns what `run` does."""
    result = {"rows": [asdict(row) for row in rows], **surroundings(before)}
    table = Table(HEADINGS, [row.cells for row in rows], CAPTION, numbers=result["rows"])
    write_atomically(workdir / "benchmark.md", f"{heading(result)}\n{table.markdown()}")
    write_atomically(workdir / "benchmark.csv", table.csv())
    write_json(workdir / "benchmark.json", result)
    return result


def surroundings(before: Mapping) -> dict:
    """{"machine", "session"}: where rows were measured, `before` being what `machine()` gave before them."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = dict(before) | {"load_after": machine()["load"], "peak_memory": peak}
    return {"machine": facts, "session": describe_session()}


def measurements(config: Mapping) -> Iterator[Row]:
    """Yields the rows one by one."""
    size, repetitions = config["matmul_size"], config["repetitions"]
    gflop, gigabytes = 2e-9 * size**3, 8e-9 * 16 * size**2
    rates = 1e-9 * matmul_rate(size, repetitions), 1e-9 * memory_rate(16 * size**2, repetitions)
    product, copy = gflop / rates[0], gigabytes / rates[1]
    yield Row(f"product of matrices, {size} x {size}", product, gflop=gflop, note="the rate of floors")
    yield Row(
        "adding to an array", copy, gigabytes=gigabytes, note=f"{rates[1]:.3g} GB/s: the rate of memory"
    )
    yield from update_rows(config, *rates)
    if config["convolutions"]:
        yield from convolution_rows(config["convolutions"], config["repetitions"])
    for num_envs in (1, 10):
        yield acting_row(config, num_envs, *rates)
    if config["planning"]:
        yield planning_row(config)
    draw = programs.sampling_call(config, "published", config["batches_per_dispatch"])
    timing = measure(draw, config["repetitions"], count=config["batches_per_dispatch"])
    yield timed("sampling a batch", timing)
    yield collection_row(config["collection"])
    if config["starts"]:
        yield from import_rows(config["starts"])
        yield from start_rows(config)


def update_rows(config: Mapping, *rates: float) -> Iterator[Row]:
    """Updates of one run, and of several in one program; `rates` of the machine, GFLOP/s and GB/s."""
    for size, num_seeds, *options in config["updates"]:
        notes = [] if num_seeds is None else [f"num_seeds={num_seeds}: one update of each"]
        notes += [NOTES[option] for option in options]
        for name in PROGRAMS:
            row = update_row(config, name, size, num_seeds, options, rates)
            yield replace(row, note="; ".join(notes))


def update_row(config: Mapping, name: str, size: str, num_seeds: int | None, options, rates) -> Row:
    """Times the updates of one program; whatever it holds is freed afterwards."""
    forget_peak_memory()
    storage = next((option for option in options if option in ("memory", "disk")), "device")
    program = PROGRAMS[name](programs.with_dtype(config, size, options), size, num_seeds, storage)
    arithmetic = {}
    if not program.streams:
        arguments, count = (program.loop, program.state, *program.args), 1e9 * program.num_updates
        gflop, gigabytes = product_flops(*arguments) / count, product_bytes(*arguments) / count
        floor = max(gflop / rates[0], gigabytes / rates[1])
        arithmetic = dict(gflop=gflop, gigabytes=gigabytes, floor=floor)
    warm_up = "cold" not in options or program.streams  # streamed loops compile in their first call
    timing = measure(program.compile(), config["repetitions"], count=program.num_updates, warm_up=warm_up)
    memory = dict(memory=program.memory, peak=peak_memory())
    return timed(f"{name} update, {size}", timing, **arithmetic, **memory)


def convolution_rows(config: Mapping, repetitions: int) -> Iterator[Row]:
    """Gradients of convolutions inside a loop: ours, and those that JAX derives."""
    count = config["num_updates"]
    for name, convolution in (
        ("ours", conv_general_dilated),
        ("derived by JAX", lax.conv_general_dilated),
    ):
        timing = measure(programs.convolution_call(config, convolution), repetitions, count=count)
        note = f"{len(config['layers'])} layers, {config['batch_size']} images"
        yield timed(f"gradients of convolutions in a loop, {name}", timing, note=note)


PROGRAMS = {"world-model": programs.world_model_program, "policy": programs.policy_program}
NOTES = {
    "bfloat16": "compute_dtype=bfloat16",
    "memory": "data in main memory, streamed",
    "disk": "images on disk, streamed",
    "cold": "the first update",
}


def timed(name: str, timing: Timing, **rest) -> Row:
    """Returns a row of a timing."""
    return Row(name, timing.wall, timing.wall_min, timing.cpu, **rest)


def acting_row(config: Mapping, num_envs: int, *rates: float) -> Row:
    """Acting by a world model of the published size; `rates` of the machine, GFLOP/s and GB/s.

    For so few rows every weight is read for next to no arithmetic. On a CPU the caches may hold them all: there the
    floor is what it takes to read as much in the product of a vector with a matrix.
    """
    program = programs.ActingProgram(config, "published", num_envs)
    gflop, gigabytes = 1e-9 * product_flops(*program.arguments), 1e-9 * product_bytes(*program.arguments)
    reading = rates[1]
    if jax.default_backend() == "cpu":
        reading = 1e-9 * vector_product_rate(int(1e9 * gigabytes), config["acting_calls"])
    timing = measure(program, config["repetitions"], inner=config["acting_calls"])
    name = f"acting, {num_envs} environment{'s'[: num_envs > 1]}"
    floor = max(gflop / rates[0], gigabytes / reading)
    return timed(name, timing, gflop=gflop, gigabytes=gigabytes, floor=floor, note="per call")


def planning_row(config: Mapping) -> Row:
    """Acting by the cross-entropy method in the small world model, in one environment."""
    options = config["planning"]
    plan = programs.planning_call(config, "small", PlanSettings(**options))
    note = "{num_candidates} sequences of {horizon} actions, {num_iterations} iterations".format(**options)
    return timed("planning, small, 1 environment", measure(plan, config["repetitions"]), note=note)


def collection_row(config: Mapping) -> Row:
    """Agent steps of random actions in vectorised environments."""
    from agents.loop import collect_episodes
    from agents.noise import UniformActor
    from experiments.envs.vector import VectorEnvironment

    name, num_envs = config["env"], config["num_envs"]
    title = f"collection, {name}, {num_envs} environments"
    try:
        envs = VectorEnvironment(name, num_envs, seed=0, workers=config["workers"])
    except (ImportError, ValueError) as error:
        return Row(title, note=f"skipped: {' '.join(str(error).split())}")
    with envs:
        actor = UniformActor(num_envs, envs.action_spec.shape[0], seed=0)
        wall, cpu = time.perf_counter(), time.process_time()
        episodes = collect_episodes(envs, actor, config["num_episodes"])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    steps = sum(episode.length for episode in episodes)
    return Row(title, wall / steps, cpu_seconds=cpu / steps, note=f"per step: {steps / wall:.0f} steps/s")


def import_rows(starts: int) -> Iterator[Row]:
    """Imports in fresh processes, without the start of Python."""
    for name, code in IMPORTS.items():
        yield median_row(f"import of {name}", [child(f"pass\n{code}") for _ in range(starts)])


def start_rows(config: Mapping) -> Iterator[Row]:
    """Times what a newcomer waits for before the first update: with an empty cache of programs, then from it."""
    with tempfile.TemporaryDirectory() as cache:
        for note in ("empty compilation cache", "from the compilation cache"):
            for name in PROGRAMS:
                code = START.format(name=name, config=json.dumps(config))
                seconds = child(code, {"JAX_COMPILATION_CACHE_DIR": cache})
                yield median_row(f"start to first {name} update", [seconds], note=note)


START = """
import json
from experiments.speed import benchmark
from experiments.runs.startup import set_compilation_cache
set_compilation_cache()
config = json.loads({config!r})
jax_is_imported_before_the_clock = True
began = clock()
benchmark.first_update(config, {name!r})
"""


def first_update(config: Mapping, name: str) -> None:
    """Builds a model of the published size, compiles its updates and makes the first."""
    jax.block_until_ready(PROGRAMS[name](config, "published", 1).compile()())


def child(code: str, environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """(wall, processor) seconds of Python code in a process of its own, from the last time it sets `began`."""
    lines = [
        "import time",
        "clock = lambda: (time.perf_counter(), time.process_time())",
        "began = clock()",
        code,
    ]
    lines.append("print(*(now - then for now, then in zip(clock(), began)))")
    root = str(Path(__file__).resolve().parents[2])
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
        | dict(environment or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    wall, cpu = result.stdout.splitlines()[-1].split()
    return float(wall), float(cpu)


def median_row(name: str, seconds: list[tuple[float, float]], note: str = "") -> Row:
    """Returns a row of measurements in other processes."""
    walls, cpus = zip(*seconds, strict=True)
    return Row(name, statistics.median(walls), min(walls), statistics.median(cpus), note=note)


def heading(result: Mapping) -> str:
    """Returns the lines above the table: the machine, the versions, the commit and the command."""
    facts, session = result["machine"], result["session"]
    commit = session["commit"] or {"hash": "unknown", "edited": False}
    versions = ", ".join(f"{name} {session['versions'][name]}" for name in ("jax", "jaxlib", "flax", "numpy"))
    settings = " ".join(f"{name}={value}" for name, value in session["environment"].items())
    lines = [
        "# Benchmark",
        "",
        f"{facts['processor']}, {facts['cpus']} cores, {facts['memory']}, {facts['system']}; {session['devices'][0]}; "
        f"load {facts['load']} before and {facts['load_after']} after; "
        f"peak memory {facts['peak_memory'] / 2**30:.1f} GiB.",
        f"Python {session['python']}, {versions}. "
        f"Commit {commit['hash'][:12]}{', edited' * commit['edited']}, {session['time']}.",
        "",
        f"    {settings} python -m experiments {shlex.join(session['argv'][1:])}".rstrip(),
        "",
    ]
    return "\n".join(lines)


def duration(seconds: float | None) -> str:
    """0.00123 -> "1.23 ms"."""
    if seconds is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def number(value: float | None) -> str:
    """Three digits."""
    return "" if value is None else f"{value:.3g}"
