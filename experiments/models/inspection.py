"""Inspection of a world model: predictions and reconstructions of sequences as videos, figures and numbers in a run.

`write` leaves `figures/open_loop*.{png,pdf}`, `figures/evidence.{png,pdf}`, of images `videos/open_loop_<sensor>.mp4`
and `videos/reconstruction_<sensor>.mp4`, and `inspection.json`; all of it also in TensorBoard, the numbers under
`inspection/`. The arrays behind them come from `worldmodels.report`, for notebooks.
"""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from flax import struct

from experiments.drawing import rendered, style, video
from experiments.envs import registry
from experiments.runs.metrics import MetricsWriter
from experiments.runs.settings import write_json
from worldmodels import report
from worldmodels.structures import Array, SequenceBatch

MAX_WINDOWS = 16  # images of more fill the memory
SAMPLES = 6  # windows side by side in a video
TILE = 128  # pixels that a picture has at least
MAX_FPS = 10.0  # slower than the simulation, for the eye
RENDER_SIZE = 96
ROWS = ("truth", "model", "error")


class View(struct.PyTreeNode):
    """Results of `worldmodels.report` on a batch.

    Attributes:
      open_loop, reconstruction: (truth, prediction), each {sensor: [B, T, ...]}.
      evidence: [B, T] log-likelihoods and KL.
      probes: share of explained variance.
    """

    open_loop: report.Comparison
    reconstruction: report.Comparison
    evidence: report.Evidence
    probes: dict


@functools.partial(jax.jit, static_argnums=2)
def look(model, batch: SequenceBatch, context: int) -> View:
    """Computes all of `View` in one program, from one filter."""
    output = model.filter(batch)
    return View(
        open_loop=report.open_loop(model, batch, context, output),
        reconstruction=report.reconstruct(model, batch, output),
        evidence=report.evidence(model, batch, output),
        probes=report.probe_accuracy(model, batch, output),
    )


def write(
    folder: pathlib.Path,
    model,
    batch: SequenceBatch,
    *,
    env_name: str,
    metadata: Mapping,
    context: int,
    update: int,
    title: str,
    render_options: Mapping | None = None,
) -> dict:
    """Writes videos, figures and numbers into the directory of a run.

    Args:
      folder: of the run.
      model: one world model, not stacked.
      batch: SequenceBatch [B, T] with actions; only its first windows are used.
      env_name, metadata: of the episodes, for the time axis and for drawing.
      context: records that open-loop predictions see.
      update: at which TensorBoard shows it.
      title: of the figures; where the sequences come from, e.g. "on embodiment data".
      render_options: options of `registry.make`; where given, predicted vectors are drawn by the simulator if they
        determine its state (cheetah).

    Returns:
      The content of `inspection.json`.
    """
    batch = jax.tree.map(lambda x: x[:MAX_WINDOWS], batch)
    view = jax.device_get(look(model, batch, context))
    seconds = metadata.get("control_seconds")
    figures = draw_figures(model, view, context, seconds, title)
    films, why_not = image_films(view, context), {}
    if render_options is not None and not films:
        try:
            films = rendered_films(view, context, env_name, render_options)
        except (ValueError, ImportError) as error:
            why_not = {"why_not": str(error)}
    result = numbers(view, context)
    # Rows of the training stay: what is written here belongs to its last update.
    with MetricsWriter(folder, start={"update": update}) as writer:
        for name, figure in figures.items():
            png, _ = style.save_figure(figure, folder / "figures" / name)
            writer.write_image(name, video.read_png(png), update=update)
        for name, frames in films.items():
            fps = min(MAX_FPS, 1.0 / seconds if seconds else MAX_FPS)
            writer.write_video(name, frames, fps, update=update)
        writer.write_scalars(curves_of(result), update=update)
    result |= {"figures": sorted(figures), "videos": sorted(films)} | why_not
    write_json(folder / "inspection.json", result)
    return result


def numbers(view: View, context: int) -> dict:
    """Returns means over windows and records, JSON values."""
    truth, prediction = view.open_loop
    seen, reconstruction = view.reconstruction
    evidence = view.evidence

    def mse(x, y):
        return float(np.mean((np.asarray(x) - y) ** 2))

    return {
        "windows": len(evidence.kl),
        "length": int(evidence.kl.shape[1]),
        "context": context,
        "open_loop_mse": {n: mse(truth[n][:, context:], prediction[n][:, context:]) for n in truth},
        "reconstruction_mse": {n: mse(seen[n], reconstruction[n]) for n in seen},
        "elbo_per_record": float(np.mean(evidence.elbo)),
        "kl_per_record": float(np.mean(evidence.kl)),
        "log_prob_per_record": {name: float(np.mean(x)) for name, x in evidence.log_prob.items()},
        "probes_explained": {
            name: {kind: np.asarray(x).tolist() for kind, x in kinds.items()}
            for name, kinds in view.probes.items()
        },
    }


