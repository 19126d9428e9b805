"""Episodes drawn again, from their physics states or by playing their actions, side by side with labels.

Rendering runs in a process of its own with a watchdog: an OpenGL driver that crashes or hangs costs the video,
never the run, and a sentence says why. The module imports neither jax nor a simulator.
"""

import contextlib
import itertools
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.drawing.video import VideoError, write_mp4
from experiments.envs import registry, rendering, variation
from worldmodels.data.episodes import Episode

STALL_SECONDS = 150.0  # without a sign of life; longer than both OpenGL backends may take to be tried.

MAX_CLIPS = 4  # of a video of seeds

_INK, _MUTED, _PAPER = "#222222", "#5c5c5c", "#ffffff"
_GAP = 6  # white pixels between two columns


@dataclass(frozen=True)
class Clip:
    """One column of the video.

    Attributes:
      label: written above.
      states: [T, P] physics states, as `Environment.physics_state` gave them; None: the episode is played again.
      rewards: [T] reward on arrival at each state, for a running return above; None for none.
      seed, actions: of the episode, [T, A] as in its records, to play it again by.
    """

    label: str
    states: np.ndarray | None
    rewards: np.ndarray | None = None
    seed: int | None = None
    actions: np.ndarray | None = None

    @property
    def can_be_drawn(self) -> bool:
        """True if there is anything to draw from."""
        if self.states is not None:
            return len(self.states) > 0
        return self.seed is not None and self.actions is not None and self.actions.size > 0

    def seed_to_draw(self, env_name: str) -> int | None:
        """Returns the seed that is needed: to play again, or because states do not say what varies."""
        needed = self.states is None or variation.split(env_name)[1]
        return int(self.seed) if needed and self.seed is not None else None


@dataclass(frozen=True)
class RenderedClips:
    """The pictures of every clip.

    Attributes:
      columns: per clip [T, H, W, 3] uint8.
      fps: frames per second at the speed of the simulation.
      stride: every how many states a picture was drawn.
    """

    columns: list[np.ndarray]
    fps: float
    stride: int


def render_side_by_side(env_name: str, clips: Sequence[Clip], **options: Any) -> tuple[np.ndarray, float]:
    """Draws episodes next to each other with labels, at the speed of the simulation.

    A clip that ends early keeps its last frame, faded.

    Args:
      env_name: as in `experiments.envs.registry`.
      clips: from left to right.
      **options: of `render_clips`; the labels come on top of the height.

    Returns:
      Frames [T, H, W, 3] uint8, and how many there are per second.

    Raises:
      VideoError: as of `render_clips`.
    """
    rendered = render_clips(env_name, clips, **options)
    length = max(len(column) for column in rendered.columns)
    labelled = [
        _labelled(frames, clip, rendered.stride, length)
        for frames, clip in zip(rendered.columns, clips, strict=True)
    ]
    gap = np.full((length, labelled[0].shape[1], _GAP, 3), 255, np.uint8)
    parts = [part for column in labelled for part in (gap, column)][1:]
    return np.concatenate(parts, axis=2), rendered.fps


