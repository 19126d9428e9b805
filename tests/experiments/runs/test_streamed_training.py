"""Training on data that do not lie on the device, as users start it."""

import numpy as np
import pytest
from interruption import interrupting, kept, terminated

from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import collect, pretrain
from experiments.runs.metrics import MetricsWriter, read_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    config = collect_config.get_config("uniform-tiny")
    with config.unlocked():
        config.update({"num_episodes": 2, "image_size": 8})
    workdir = tmp_path_factory.mktemp("data") / "run"
    collect.run(config, workdir)
    return str(workdir / "episodes")


def train(data, workdir):
    config = pretrain_config.get_config("tiny")
    config.update({"embodiment": data, "storage": "memory", "num_updates": 4})
    pretrain.run(config, workdir)
    return kept(workdir / "model")[1]


def test_a_streamed_run_says_so_and_is_resumed_to_the_bit(data, tmp_path, capsys):
    whole = train(data, tmp_path / "whole")
    assert "Embodiment data: 0.0 MiB" in (said := capsys.readouterr().out) and "in main memory: takes" in said
    with interrupting(MetricsWriter, "write", 1, terminated):
        train(data, tmp_path / "resumed")
    assert [row["update"] for row in read_rows(tmp_path / "resumed" / "metrics.jsonl")] == [2]
    resumed = train(data, tmp_path / "resumed")
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    losses = [
        [row["train/model/loss"] for row in read_rows(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "resumed")
    ]
    assert losses[0] == losses[1]
