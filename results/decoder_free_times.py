"""Times updates of world model and policy by what teaches the model, at the sizes of the demos, and their memory.

python results/decoder_free_times.py [state|images]

Processor time, which other work on the machine changes less than that on the wall.
"""

from experiments.configs import benchmark
from experiments.drawing.table import Table
from experiments.runs.scripts import run_script
from experiments.speed.benchmark_programs import policy_program, world_model_program
from experiments.speed.timing import measure

KINDS = ("reconstruction", "barlow", "infonce", "sigreg")
HEADINGS = ("", "world model, ms per update", "policy, ms per update", "world model, MiB")


def main(seen: str = "state") -> None:
    """Prints a row for each of `KINDS` and a table of all."""
    if seen not in ("state", "images"):
        raise ValueError(f"Models see state or images, not {seen!r}.")
    config = benchmark.get_config({"state": "", "images": "visual"}[seen]).to_dict()
    config["num_episodes"] = 2
    if seen == "images":
        config["sensors"]["image"] = (32, 32)
    rows = []
    for name in KINDS:
        section = config["small"]["pretrain"]["world_model"]["representation"]
        section["name"] = name
        section["sigreg"]["num_projections"] = 64
        programs = [make(config, "small", None).compile() for make in (world_model_program, policy_program)]
        updates = config["updates_per_dispatch"]
        times = [f"{1000 * measure(program, 5, count=updates).cpu:.1f}" for program in programs]
        rows.append([name, *times, f"{(programs[0].memory or 0) / 2**20:.0f}"])
        print(*rows[-1], flush=True)
    print(Table(HEADINGS, rows).markdown())


if __name__ == "__main__":
    run_script(main, __doc__)
