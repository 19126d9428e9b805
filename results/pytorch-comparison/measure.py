"""Times an update and an action of this project and of the authors' PyTorch code, in turns, on the same machine.

    git clone https://github.com/argmax-ai/aime-v2 PATH
    pip install torch einops omegaconf
    python results/pytorch-comparison/measure.py --torch=PATH [--visual] [--device=cuda --updates=20]
        [--rounds=7] [--threads=2] [--huge_pages]

Two processes, one for each side, take turns: while one is measured, the other waits. A turn is some updates that do not
count, which bring back the memory that had been idle, and as many that do: training makes one update after the other.
Both sides have the same sizes (the published ones), the same shapes of data, float32 and the same number of threads.
Each runs as its users run it: this project's programs make the updates of a turn in one call of a compiled loop and ask
glibc for huge pages; with `--huge_pages` the PyTorch side does, too. On a GPU, PyTorch multiplies float32 matrices in
full unless told otherwise, JAX in TensorFloat-32 unless told otherwise (JAX_DEFAULT_MATMUL_PRECISION=highest), and both
convolve in TensorFloat-32; `--tf32` lets PyTorch multiply as JAX does. The PyTorch side is the body of the loops of
`train_model_only.py` and `train_aime.py` around the authors' own classes, on data that are on the device already.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import types

WALKER = {"orientations": 14, "height": 1, "velocity": 9}
ACTION_SIZE, BATCH_SIZE, LENGTH = 6, 50, 50
ACTING_CALLS = 100
ROOT = pathlib.Path(__file__).resolve().parents[2]


def torch_side(arguments) -> dict:
    """{name: call} of the authors' code."""
    import numpy as np
    import torch

    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision("high" if arguments.tf32 else "highest")
    device = torch.device(arguments.device)
    sys.path.insert(0, str(pathlib.Path(arguments.torch).resolve()))
    # Imported there for one class, which resizes images; those here have the size that it asks for.
    resize = types.SimpleNamespace(Resize=lambda size: torch.nn.Identity())
    sys.modules.setdefault("torchvision", types.SimpleNamespace(transforms=resize))
    from aimev2.actor import PolicyActor
    from aimev2.data import ArrayDict
    from aimev2.models.policy import TanhGaussianPolicy

    sizes = {"image": (3, 64, 64)} if arguments.visual else WALKER
    model = published_model(arguments, sizes).to(device)
    policy = TanhGaussianPolicy(model.state_feature_dim, ACTION_SIZE, hidden_size=128, hidden_layers=2)
    policy.to(device)
    model_optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    policy_optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4)
    steps = (LENGTH, BATCH_SIZE)
    data = {name: torch.rand(*steps, *np.atleast_1d(size).tolist()) for name, size in sizes.items()}
    data |= {"pre_action": torch.rand(*steps, ACTION_SIZE) * 2 - 1}
    data |= {name: torch.zeros(*steps, 1) for name in ("is_first", "is_last", "is_terminal")}
    seen = {name: value[0, 0].numpy() for name, value in data.items() if name in (*sizes, "pre_action")}
    data = {name: value.to(device) for name, value in data.items()}

    def learn(loss, parameters, optimizer):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 100.0).item()
        optimizer.step()

    def model_update():
        model.requires_grad_(True)
        batch = ArrayDict(data)
        _, _, loss, _ = model(batch, batch["pre_action"])
        learn(loss, model.parameters(), model_optimizer)

    def policy_update():
        model.requires_grad_(False)
        _, _, _, loss, _ = model.filter_with_policy(ArrayDict(data), policy, None)
        learn(loss, policy.parameters(), policy_optimizer)

    actor = PolicyActor(model, policy)
    actor.reset()

    @torch.no_grad()
    def act():
        for _ in range(ACTING_CALLS):
            actor(seen)

    def several(update):
        def call():
            for _ in range(arguments.updates):
                update()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return call

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}", file=sys.stderr)
    updates = {"world-model update": several(model_update), "AIME policy update": several(policy_update)}
    return updates | {"acting": act}