def curves_of(result: Mapping, prefix: str = "inspection") -> dict[str, float | list[float]]:
    """Flattens the result of `numbers` to {slash-grouped name: value}, without its settings."""
    curves: dict[str, float | list[float]] = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            curves |= curves_of(value, f"{prefix}/{name}")
        elif name not in ("windows", "length", "context"):
            curves[f"{prefix}/{name}"] = value
    return curves


def draw_figures(model, view: View, context: int, seconds: float | None, title: str) -> dict:
    """Draws {name: Figure}: predicted vectors, growth of the error of images, evidence."""
    from experiments.drawing import world_model  # matplotlib is slow to import

    truth, prediction = view.open_loop
    note = f"After {context} records the model predicts from actions alone."
    figures = {}
    # Where the model reads vectors these are shown, else what its probes make of images.
    names = [name for name in truth if name in model.inputs and not report.is_image(truth[name])]
    joined_truth, joined, labels = report.vectors(names or list(truth), view.open_loop)
    if labels:
        figures["open_loop"] = world_model.open_loop(
            joined_truth,
            joined,
            names=labels,
            title=f"Open-loop prediction {title}",
            note=note,
            context=context,
            seconds_per_step=seconds,
        )
    for name in truth:
        if report.is_image(truth[name]):
            figures[f"open_loop_error_{name}"] = world_model.error_growth(
                truth[name],
                prediction[name],
                title=f"Open-loop prediction of {name} {title}",
                note=note,
                context=context,
                seconds_per_step=seconds,
            )
    figures["evidence"] = world_model.evidence(
        view.evidence.log_prob,
        view.evidence.kl,
        seconds_per_step=seconds,
        title=f"Evidence {title}",
        note="Along the mode of the posterior. Constants of the Normal are left out; vectors count as the model has "
        "them, standardised if it does so.",
    )
    return figures


def image_films(view: View, context: int) -> dict[str, np.ndarray]:
    """Makes {name: video} of every image sensor."""
    films, (truth, foreseen), (seen, rebuilt) = {}, view.open_loop, view.reconstruction
    for name in truth:
        if report.is_image(truth[name]):
            films[f"open_loop_{name}"] = film(truth[name], foreseen[name], context)
            films[f"reconstruction_{name}"] = film(seen[name], rebuilt[name])
    return films


def film(truth: Array | np.ndarray, prediction: Array | np.ndarray, context: int | None = None) -> np.ndarray:
    """Makes a `comparison_video` [T, H, W, 3] uint8, enlarged, with names of the rows and a caption."""
    length = truth.shape[1]
    factor = max(1, -(-TILE // truth.shape[3]))
    truth, prediction = (
        values[:SAMPLES].repeat(factor, axis=2).repeat(factor, axis=3) for values in (truth, prediction)
    )
    frames = report.comparison_video(truth, prediction, context=context, border=3)
    shown = length if context is None else context
    captions = [
        f"record {t + 1} of {length}: " + ("seen" if t < shown else "foreseen from actions alone")
        for t in range(length)
    ]
    return video.labelled(video.with_row_names(frames, ROWS), captions, size=14)


def rendered_films(view: View, context: int, env_name: str, options: Mapping) -> dict[str, np.ndarray]:
    """Draws predicted vectors with the simulator, or raises a ValueError or an ImportError."""
    if not view.open_loop[0]:
        raise ValueError("The model predicts no sensors that could be drawn; pretrain with use_probes=True.")
    truth, prediction = ({name: part[name][:SAMPLES] for name in part} for part in view.open_loop)
    states = [
        physics_states(env_name, options, {name: values[i] for name, values in part.items()})
        for part in (truth, prediction)
        for i in range(len(view.evidence.kl[:SAMPLES]))
    ]
    drawn = rendered.render_clips(
        env_name,
        [rendered.Clip("", values) for values in states],
        height=RENDER_SIZE,
        width=RENDER_SIZE,
        seconds=None,
        max_fps=math.inf,
        env_options=options,
    )
    happened, foreseen = np.split(np.stack(drawn.columns).astype(np.float32) / 255.0, 2)
    return {"open_loop_rendered": film(happened, foreseen, context)}


def physics_states(
    env_name: str, options: Mapping, observation: Mapping[str, Array | np.ndarray]
) -> np.ndarray:
    """Returns the physics states [T, P] that predicted sensors {name: [T, d]} determine, or raises a ValueError."""
    environment = registry.make(env_name, **options)
    try:
        set_state = getattr(environment, "set_state_from_observation", None)
        if set_state is None:
            raise ValueError(f"{env_name} has no set_state_from_observation, which draws predicted sensors.")
        environment.reset(seed=0)
        states = []
        for t in range(len(next(iter(observation.values())))):
            set_state({name: values[t] for name, values in observation.items()})
            state = environment.physics_state()
            if state is None:
                raise ValueError(f"{env_name} has no physics states, by which predicted sensors are drawn.")
            states.append(state)
        return np.stack(states)
    finally:
        environment.close()
