import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from experiments.drawing.video import (
    VideoError,
    enlarged,
    ffmpeg,
    labelled,
    write_gif,
    write_mp4,
)


def gradient(length=6, height=32, width=48):
    """Smooth frames, which H.264 keeps nearly as they are."""
    t, y, x = np.meshgrid(np.arange(length), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([40 * t, 7 * y, 5 * x], axis=-1).astype(np.uint8)


def read_mp4(path):
    """Frames and frames per second of a video, decoded by ffmpeg."""
    command = [ffmpeg(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    result = subprocess.run(command, capture_output=True, check=True)
    width, height, fps = re.search(r"Video: .* (\d+)x(\d+).* (\d+) fps", result.stderr.decode()).groups()
    return np.frombuffer(result.stdout, np.uint8).reshape(-1, int(height), int(width), 3), int(fps)


def test_an_mp4_reads_back_nearly_the_same(tmp_path):
    path = write_mp4(tmp_path / "new" / "a.mp4", gradient(), fps=10)
    frames, fps = read_mp4(path)
    assert fps == 10
    assert frames.shape == gradient().shape
    assert np.abs(frames.astype(int) - gradient()).mean() < 4
    assert list(path.parent.iterdir()) == [path]


def test_odd_sizes_are_extended(tmp_path):
    frames, _ = read_mp4(write_mp4(tmp_path / "a.mp4", gradient(height=33, width=47), fps=10))
    assert frames.shape[1:] == (34, 48, 3)


def test_a_single_frame_is_a_video(tmp_path):
    frames, _ = read_mp4(write_mp4(tmp_path / "a.mp4", gradient(length=1), fps=10))
    assert len(frames) == 1


def test_a_gif_has_all_frames(tmp_path):
    with Image.open(write_gif(tmp_path / "new" / "a.gif", gradient(), fps=10)) as image:
        assert image.n_frames == 6


def test_labels_stand_above_the_frames():
    frames = labelled(gradient(), "expert")
    np.testing.assert_array_equal(frames[:, -32:], gradient())
    assert frames[:, :-32].min() < 128 < frames[:, :-32].max()


def test_enlarging_repeats_pixels():
    np.testing.assert_array_equal(enlarged(gradient(), 2)[:, 1::2, ::2], gradient())


@pytest.mark.parametrize(
    "frames", [np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8, 3)), np.zeros((0, 8, 8, 3), np.uint8)]
)
def test_what_is_no_video_is_refused(tmp_path, frames):
    with pytest.raises(VideoError, match=r"uint8 \[T, H, W, 3\]"):
        write_mp4(tmp_path / "a.mp4", frames, fps=10)


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match="cannot be written"):
        write_mp4(tmp_path / "file" / "a.mp4", gradient(), fps=10)


def test_a_machine_without_ffmpeg_is_told_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VideoError, match="pip install imageio-ffmpeg"):
        write_mp4(tmp_path / "a.mp4", gradient(), fps=10)