def published_model(arguments, sizes: dict):
    """The authors' `rssmo` for sensors of these sizes, as their configuration has it."""
    from aimev2.models.ssm import ssm_classes
    from omegaconf import OmegaConf

    folder = pathlib.Path(arguments.torch) / "aimev2" / "configs" / "world_model"
    parts = [OmegaConf.load(folder / f"{name}.yaml") for name in ("default", "rssmo")]
    config = OmegaConf.to_container(OmegaConf.merge(*parts))
    kind = "visual" if arguments.visual else "tabular"
    drawn = {"image": (64, 64)}  # decoders of images get their height and width only
    ends = {name: config.pop(name)[kind] for name in ("encoders", "decoders", "probes")}
    for unused in ("defaults", "predict_emb", "intrinsic_reward_config"):
        config.pop(unused, None)
    return ssm_classes[config.pop("name")](
        input_config=[(name, size, dict(ends["encoders"])) for name, size in sizes.items()],
        output_config=[(name, drawn.get(name, size), dict(ends["decoders"])) for name, size in sizes.items()],
        probe_config=[],
        action_dim=ACTION_SIZE,
        **{name: value for name, value in config.items() if name != "optimizor"},
    )


def jax_side(arguments) -> dict:
    """{name: call} of this project, as `benchmark` builds them."""
    sys.path.insert(0, str(ROOT))
    import jax

    from experiments.configs import benchmark
    from experiments.runs.settings import plain_config
    from experiments.runs.startup import set_up_process
    from experiments.speed import benchmark_programs as programs

    set_up_process()
    config = benchmark.get_config("visual" if arguments.visual else "")
    config.updates_per_dispatch = arguments.updates
    if arguments.visual:
        config.sensors = {"image": (64, 64)}
    config = plain_config(config)
    update = programs.world_model_program(config, "published", None).compile()
    imitate = programs.policy_program(config, "published", None).compile()
    actor = programs.ActingProgram(config, "published", 1)

    def act():
        for _ in range(ACTING_CALLS):
            actor()

    where = f"{jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} threads"
    print(f"jax {jax.__version__}, {where}", file=sys.stderr)
    calls = {"world-model update": update, "AIME policy update": imitate}
    return {name: (lambda call=call: jax.block_until_ready(call())) for name, call in calls.items()} | {
        "acting": act
    }


SIDES = {"torch": torch_side, "jax": jax_side}


def serve(calls: dict) -> None:
    """Measures what is asked for on stdin, one name a line, after two calls of each that do not count."""
    for call in calls.values():
        call(), call()
    print("ready", flush=True)
    for line in sys.stdin:
        call = calls[line.strip()]
        call()
        began = time.perf_counter()
        call()
        print(time.perf_counter() - began, flush=True)


def alternate(arguments) -> dict:
    """{name: {side: seconds of every round}}."""
    sides = {}
    for name in SIDES:
        command = [sys.executable, __file__, f"--side={name}", *sys.argv[1:]]
        environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
        if name == "jax" or arguments.huge_pages:
            environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        sides[name] = subprocess.Popen(command, env=environment, **pipes)
    for name, process in sides.items():
        assert process.stdout.readline().strip() == "ready", f"{name} did not start"
    names = ("world-model update", "AIME policy update", "acting")
    seconds = {name: {side: [] for side in sides} for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            for side, process in sides.items():
                process.stdin.write(f"{name}\n")
                process.stdin.flush()
                counted = ACTING_CALLS if name == "acting" else arguments.updates
                seconds[name][side].append(float(process.stdout.readline()) / counted)
    for process in sides.values():
        process.stdin.close()
        process.wait()
    return seconds


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", required=True, help="a clone of the authors' repository aime-v2")
    parser.add_argument("--visual", action="store_true", help="images of 64x64 instead of vectors")
    parser.add_argument(
        "--device", default="cpu", help="of the PyTorch side: cpu or cuda; JAX takes what it finds"
    )
    parser.add_argument("--tf32", action="store_true", help="PyTorch multiplies in TensorFloat-32, too")
    parser.add_argument("--updates", type=int, default=3, help="in a turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--huge_pages", action="store_true", help="for the PyTorch side, too")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(SIDES[arguments.side](arguments))
        return
    print("| | PyTorch | this project | faster |\n|--|--:|--:|--:|")
    seconds = alternate(arguments)
    for name, sides in seconds.items():
        theirs, ours = (statistics.median(sides[side]) for side in SIDES)
        print(f"| {name} | {1e3 * theirs:.3g} ms | {1e3 * ours:.3g} ms | {theirs / ours:.2f}x |")
    print(json.dumps({"load": os.getloadavg()[0], "seconds": seconds}))


if __name__ == "__main__":
    main()
