"""Two processes train what one trains, stop together and fail together; what does not go together is said at once."""

import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from interruption import SIGTERM, assert_same_run, without_clock
from jax._src.clusters import ClusterEnv
from several_processes import assert_all_ended, carry_out, errors_of, job, start_main, start_together

from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import collect
from experiments.models import architectures, files
from experiments.runs import processes
from experiments.runs.metrics import read_rows
from worldmodels.checkpoints import named_leaves
from worldmodels.data.episodes import load_episodes
from worldmodels.devices import coordination
from worldmodels.devices.sharding import Placement
from worldmodels.export import Models

IMAGES = {"num_updates": 4}
# Of two processes: name, then main, preset, changes of its config, and the run of one process that it is to repeat.
RUNS = {
    "images": ("pretrain", "visual-tiny", IMAGES, "images"),
    "images-on-disk": ("pretrain", "visual-tiny", {**IMAGES, "storage": "disk"}, "images"),
    "policy": ("imitate", "tiny", {}, "policy"),  # batches are shared
    "policies": ("imitate", "tiny", {"num_seeds": 2}, "policies"),  # seeds are dealt out
}
STOPPED = "stopped"  # a "policy" that two processes begin and that two others continue
# An instance norm follows, which takes a bias away: its gradient is rounding, which Adam makes large.
WITHOUT_EFFECT = "world_model/encoder/images/image/layers/0/bias"
TRAINED = {"pretrain": ("world_model", "train/model/loss"), "imitate": ("policy", "train/policy/loss")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Episodes with images of 8x8, and a model that knows nothing."""
    folder = tmp_path_factory.mktemp("processes")
    config = collect_config.get_config("uniform-tiny")
    with config.unlocked():
        config.update({"num_episodes": 3, "image_size": 8})
    collect.run(config, folder / "data")
    episodes = load_episodes(folder / "data" / "episodes")
    config = pretrain_config.get_config("tiny").to_dict()
    arch = architectures.world_model(config["world_model"], "fake-pointmass", "lpomdp", episodes)
    model = architectures.build_world_model(arch, jax.random.key(0), episodes)
    files.save(folder / "model", config, Models({"world_model": arch}, model, loss=config["loss"]))
    return folder


@pytest.fixture(scope="module")
def stopped(folder):
    """(two processes that have ended, what they said): one of them got SIGTERM in the run "stopped"."""
    group = start_main("imitate", *flags_of(folder, folder / "together" / STOPPED))
    wait_for_row(group, folder / "together" / STOPPED / "metrics.jsonl")
    group[1].send_signal(SIGTERM)
    errors = errors_of(group)
    return group, errors, (folder / "together" / STOPPED / "DONE").exists()


@pytest.fixture(scope="module")
def runs(folder, stopped):
    """The runs of two processes in "together", and in "alone" those of one that they repeat."""

    def make_job(name, run):
        main, preset, changes, _ = RUNS[run]
        return job(main, preset, folder / name / run, **inputs_of(folder, main), **changes)

    again = ["imitate", *flags_of(folder, folder / "together" / STOPPED)]
    group = start_together(again, [make_job("together", run) for run in RUNS], folder)
    carry_out([make_job("alone", run) for run, (*_, reference) in RUNS.items() if run == reference])
    assert_all_ended(group)
    return folder


def inputs_of(folder, main):
    """What a main reads, as changes of its config."""
    data = str(folder / "data" / "episodes")
    if main == "pretrain":
        return {"embodiment": data}
    return {"model": str(folder / "model"), "demonstrations": data, "evaluation.video": False}


def flags_of(folder, workdir):
    """The command line of the run "policy"."""
    changes = [f"--config.{key}={value}" for key, value in inputs_of(folder, "imitate").items()]
    return ["--config=imitate:tiny", f"--workdir={workdir}", *changes]


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_train_what_one_trains(runs, run):
    main, *_, reference = RUNS[run]
    folders = (runs / "alone" / reference, runs / "together" / run)
    expected, found = (named_leaves(files.load(folder, TRAINED[main][0]).parts) for folder in folders)
    for name in expected.keys() - {WITHOUT_EFFECT}:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("run", RUNS)
def test_one_of_two_processes_writes_what_one_writes(runs, run):
    main, *_, reference = RUNS[run]
    alone, together = runs / "alone" / reference, runs / "together" / run
    expected, found = (without_clock(read_rows(path / "metrics.jsonl")) for path in (alone, together))
    assert [row["update"] for row in found] == [row["update"] for row in expected]
    losses = [
        [row[TRAINED[main][1]] for row in rows if TRAINED[main][1] in row] for rows in (found, expected)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()}


def test_a_signal_to_one_of_two_processes_stops_both(folder, stopped):
    group, errors, done = stopped
    assert [process.returncode for process in group] == [128 + SIGTERM] * 2, errors
    sentence = f"Stopped by SIGTERM; the state is saved in {folder / 'together' / STOPPED}."
    assert all(sentence in each for each in errors)
    assert not done


def test_the_same_command_of_two_processes_ends_bit_identical(runs):
    together = runs / "together"
    assert_same_run(together / STOPPED, together / "policy", checkpoints=("checkpoints", "model"))


def wait_for_row(group, metrics):
    """Waits for the first metrics, or the end of a process."""
    while all(process.poll() is None for process in group):
        if metrics.is_file() and metrics.read_bytes().count(b"\n"):
            return
        time.sleep(0.005)


def test_an_error_of_process_0_before_the_run_begins_ends_the_others_with_a_sentence(folder, tmp_path):
    (tmp_path / "metadata.json").write_text("[]")  # no run writes it
    group = start_main("imitate", *flags_of(folder, tmp_path))
    leader, follower = errors_of(group, timeout=150)
    assert [process.returncode for process in group] == [2, 2]
    assert "metadata.json is damaged (no mapping of names to values)" in leader and "Traceback" not in leader
    assert follower.startswith("Error: Process 0 has failed, and this one stops with it; the reason there: ")
    assert "metadata.json is damaged" in follower and follower.count("\n") == 1


def test_an_error_of_another_process_ends_process_0_with_a_sentence(folder, tmp_path):
    missing = tmp_path / "not-mounted-here"
    group = start_main(
        "imitate", *flags_of(folder, tmp_path / "run"), only_second=(f"--config.model={missing}",)
    )
    leader, follower = errors_of(group, timeout=150)
    assert [process.returncode for process in group] == [2, 2]
    assert follower.startswith(f"Error: {missing} holds no world model")
    sentence = leader.splitlines()[-1]  # after the progress
    assert (
        sentence.startswith("Error: Process 1 has failed") and f"{missing} holds no world model" in sentence
    )


def test_other_programs_refuse_several_processes():
    group = start_main("evaluate", "--run=nowhere")
    for errors in errors_of(group, timeout=150):
        assert errors.startswith("Error: This command runs in one process") and errors.count("\n") == 1
    assert [process.returncode for process in group] == [2, 2]


def test_no_process_runs_a_program_before_all_have_compiled_it(monkeypatch):
    done = []

    class Program:
        def lower(self, *args):
            return SimpleNamespace(compile=lambda: done.append(("compiled", *args)))

        def __call__(self, *args):
            done.append(("ran", *args))

    monkeypatch.setattr(Placement, "num_processes", 2)
    monkeypatch.setattr(coordination, "wait_for_all", lambda: done.append(("waited",)))
    program = Placement().together(Program())
    program("state", "data")
    assert done == [("compiled", "state", "data"), ("waited",), ("ran", "state", "data")]
    program("next state", "data")
    assert done[3:] == [("waited",), ("ran", "next state", "data")]


@pytest.mark.parametrize(
    "flags, words",
    [
        ((None, "2", None), "--num_processes needs --coordinator"),
        (("host:1", "2", None), "needs --process_id, or is auto"),
        (("host:1", "two", "0"), "are whole numbers"),
        (("host:1", "2", "2"), "--process_id=2 is none of 2 processes"),
    ],
)
def test_flags_that_do_not_go_together_say_what_is_missing(flags, words):
    with pytest.raises(ValueError, match=words):
        processes.join(*flags)


# What srun sets for the second task of a step on two nodes.
SLURM = {
    "SLURM_JOB_ID": "5000",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.fixture
def slurm(monkeypatch):
    """Those variables; (what JAX makes of `jax.distributed.initialize`, its settings): nothing connects or is set."""
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_PORT", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    handed, settings = {}, {}

    def initialize(coordinator_address=None, num_processes=None, process_id=None):
        given = (coordinator_address, num_processes, process_id, None, None, 300)
        found = ClusterEnv.auto_detect_unset_distributed_params(*given)
        handed.update(zip(("coordinator_address", "num_processes", "process_id"), found[:3], strict=True))
        settings["jax_cuda_visible_devices"] = ",".join(map(str, found[3]))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    return handed, settings


def test_tasks_of_slurm_meet_on_their_first_node_and_take_all_its_devices(slurm):
    processes.join("auto", None, None)
    handed, settings = slurm
    port = 2**16 - 2**12 + 5000 % 2**12  # of the job
    assert handed == {"coordinator_address": f"node07:{port}", "num_processes": 2, "process_id": 1}
    assert settings["jax_cuda_visible_devices"] == "all"


def test_one_of_several_tasks_on_a_node_takes_the_device_of_its_number(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "4(x2)")
    monkeypatch.setenv("SLURM_LOCALID", "3")
    processes.join("auto", None, None)
    assert slurm[1]["jax_cuda_visible_devices"] == "3"


def test_one_process_needs_no_flags_and_waits_for_nobody():
    processes.join(None, None, None)
    assert jax.process_count() == 1
    assert coordination.exchange("mine") == ["mine"]
