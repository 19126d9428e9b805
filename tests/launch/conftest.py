import sys

import pytest

TOY = """
import os, pathlib, sys, time

def main(argv):
    flags = dict(argument.lstrip("-").split("=", 1) for argument in argv)
    workdir = pathlib.Path(flags["workdir"])
    workdir.mkdir(parents=True, exist_ok=True)
    first = not (workdir / "began").exists()
    (workdir / "began").touch()
    what = flags.get("config.what", "end")
    print("began", what, os.environ.get("CUDA_VISIBLE_DEVICES", "-"), os.environ.get("XLA_CLIENT_MEM_FRACTION", "-"))
    sys.stdout.flush()
    if what == "fail" or (what == "fail once" and first):
        sys.exit("it broke")
    if what == "kill" or (what == "kill once" and first):
        os.kill(os.getpid(), 9)
    if what == "hang once" and first:
        time.sleep(60)
    if what == "sleep":
        time.sleep(60)
    if what == "slow":
        time.sleep(0.5)
    if what != "no end":
        (workdir / "DONE").write_text("{}")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A command `toys.toy` that does what its config says in milliseconds; returns a function that makes runs of it."""
    from launch.runs import Output, Run

    (tmp_path / "modules" / "toys").mkdir(parents=True)
    (tmp_path / "modules" / "toys" / "toy.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))

    def make(name, what="end", needs=()):
        return Run(
            f"toy/{name}", "toys.toy", "toy", {"what": what, "of": tuple(Output(f"toy/{n}") for n in needs)}
        )

    return make


@pytest.fixture
def recorded_toy(toy, monkeypatch):
    """`toy` whose runs have a config with `size`, and leave it behind like a main; returns (make, leave)."""
    import dataclasses
    import json
    import types

    import ml_collections

    def get_config(preset):
        return ml_collections.ConfigDict({"what": "end", "of": (), "size": 1}).lock()

    monkeypatch.setitem(sys.modules, "experiments.configs.toy", types.SimpleNamespace(get_config=get_config))

    def make(name, size, needs=()):
        run = toy(name, needs=needs)
        return dataclasses.replace(run, settings={**run.settings, "size": size})

    def leave(root, run):
        run.directory(root).mkdir(parents=True)
        (run.directory(root) / "DONE").write_text("{}")
        of = [str(root / need) for need in run.needs]
        config = {"what": "end", "of": of, "size": run.settings["size"]}
        (run.directory(root) / "config.json").write_text(json.dumps(config))

    return make, leave
