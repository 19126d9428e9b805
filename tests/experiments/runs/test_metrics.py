import json
import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard_events import raw_events, read_events

from experiments.drawing import video
from experiments.runs.metrics import (
    MetricsError,
    MetricsWriter,
    check_finite,
    read_rows,
    to_numbers,
)

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 16, 24, 3), np.uint8)


def updates(path):
    return [row["update"] for row in read_rows(path)]


def write_updates(workdir, numbers, start_update=0):
    with MetricsWriter(workdir, {"update": start_update}) as writer:
        for number in numbers:
            writer.write({"train/loss": jnp.float32(1 / number)}, update=number)
            writer.write_eval({"update": number, "return": [1.0, 2.0]})


def test_rows_beyond_any_clock_of_the_checkpoint_are_dropped(tmp_path):
    """A round may earn no update: the episodes tell its rows from those before it."""
    clocks = [dict(update=0, episode=2), dict(update=4, episode=4), dict(update=4, episode=6)]
    with MetricsWriter(tmp_path) as writer:
        for row in clocks:
            writer.write({}, **row)
            writer.write_eval({"return": [1.0], **row})
    MetricsWriter(tmp_path, clocks[1]).close()
    for name in ("metrics", "eval"):
        assert [row["episode"] for row in read_rows(tmp_path / f"{name}.jsonl")] == [2, 4]


def test_a_row_carries_the_clocks_and_plain_numbers(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        row = writer.write(
            {
                "train/loss": jnp.float32(0.1),
                "train/seeds": jnp.arange(2.0),
                "count": np.int64(3),
                "time/x": 1.5,
            },
            update=7,
            env_step=28,
            agent_step=14,
            episode=2,
        )
    (read,) = read_rows(tmp_path / "metrics.jsonl")
    assert read == row
    assert read.pop("time/unix") > 1e9
    assert 0 < read.pop("time/processor") <= round(time.process_time(), 3)
    assert read == {
        "update": 7,
        "env_step": 28,
        "agent_step": 14,
        "episode": 2,
        "train/loss": 0.1,
        "train/seeds": [0.0, 1.0],
        "count": 3,
        "time/x": 1.5,
    }


def test_short_decimals_read_back_as_the_same_float32():
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    numbers = to_numbers({"x": values})["x"]
    np.testing.assert_array_equal(np.asarray(numbers, np.float32), values)
    assert len(json.dumps(numbers)) < 13 * len(values)


def test_a_row_is_on_disk_at_once(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write({}, update=1)
    assert updates(tmp_path / "metrics.jsonl") == [1]
    writer.close()


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    write_updates(tmp_path, [1, 2, 3, 4])
    write_updates(tmp_path, [3], start_update=2)
    assert updates(tmp_path / "metrics.jsonl") == [1, 2, 3]
    assert updates(tmp_path / "eval.jsonl") == [1, 2, 3]


def test_without_a_checkpoint_all_rows_are_dropped(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write({}, update=0)
    write_updates(tmp_path, [1])
    assert updates(tmp_path / "metrics.jsonl") == [1]


def test_a_line_cut_short_is_dropped(tmp_path):
    write_updates(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-5])
    assert updates(path) == [1]
    write_updates(tmp_path, [2], start_update=1)
    assert updates(path) == [1, 2]


def test_continuing_where_nothing_is_dropped_leaves_the_file(tmp_path):
    write_updates(tmp_path, [1, 2])
    before = (tmp_path / "metrics.jsonl").stat().st_ino
    write_updates(tmp_path, [3], start_update=2)
    assert (tmp_path / "metrics.jsonl").stat().st_ino == before
    assert updates(tmp_path / "metrics.jsonl") == [1, 2, 3]


def test_not_a_number_is_written_as_null(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write({"a": jnp.nan, "b": jnp.array([1.0, jnp.inf])}, update=1)
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    assert (row["a"], row["b"]) == (None, [1.0, None])


def test_of_what_is_not_a_number_tensorboard_says_nothing(tmp_path, caplog):
    with MetricsWriter(tmp_path) as writer:
        writer.write({"a": jnp.nan}, update=1)
    assert caplog.text == ""


def test_divergence_names_update_and_metrics():
    metrics = {
        "train/loss": jnp.nan,
        "train/kl": jnp.float32(1),
        "train/grad": jnp.array([1.0, -jnp.inf]),
        "n": 3,
    }
    with pytest.raises(MetricsError, match="at update 12 .* not finite: train/loss, train/grad. Lower"):
        check_finite(metrics, 12)
    check_finite({"train/kl": jnp.float32(1), "n": 3, "name": "x"}, 12)


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetricsError, match="Cannot write metrics to .*file.* Check free disk space"):
        MetricsWriter(tmp_path / "file")


def test_a_full_disk_is_one_sentence(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer._metrics.close()
    writer._metrics = open("/dev/full", "a")
    with pytest.raises(MetricsError, match="No space left on device. Check free disk space"):
        writer.write({}, update=1)


def test_tensorboard_gets_scalars_evaluations_and_videos(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write({"train/loss": jnp.float32(0.5), "train/seeds": jnp.array([1.0, 3.0])}, update=4)
        writer.write_eval({"update": 4, "return": [10.0, 20.0], "task": "x"})
        path = writer.write_video("rollout/expert", FRAMES, fps=5, update=4)
        writer.write_image("figure", FRAMES[0], update=4)
    assert path == tmp_path / "videos" / "rollout" / "expert.mp4"
    events = read_events(tmp_path / "tensorboard")
    assert events["train/loss"] == (4, 0.5)
    assert events["train/seeds"] == (4, 2.0)
    assert events["eval/return"] == (4, 15.0)
    assert events["rollout/expert"][1].startswith(b"GIF8")
    assert events["figure"][1].startswith(b"\x89PNG")


def test_tensorboard_alone_gets_what_describes_a_finished_run(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write_scalars(
            {"a": 0.5, "b": [1.0, float("nan")], "c": float("nan"), "d": [float("nan")]}, update=4
        )
    assert read_events(tmp_path / "tensorboard") == {"a": (4, 0.5), "b": (4, 1.0)}
    assert read_rows(tmp_path / "metrics.jsonl") == []


def test_tensorboard_hides_what_came_after_the_checkpoint(tmp_path):
    with MetricsWriter(tmp_path, {"update": 5}) as writer:
        writer.write({"train/loss": 1.0}, update=6)
    assert session_start(tmp_path / "tensorboard") == 6


def test_without_an_encoder_a_video_is_left_out_with_a_warning(tmp_path, monkeypatch):
    def no_encoder(*args):
        raise video.VideoError("there is no ffmpeg.")

    monkeypatch.setattr(video, "write_mp4", no_encoder)
    with MetricsWriter(tmp_path) as writer:
        with pytest.warns(UserWarning, match="No video: there is no ffmpeg"):
            assert writer.write_video("a", FRAMES, fps=5) is None


def session_start(folder):
    return next(event.step for event in raw_events(folder) if event.HasField("session_log"))


def test_reading_rows_of_no_file_gives_none(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rows(tmp_path / "none.jsonl") == []