def render_clips(
    env_name: str,
    clips: Sequence[Clip],
    *,
    height: int = 240,
    width: int = 320,
    camera: int | str | None = None,
    seconds: float | None = 10.0,
    max_fps: float = 30.0,
    env_options: Mapping[str, Any] | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> RenderedClips:
    """Draws each clip.

    If the process fails with the OpenGL backend that was found, OSMesa (software) is tried before giving up.

    Args:
      env_name: as in `experiments.envs.registry`.
      clips: what to draw.
      height, width: pixels of each picture.
      camera: of the environment; None means the published one.
      seconds: simulated time after which clips are cut; None shows everything.
      max_fps: frames are left out evenly until there are at most so many per second.
      env_options: further arguments of `registry.make`, e.g. action_repeat; JSON values.
      stall_seconds: the process is killed when it shows no sign of life for so long.

    Raises:
      VideoError: nothing to draw, or nothing to draw it with.
    """
    if not clips:
        raise VideoError("There are no clips to render; pass one Clip per column.")
    if empty := [clip.label for clip in clips if not clip.can_be_drawn]:
        raise VideoError(
            f"The episodes of {', '.join(empty)} have neither physics states nor seed and actions."
        )
    again = any(clip.states is None for clip in clips)
    request = {
        "env_name": env_name,
        "options": dict(env_options or {}) | (registry.drawing_options(env_name) if again else {}),
        "seeds": [clip.seed_to_draw(env_name) for clip in clips],
        "size": [height, width],
        "camera": camera,
        "seconds": seconds,
        "max_fps": max_fps,
    }
    try:
        return _render_with_fallback(request, clips, stall_seconds)
    except (VideoError, OSError) as error:
        raise VideoError(
            f"{env_name} cannot be drawn: {error}; python -m experiments doctor shows what is missing."
        ) from error


def seeds_side_by_side(
    path: str | os.PathLike, env_name: str, env_options: Mapping, episodes: Sequence[Episode], num_seeds: int
) -> Path:
    """Writes an mp4 and returns its path.

    Args:
      episodes: of all seeds, with physics states; environments are blocks of equal size, one per seed.
      num_seeds: how many policies played.

    Raises:
      VideoError: it cannot be drawn or written.
    """
    order = sorted(episodes, key=lambda episode: (episode.metadata["env_index"], episode.metadata["episode"]))
    chosen = order[:: max(1, len(order) // num_seeds)][: min(num_seeds, MAX_CLIPS)]
    clips = [clip(f"seed {index}", episode) for index, episode in enumerate(chosen)]
    return write(path, env_name, env_options, clips)


def filmed(episode: Episode) -> Episode:
    """Returns the episode with no more than a video needs: what policies saw may be large."""
    kept = ("physics_state", "pre_action", "reward")
    return Episode(
        {name: episode.records[name] for name in kept if name in episode.records}, episode.metadata
    )


def clip(label: str, episode: Episode) -> Clip:
    """Returns an episode as a column of a video."""
    records, seed = episode.records, episode.metadata.get("seed")
    rewards = np.ravel(records["reward"])
    return Clip(label, records.get("physics_state"), rewards, seed, records.get("pre_action"))


def write(
    path: str | os.PathLike, env_name: str, env_options: Mapping, clips: Sequence[Clip], **options
) -> Path:
    """Renders clips side by side into an mp4, as `render_side_by_side`, and returns its path."""
    return write_mp4(path, *render_side_by_side(env_name, clips, env_options=env_options, **options))


# The process that asks -------------------------------------------------------------------------------------


def _render_with_fallback(
    request: Mapping[str, Any], clips: Sequence[Clip], stall_seconds: float
) -> RenderedClips:
    """Renders, with OSMesa if need be."""
    wished = os.environ.get("MUJOCO_GL", "").strip().lower()
    try:
        return _render_in_process(request, clips, stall_seconds, {})
    except VideoError as error:
        if wished:
            raise
        with contextlib.suppress(VideoError):
            return _render_in_process(request, clips, stall_seconds, {"MUJOCO_GL": "osmesa"})
        raise error


def _render_in_process(
    request: Mapping[str, Any], clips: Sequence[Clip], stall_seconds: float, variables: Mapping[str, str]
) -> RenderedClips:
    name = request["env_name"]
    try:
        entry_point = None if ":" in name else registry.entry_point(name)
    except ValueError as error:
        raise VideoError(str(error).rstrip(".")) from error
    with tempfile.TemporaryDirectory(prefix="render-") as folder:
        (Path(folder) / "request.json").write_text(json.dumps({**request, "entry_point": entry_point}))
        for index, clip in enumerate(clips):
            if clip.states is None:
                rewards = {} if clip.rewards is None else {"rewards": clip.rewards}
                file = Path(folder) / f"actions{index}.npz"
                np.savez(file, allow_pickle=False, actions=np.asarray(clip.actions), **rewards)
            else:
                np.save(Path(folder) / f"states{index}.npy", np.asarray(clip.states, np.float64))
        _run_watched([sys.executable, "-m", __name__, folder], folder, stall_seconds, variables)
        answer = json.loads((Path(folder) / "answer.json").read_text())
        columns = [np.load(Path(folder) / f"frames{index}.npy") for index in range(len(clips))]
    return RenderedClips(columns, **answer)


def _run_watched(
    command: Sequence[str], folder: str, stall_seconds: float, variables: Mapping[str, str]
) -> None:
    """Runs a command that prints as it works; raises VideoError if it fails, crashes or falls silent."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    with open(Path(folder) / "stderr", "w+") as stderr:
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # so that the process and its children can be killed together
        ) as process:
            try:
                silent = _falls_silent(process, stall_seconds)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if silent:
            raise VideoError(f"the renderer hung for {stall_seconds:.0f} s and was stopped")
        if process.returncode:
            raise VideoError(_reason(process.returncode, Path(stderr.name).read_text(errors="replace")))


def _falls_silent(process: subprocess.Popen, stall_seconds: float) -> bool:
    """Waits until the process closes its output, a pipe (False), or prints nothing for too long (True)."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(stall_seconds):
            if not os.read(process.stdout.fileno(), 4096):
                try:
                    process.wait(timeout=stall_seconds)
                except subprocess.TimeoutExpired:
                    return True
                return False
    return True


def _reason(code: int, stderr: str) -> str:
    if code < 0:
        return f"the renderer crashed ({signal.Signals(-code).name})"
    lines = stderr.strip().splitlines()
    return lines[-1][:400].rstrip(".") if lines else f"the renderer ended with code {code}"


# Labels ----------------------------------------------------------------------------------------------------


def _labelled(frames: np.ndarray, clip: Clip, stride: int, length: int) -> np.ndarray:
    """Adds a strip with label and running return, and fades the last frame up to `length`."""
    returns = None if clip.rewards is None else np.cumsum(np.asarray(clip.rewards, np.float64))[::stride]
    strips: list[np.ndarray] = []
    for index in range(len(frames)):
        if returns is not None or not strips:
            text = "" if returns is None else f"return {returns[min(index, len(returns) - 1)]:.0f}"
            strip = _strip(clip.label, text, frames.shape[2])
        strips.append(strip)
    video = np.concatenate([np.stack(strips), frames], axis=1)
    ended = video[-1:].copy()
    ended[:, strips[0].shape[0] :] = 255 - (255 - ended[:, strips[0].shape[0] :]) // 2
    return np.concatenate([video, np.repeat(ended, length - len(video), axis=0)])


def _strip(label: str, right: str, width: int) -> np.ndarray:
    """Draws a line of text, uint8 [h, width, 3]: the label at the left, shrunk to fit, and `right` at the right."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(9, width // 20)
    height = 2 * size
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    room = width - 2 * (size // 2) - (draw.textlength(right, font=font) + size if right else 0)
    shrunk = size
    while shrunk > 7 and draw.textlength(label, font=ImageFont.load_default(shrunk)) > room:
        shrunk -= 1
    label_font = ImageFont.load_default(shrunk)
    while len(label) > 1 and draw.textlength(label, font=label_font) > room:
        label = label[:-2] + "…"
    draw.text((size // 2, height // 2), label, _INK, font=label_font, anchor="lm")
    if right:
        draw.text((width - size // 2, height // 2), right, _MUTED, font=font, anchor="rm")
    return np.asarray(image)


# The process that renders ----------------------------------------------------------------------------------


def _serve(folder: Path) -> None:
    """Draws what `request.json` asks for; every printed line is a sign of life."""
    request = json.loads((folder / "request.json").read_text())
    if request["entry_point"]:
        registry.register(variation.base_name(request["env_name"]), request["entry_point"])
    environment = registry.make(request["env_name"], **request["options"])
    print("made", flush=True)
    step = float(environment.control_seconds)
    stride = max(1, math.ceil(1 / (step * request["max_fps"]) - 1e-6))
    limit = None if request["seconds"] is None else max(1, round(request["seconds"] / step))
    environment.reset(seed=0)
    how = (*request["size"], request["camera"])
    for index, seed in enumerate(request["seeds"]):
        if (folder / f"states{index}.npy").exists():
            states = np.load(folder / f"states{index}.npy")[:limit:stride]
            if seed is not None:
                environment.reset(seed)
            pictures: Iterator[np.ndarray] = (
                rendering.render_states(environment, [state], *how)[0] for state in states
            )
        else:
            with np.load(folder / f"actions{index}.npz") as file:
                actions, rewards = file["actions"][:limit], file.get("rewards")
            played = rendering.played_again(environment, seed, actions, rewards, *how)
            pictures = itertools.islice(played, 0, None, stride)
        frames = []
        for picture in pictures:
            frames.append(picture)
            print("drawn", flush=True)
        np.save(folder / f"frames{index}.npy", np.stack(frames))
    (folder / "answer.json").write_text(json.dumps({"fps": 1 / (step * stride), "stride": stride}))


if __name__ == "__main__":
    try:
        _serve(Path(sys.argv[1]))
    except Exception as failure:
        print(" ".join(str(failure).split()) or type(failure).__name__, file=sys.stderr)
        os._exit(1)
    os._exit(0)  # the frames are written: a driver that crashes or hangs while it unloads does no harm
