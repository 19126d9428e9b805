"""Loggers of a run: a curve per seed in TensorBoard, Weights & Biases offline, one of the user's own."""

import json
import sys

import jax.numpy as jnp
import pytest
from tensorboard_events import read_events, read_hparams

from experiments.runs.directory import RunDirectory
from experiments.runs.loggers import Logger, numbers
from experiments.runs.metrics import MetricsWriter

CONFIG = {"seed": 3, "num_seeds": 2, "optimizer": {"learning_rate": 0.1}, "units": [4, 4], "logger": ""}
RESULT = {"return": [[1.0, 3.0], [5.0, 7.0]], "by_expert": [20.0, 60.0], "environment": {}}


def two_updates(workdir, first=1, *, done=True, **config):
    with RunDirectory(workdir, CONFIG | config) as directory:
        with MetricsWriter(directory, {"update": first - 1}) as writer:
            for update in (first, first + 1):
                writer.write({"train/loss": jnp.array([1.0, 3.0]) * update, "fps/x": 5.0}, update=update)
            writer.write_eval({"update": update, "return": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "task": "x"})
        if done:
            directory.mark_done(RESULT)


def test_of_a_row_the_numbers_are_drawn_one_per_seed_or_the_mean_of_episodes():
    row = {
        "a": [1.0, 2.0],
        "b": [1.0, 2.0, 6.0],
        "c": [[1.0, 3.0], [5.0]],
        "d": 1,
        "text": "x",
        "none": [],
        "e": ["x", "y"],
    }
    assert numbers(row, 2) == {"a": [1.0, 2.0], "b": 3.0, "c": [2.0, 5.0], "d": 1}
    assert numbers({"a": [1.0], "b": [[1.0, 3.0]]}, 1) == {"a": 1.0, "b": 2.0}


def test_tensorboard_has_a_curve_per_seed_their_mean_and_the_final_scores_by_the_config(tmp_path):
    two_updates(tmp_path)
    mean, *seeds = (read_events(tmp_path / "tensorboard" / name) for name in ("", "seed_0", "seed_1"))
    assert [events["train/loss"] for events in (mean, *seeds)] == [(2, 4.0), (2, 2.0), (2, 6.0)]
    assert [events["eval/return"][1] for events in (mean, *seeds)] == [3.5, 2.0, 5.0]
    assert [events["final/by_expert"][1] for events in (mean, *seeds)] == [40.0, 20.0, 60.0]
    assert "fps/x" in mean and "fps/x" not in seeds[0]
    settings, scores = read_hparams(tmp_path / "tensorboard")
    assert (settings["optimizer.learning_rate"], settings["units"]) == (0.1, "4 4")
    assert scores == ["final/return", "final/by_expert"]


def test_a_logger_of_ones_own_gets_the_rows_and_the_result(tmp_path):
    two_updates(tmp_path, logger=f"{__name__}:Mine")
    assert Mine.heard == [
        ({"train/loss": [1.0, 3.0], "fps/x": 5.0}, 1),
        ({"train/loss": [2.0, 6.0], "fps/x": 5.0}, 2),
        ({"eval/return": [2.0, 5.0]}, 2),
        {"return": [2.0, 6.0], "by_expert": [20.0, 60.0]},
        "closed",
    ]


class Mine(Logger):
    heard = []

    def write(self, values, clocks):
        self.heard.append((values, clocks["update"]))

    def finish(self, values):
        self.heard.append(values)

    def close(self):
        self.heard.append("closed")


@pytest.mark.parametrize(
    ("logger", "sentence"),
    [
        ("tensorbored", "Unknown logger 'tensorbored'. Known: tensorboard, wandb"),
        ("wandb", "pip install wandb"),
    ],
)
def test_a_logger_that_there_is_not_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, logger, sentence
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=sentence):
        RunDirectory(tmp_path / "run", CONFIG | {"logger": logger})
    assert not (tmp_path / "run").exists()


def test_wandb_has_a_run_per_seed_that_goes_on_when_ours_does(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    two_updates(tmp_path / "mine", logger="wandb", done=False)
    two_updates(tmp_path / "mine", first=3, logger="wandb")
    wandb.teardown()  # its own process writes the files
    by_id = {}
    for path in sorted((tmp_path / "mine" / "wandb").glob("offline-run-*/*.wandb")):
        by_id.setdefault(path.stem, []).append(read_wandb(path))
    runs = sorted(by_id.values(), key=lambda parts: parts[0]["name"])
    assert [part["name"] for parts in runs for part in parts] == ["mine, seed 3"] * 2 + ["mine, seed 4"] * 2
    assert {part["group"] for parts in runs for part in parts} == {"mine"}
    assert [[part["train/loss"] for part in parts] for parts in runs] == [[[1, 2], [3, 4]], [[3, 6], [9, 12]]]
    assert [[part["update"] for part in parts] for parts in runs] == [[[1, 2], [3, 4]]] * 2
    assert [parts[1]["final/by_expert"] for parts in runs] == [20, 60]
    assert [part["ended with"] for parts in runs for part in parts] == [1, 0] * 2
    assert runs[1][0]["config"]["optimizer.learning_rate"] == 0.1


def read_wandb(path):
    """What a file of Weights & Biases holds of a run: its name and group, its rows, its summary."""
    from wandb.proto.wandb_internal_pb2 import Record

    def values(items):
        return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}

    found = {"train/loss": [], "update": []}
    for record in map(Record.FromString, leveldb_records(path.read_bytes())):
        if record.HasField("run"):
            run = record.run
            found |= {"name": run.display_name, "group": run.run_group, "config": values(run.config.update)}
        row = values(record.history.item)
        for name in {"train/loss", "update"} & row.keys():
            found[name].append(row[name])
        found |= {
            key: value for key, value in values(record.summary.update).items() if key.startswith("final/")
        }
        if record.HasField("exit"):
            found["ended with"] = record.exit.exit_code
    return found


def leveldb_records(content):
    """Records of a log of LevelDB in its first block: after 7 bytes, each checksum (4), length (2), kind (1), data."""
    position = 7
    while position < len(content):
        size = int.from_bytes(content[position + 4 : position + 6], "little")
        yield content[position + 7 : position + 7 + size]
        position += 7 + size
    assert position < 2**15
