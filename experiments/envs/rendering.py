"""Headless OpenGL for MuJoCo, chosen by itself: EGL, else OSMesa, else none.

OpenGL is touched only when an image is asked for. A backend is first tried in a process of its own, because a
broken driver can hang or crash; what was found is left in the environment variables for child processes.

Published data are drawn with shadows and reflections. In software these take five sixths of the time
(results/rendering.md), so that they may be left out: the quality "fast". A model that was trained on images of one
quality should see no others, which is why the quality is part of every episode's metadata.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from experiments.envs.interface import Environment

BACKENDS = ("egl", "osmesa")
QUALITIES = ("published", "fast")
APT_PACKAGES = "libegl1 libgl1 libosmesa6"
PROBE_SECONDS = 60.0

_ADVICE = f"install both with: apt-get install -y {APT_PACKAGES}"

_PROBED = "EXPERIMENTS_GL_PROBED"  # "MUJOCO_GL:backend", what this or a parent process found
_OFF = ("disable", "disabled", "off", "false", "0", "none")
_PROBE = """
import mujoco
from experiments.envs import rendering
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
image = rendering.Renderer(model, 32, 32, backend={backend!r}).render(data, -1)
assert image.max() > 50, "the image is black"
"""


class RenderingError(RuntimeError):
    """Images were asked for where OpenGL does not work."""


@contextlib.contextmanager
def imported_without_gl() -> Iterator[None]:
    """Imports of mujoco and dm_control inside this context do not load OpenGL, whatever MUJOCO_GL says."""
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = before


def find_backend() -> str | None:
    """Returns the OpenGL backend that works here, "egl" or "osmesa", or None.

    MUJOCO_GL restricts the choice (and "disable" means None); what needs a display is said not to be used. The first
    call of a process tree takes a second or so; a probe that does not answer within `PROBE_SECONDS` counts as failed.
    """
    wished = os.environ.get("MUJOCO_GL", "").lower().strip()
    wish_probed, _, found = os.environ.get(_PROBED, "?").partition(":")
    if wish_probed != wished:
        candidates = () if wished in _OFF else (wished,) if wished in BACKENDS else BACKENDS
        found = next((backend for backend in candidates if probe(backend) is None), "")
        os.environ[_PROBED] = f"{wished}:{found}"
        if found and wished and wished != found:
            print(f"MUJOCO_GL={wished!r} draws nothing without a display; {found} does.", file=sys.stderr)
    return found or None


def probe(backend: str, timeout: float = PROBE_SECONDS) -> str | None:
    """Draws one image in a process of its own; returns None if that works, else the reason in a few words."""
    environment = os.environ | {"MUJOCO_GL": "disable", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYOPENGL_PLATFORM", None)
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE.format(backend=backend)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no image within {timeout:.0f} s"
    if result.returncode == 0:
        return None
    lines = result.stderr.strip().splitlines()
    if result.returncode < 0 or not lines:
        return f"the process died (exit code {result.returncode})"
    return lines[-1]


def require_rendering() -> str:
    """Returns the backend, or raises RenderingError with what is set, what works and what to install."""
    backend = find_backend()
    if backend is not None:
        return backend
    wished = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wished in _OFF:
        raise RenderingError(f"Images cannot be rendered because MUJOCO_GL={wished!r} says so; unset it.")
    if wished not in BACKENDS:
        raise RenderingError(
            f"Images cannot be rendered because neither EGL nor OSMesa works here; {_ADVICE}"
        )
    (other,) = (backend for backend in BACKENDS if backend != wished)
    raise RenderingError(
        f"Images cannot be rendered because MUJOCO_GL={wished!r} is set, which does not work here ({probe(wished)}); "
        + (f"{other} does: unset MUJOCO_GL." if probe(other) is None else f"neither does {other}; {_ADVICE}")
    )


def fall_back(reason: str) -> bool:
    """After a failure of EGL: lets this process and those it starts from now on draw with OSMesa, and says so.

    Args:
      reason: what happened, for the message on stderr.

    Returns:
      False, and nothing changes, where MUJOCO_GL names a backend, EGL is not in use or OSMesa does not work.
    """
    wished = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wished or find_backend() != "egl" or probe("osmesa") is not None:
        return False
    os.environ[_PROBED] = f"{wished}:osmesa"
    print(f"Rendering with EGL failed ({reason}); OSMesa draws from now on, in software.", file=sys.stderr)
    return True


def checked_quality(quality: str) -> str:
    """Returns the quality, or raises ValueError if it is unknown."""
    if quality not in QUALITIES:
        raise ValueError(f"Unknown render_quality {quality!r}. Known: {', '.join(QUALITIES)}.")
    return quality


def describe(size: tuple[int, int], camera: int | str | None, quality: str) -> dict[str, Any]:
    """Returns the metadata on an episode's images; the camera None is the published one."""
    return {"size": list(size), "camera": camera, "quality": quality, "backend": find_backend()}


