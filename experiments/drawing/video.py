"""Videos: arrays of frames, [T, H, W, 3] uint8, to MP4 and GIF files, and side by side."""

import io
import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

import numpy as np

from worldmodels.files import write_atomically


class VideoError(ValueError):
    """A video cannot be made."""


def write_mp4(path: str | os.PathLike, frames: np.ndarray, fps: float) -> pathlib.Path:
    """Writes an H.264 video that browsers play; odd sizes are extended by a row or column.

    Args:
      path: file to write, atomically; its folder is made.
      frames: [T, H, W, 3] uint8.
      fps: frames per second.

    Raises:
      VideoError: the frames have another shape or dtype, there is no encoder, or the disk cannot be written.
    """
    frames = _checked(frames)
    path = pathlib.Path(path)
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    temporary = path.with_name(f".{path.stem}.writing.mp4")
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-"]
    encoding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [ffmpeg(), "-y", "-loglevel", "error", *source, *encoding, str(temporary)]
        try:
            subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except subprocess.CalledProcessError as error:
        raise VideoError(
            f"{path} cannot be written: ffmpeg says {error.stderr.decode().strip()!r}."
        ) from error
    except OSError as error:
        raise VideoError(
            f"{path} cannot be written: {error.strerror}. Check space and permissions."
        ) from error
    return path


def ffmpeg() -> str:
    """Returns the path of the ffmpeg program that comes with imageio-ffmpeg, or of that of the system."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
    if found is None:
        raise VideoError("There is no ffmpeg to write videos with. `pip install imageio-ffmpeg` brings one.")
    return found


def write_gif(path: str | os.PathLike, frames: np.ndarray, fps: float) -> pathlib.Path:
    """Writes an endless GIF; frames [T, H, W, 3] uint8."""
    encoded = gif_bytes(frames, fps)
    try:
        return write_atomically(path, encoded)
    except OSError as error:
        raise VideoError(f"{path} cannot be written ({error.strerror}). Check free disk space.") from error


def gif_bytes(frames: np.ndarray, fps: float) -> bytes:
    """Encodes frames, [T, H, W, 3] uint8, as an endless GIF."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in _checked(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, "gif", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


def png_bytes(image: np.ndarray) -> bytes:
    """Encodes an image, [H, W, 3] uint8, as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_checked(np.asarray(image)[None])[0]).save(buffer, "png")
    return buffer.getvalue()


def read_png(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file, uint8 [H, W, 3]."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def labelled(frames: np.ndarray, text: str | Sequence[str], size: int | None = None) -> np.ndarray:
    """Writes a line of text above every frame: [T, H, W, 3] -> [T, H + h, W, 3].

    Args:
      text: the same for all frames, or one for each.
      size: of the letters in pixels; by default by the width.
    """
    frames = _checked(frames)
    size = size or max(10, frames.shape[2] // 16)
    texts = [text] * len(frames) if isinstance(text, str) else list(text)
    if len(texts) != len(frames):
        raise VideoError(f"labelled got {len(frames)} frames but {len(texts)} texts.")
    strips = {text: _text_strip(text, frames.shape[2], size) for text in dict.fromkeys(texts)}
    return np.concatenate([np.stack([strips[text] for text in texts]), frames], axis=1)


def with_row_names(frames: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Writes a name at the left of each of equally high rows, upright: [T, H, W, 3] -> [T, H, w + W, 3]."""
    frames = _checked(frames)
    heights = np.diff(np.linspace(0, frames.shape[1], len(names) + 1).round().astype(int))
    strips = [np.rot90(_text_strip(name, height, 12)) for name, height in zip(names, heights, strict=True)]
    column = np.concatenate(strips)
    return np.concatenate([np.broadcast_to(column, (len(frames), *column.shape)), frames], axis=2)


def _text_strip(text: str, width: int, size: int) -> np.ndarray:
    """Draws a centred line of text on white, uint8 [h, width, 3]."""
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (width, 2 * (size * 3 // 4)), "white")
    font = ImageFont.load_default(size)
    ImageDraw.Draw(strip).text((width // 2, strip.height // 2), text, "black", font=font, anchor="mm")
    return np.asarray(strip)


def enlarged(frames: np.ndarray, factor: int) -> np.ndarray:
    """Repeats pixels: [T, H, W, 3] -> [T, factor H, factor W, 3]."""
    return np.repeat(np.repeat(frames, factor, axis=1), factor, axis=2)


def _checked(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or frames.size == 0:
        raise VideoError(
            f"A video is uint8 [T, H, W, 3] with at least one frame, not {frames.dtype}{list(frames.shape)}."
        )
    return frames
