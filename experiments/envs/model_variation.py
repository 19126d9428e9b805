"""The factors of `variation` in a model of MuJoCo, whose arrays are changed in place before an episode begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# What a factor changes.
_ARRAYS = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction"),
    "length": (
        *("body_pos", "body_ipos", "body_inertia", "jnt_pos", "site_pos", "site_size"),
        *("geom_pos", "geom_size", "geom_rbound", "geom_aabb"),
    ),
    "light": ("light_ambient", "light_diffuse", "light_specular"),
    "camera": ("cam_pos", "cam_quat"),
    "colours": ("mat_rgba", "geom_rgba"),
}
_DERIVED = ("mass", "length", "camera")  # change what MuJoCo computes of a model beforehand
_SPEED = 1  # cells that the noise of the background moves in a simulator step
_CELL = 32  # its pixels


class ModelVariation:
    """Draws anew what varies in one model.

    Args:
      name: of the environment, for messages.
      model, data: of the package mujoco.
      amounts: {factor: amount}.

    Raises:
      ValueError: the model has no such factor.
    """

    def __init__(self, name: str, model: Any, data: Any, amounts: Mapping[str, float]):
        self._model, self._data, self._amounts = model, data, dict(amounts)
        touched = {array for factor in amounts for array in _ARRAYS.get(factor, ())}
        self._built = {array: getattr(model, array).copy() for array in sorted(touched)}
        self._headlight = [part.copy() for part in self._headlights()]
        self._moving = model.body_weldid > 0
        self._sky = _sky(model, 1.0 - amounts["background"]) if "background" in amounts else None
        self._noise: np.ndarray = np.zeros((0, 0, 0))
        if "length" in amounts and _has_meshes(model, self._moving):
            raise ValueError(f"The length of {name!r} cannot vary: its body is made of meshes.")
        if "background" in amounts and self._sky is None:
            raise ValueError(f"The background of {name!r} cannot vary: it has no sky.")

    def apply(self, factors: Mapping[str, Any]) -> None:
        """Gives the model the factors of an episode; its data must be reset afterwards."""
        model = self._model
        for array, values in self._built.items():
            getattr(model, array)[...] = values
        for factor, value in factors.items():
            getattr(self, f"_{factor}")(value)
        if any(factor in _DERIVED for factor in factors):
            self._compute_constants()

    def draw_background(self, step: int) -> int | None:
        """Puts the noise of a simulator step into the sky; returns the texture to upload, or None."""
        if self._sky is None:
            return None
        texture, view, faded = self._sky
        noise = np.roll(self._noise, _SPEED * step, axis=1).repeat(_CELL, axis=1)[:, : view.shape[1]]
        # Row by row what lies between fits the processor's cache, which takes half of the time.
        for number, cells in enumerate(noise):
            rows = slice(number * _CELL, (number + 1) * _CELL)
            view[rows] = faded[rows] + cells
        return texture

    def _mass(self, scale: float) -> None:
        self._model.body_mass *= scale
        self._model.body_inertia *= scale

    def _friction(self, scale: float) -> None:
        self._model.geom_friction *= scale
        self._model.pair_friction *= scale

    def _length(self, scale: float) -> None:
        model, moving = self._model, self._moving
        model.body_inertia[moving] *= scale**2
        of_body = {
            "body": moving,
            "geom": moving[model.geom_bodyid],
            "jnt": moving[model.jnt_bodyid],
            "site": moving[model.site_bodyid],
        }
        for array in _ARRAYS["length"]:
            if array != "body_inertia":
                getattr(model, array)[of_body[array.partition("_")[0]]] *= scale

    def _light(self, scale: float) -> None:
        for array in _ARRAYS["light"]:
            getattr(self._model, array)[...] *= scale
        for part, built in zip(self._headlights(), self._headlight, strict=True):
            part[...] = scale * built

    def _camera(self, value: Mapping[str, Any]) -> None:
        import mujoco

        model, turned = self._model, np.asarray(value["turned"])
        model.cam_pos += np.linalg.norm(model.cam_pos, axis=1, keepdims=True) * np.asarray(value["moved"])
        angle = np.linalg.norm(turned)
        turn, result = np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, turned / max(angle, 1e-12), angle)
        for quaternion in model.cam_quat:
            mujoco.mju_mulQuat(result, quaternion, turn)
            quaternion[...] = result

    def _colours(self, seed: int) -> None:
        random, amount = np.random.default_rng(seed), self._amounts["colours"]
        for array in _ARRAYS["colours"]:
            colours = getattr(self._model, array)[:, :3]
            colours[...] = (1.0 - amount) * colours + amount * random.uniform(size=colours.shape)

    def _background(self, seed: int) -> None:
        assert self._sky is not None, "checked when it was made"
        shape = self._sky[1].shape
        cells = (-(-shape[0] // _CELL), -(-shape[1] // _CELL), shape[2])
        self._noise = self._amounts["background"] * np.random.default_rng(seed).integers(0, 256, cells)

    def _compute_constants(self) -> None:
        """Lets MuJoCo derive what depends on masses and places; what files set of their own stays."""
        import mujoco

        model = self._model
        kept = {name: np.copy(getattr(model.stat, name)) for name in ("extent", "center", "meansize")}
        equalities = model.eq_data.copy()
        mujoco.mj_setConst(model, self._data)
        model.eq_data[...] = equalities
        for name, value in kept.items():
            setattr(model.stat, name, value if value.ndim else float(value))

    def _headlights(self) -> list[np.ndarray]:
        light = self._model.vis.headlight
        return [light.ambient, light.diffuse, light.specular]


def _has_meshes(model: Any, moving: np.ndarray) -> bool:
    import mujoco

    mesh = mujoco.mjtGeom.mjGEOM_MESH.value
    return bool((model.geom_type[moving[model.geom_bodyid]] == mesh).any())


def _sky(model: Any, share: float) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Returns the number of the sky's texture, a view of its pixels [y, x, channel], and a share of their values."""
    import mujoco

    for index in np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX.value):
        shape = [int(size[index]) for size in (model.tex_height, model.tex_width, model.tex_nchannel)]
        start = int(model.tex_adr[index])
        view = model.tex_data[start : start + int(np.prod(shape))].reshape(shape)
        return int(index), view, share * view.astype(np.float64)
    return None