class Renderer:
    """Draws MuJoCo states of one model at one size.

    To be used from the thread that made it; several renderers may live in one process.
    """

    def __init__(
        self,
        model: Any,
        height: int,
        width: int,
        *,
        backend: str | None = None,
        quality: str = "published",
    ):
        """Makes an OpenGL context; raises RenderingError if there is none.

        Args:
          model: a mujoco.MjModel.
          height, width: pixels.
          backend: "egl" or "osmesa"; None means `find_backend()`.
          quality: "published", or "fast" without shadows and reflections.
        """
        import mujoco

        self._mujoco, self._model = mujoco, model
        self._gl = _make_context(backend or require_rendering(), height, width)
        self._gl.make_current()
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._terrain = model.hfield_data.copy()
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        if checked_quality(quality) == "fast":
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._scene.flags[flag.value] = False
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = False  # as dm_control draws
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._close = weakref.finalize(self, _free, self._gl, self._context)
        atexit.register(self._close)  # registered after the driver's own, so called before it

    def render(self, data: Any, camera: int | str) -> np.ndarray:
        """Returns uint8 [height, width, 3], the first row at the top.

        Args:
          data: a mujoco.MjData of the model.
          camera: index or name of a camera of the model; -1 is the free camera.
        """
        mujoco = self._mujoco
        self._gl.make_current()
        self._point_camera(camera)
        self._upload_terrain()
        categories = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, categories, self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        image = np.empty((self._rectangle.height, self._rectangle.width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, self._rectangle, self._context)
        return np.ascontiguousarray(image[::-1])

    def upload_texture(self, index: int) -> None:
        """Tells OpenGL about a texture of the model that has changed."""
        self._gl.make_current()
        self._mujoco.mjr_uploadTexture(self._model, self._context, index)

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._close()

    def _upload_terrain(self) -> None:
        """Tells OpenGL about terrain that was drawn anew."""
        if not np.array_equal(self._terrain, self._model.hfield_data):
            self._terrain = self._model.hfield_data.copy()
            for index in range(self._model.nhfield):
                self._mujoco.mjr_uploadHField(self._model, self._context, index)

    def _point_camera(self, camera: int | str) -> None:
        """Selects a camera of the model by index or name."""
        mujoco = self._mujoco
        index: Any = camera
        if isinstance(camera, str):
            index = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA.value, camera)
            index = self._model.ncam if index < 0 else index
        if not -1 <= index < self._model.ncam:
            names = [self._model.camera(i).name or str(i) for i in range(self._model.ncam)]
            raise ValueError(
                f"Unknown camera {camera!r}. Known: {', '.join(names)}, or their indices, or -1 (free)."
            )
        if index == -1:
            self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE.value
            mujoco.mjv_defaultFreeCamera(self._model, self._camera)
        else:
            self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED.value, index


def render_states(
    environment: Environment,
    states: Iterable[np.ndarray],
    height: int = 64,
    width: int = 64,
    camera: int | str | None = None,
) -> np.ndarray:
    """Draws stored physics states [T, P] of an episode as frames, uint8 [T, height, width, 3]."""
    frames = []
    for state in states:
        environment.set_physics_state(state)
        frames.append(environment.render(height, width, camera))
    if not frames:
        raise ValueError("render_states was given no states; an episode has at least its first.")
    return np.stack(frames)


def played_again(
    environment: Any,
    seed: int,
    actions: np.ndarray,
    rewards: np.ndarray | None,
    height: int,
    width: int,
    camera: int | str | None = None,
) -> Iterator[np.ndarray]:
    """Plays an episode again and yields a picture of each record, uint8 [height, width, 3].

    An environment that does not draw itself is shown by its sensor `image`, where it has one.

    Args:
      seed, actions, rewards: of the episode: [T, A] and [T], as in its records; row 0 led to the first.

    Raises:
      ValueError: it earns other rewards than before, or there is nothing to see.
    """
    record = environment.reset(seed)
    for t, action in enumerate(actions):
        ended = t > 0 and record["is_last"]
        if t and not ended:
            record = environment.step(action)
        if ended or (rewards is not None and not np.isclose(record["reward"], rewards[t], 1e-3, 1e-5)):
            raise ValueError(
                f"{environment.name!r} plays an episode differently when it is repeated; draw all that is random from "
                "what reset(seed) seeds."
            )
        own = record.get("image") if not getattr(environment, "draws", False) else None
        yield environment.render(height, width, camera) if own is None else resized(own, height, width)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns a picture [y, x, 3] at another size, each pixel that of its nearest neighbour."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return np.ascontiguousarray(image[rows][:, columns])


def _make_context(backend: str, height: int, width: int) -> Any:
    """Makes an OpenGL context of a backend."""
    os.environ["PYOPENGL_PLATFORM"] = backend
    try:
        if backend == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        return GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise RenderingError(f"The OpenGL backend {backend!r} does not work ({error}); {_ADVICE}") from error


def _free(gl: Any, context: Any) -> None:
    """Frees the MuJoCo and the OpenGL context, in this order, also when the interpreter ends."""
    with contextlib.suppress(Exception):  # the driver may already be gone
        gl.make_current()
        context.free()
        gl.free()
