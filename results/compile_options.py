"""Measures what options of XLA change about compiling updates, and about the updates.

    python results/compile_options.py FOLDER

Writes `compile_options.{md,csv}` into the folder: processor seconds (of all threads) to trace and compile the loop of
updates with an empty cache, once, and milliseconds of an update, the least of five; of policies and world models of the
presets for a CPU and of the published size, on random data.
"""

import time
from pathlib import Path

import jax

from experiments.configs import benchmark, imitate, pretrain
from experiments.drawing.table import Table
from experiments.runs.scripts import run_script
from experiments.runs.settings import plain_config
from experiments.speed import benchmark_programs as programs
from experiments.speed.timing import machine

OLDER = {"xla_cpu_use_fusion_emitters": False}
OPTIONS = {
    "defaults": {},
    "older emitters": OLDER,
    "optimization level 1": {"xla_backend_optimization_level": 1},
    "older emitters, level 1": OLDER | {"xla_backend_optimization_level": 1},
}
POLICY, WORLD_MODEL = programs.policy_program, programs.world_model_program
PROGRAMS = (
    ("policy", "", "small", POLICY),
    ("world model", "", "small", WORLD_MODEL),
    ("policy", "", "medium", POLICY),
    ("world model", "", "", WORLD_MODEL),
    ("world model", "visual", "visual-small", WORLD_MODEL),
)
UPDATES = 10  # of a call


def rows():
    """Yields what is compiled, the options, seconds to compile and of an update."""
    for kind, sensors, size, make in PROGRAMS:
        config = plain_config(benchmark.get_config(sensors)) | {"updates_per_dispatch": UPDATES}
        presets = dict(pretrain=pretrain.get_config(size), imitate=imitate.get_config(size))
        program = make(
            config | {size: {name: plain_config(part) for name, part in presets.items()}}, size, None
        )
        for name, options in OPTIONS.items():
            compiling = compile_seconds(program, options)
            program()
            update = min(update_seconds(program) for _ in range(5))
            yield f"{kind}, {size or 'published'}", name, compiling, update


def compile_seconds(program: programs.Program, options: dict) -> float:
    jax.clear_caches()
    return seconds_of(lambda: program.compile(options))


def update_seconds(program: programs.Program) -> float:
    return seconds_of(lambda: jax.block_until_ready(program())) / program.num_updates


def seconds_of(call) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main(folder: str) -> None:
    """Measures, and writes the table."""
    jax.config.update("jax_enable_compilation_cache", False)
    facts, found = machine(), {}
    for what, *row in rows():
        found.setdefault(what, []).append(row)
        print(what, *row, flush=True)
    cells = [
        (what, *(f"{compiling:.1f} s, {1e3 * update:.3g} ms" for _, compiling, update in row))
        for what, row in found.items()
    ]
    numbers = [
        dict(what=what, options=name, compile_seconds=compiling, update_seconds=update)
        for what, row in found.items()
        for name, compiling, update in row
    ]
    caption = (
        f"{facts['processor']}, {facts['cpus']} cores, load {facts['load']} before; jax {jax.__version__}."
    )
    Table(("Update", *OPTIONS), cells, caption, numbers=numbers).write(Path(folder, "compile_options"))


if __name__ == "__main__":
    run_script(main, __doc__)
