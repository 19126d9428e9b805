"""Where the numbers of a run are shown while it goes: TensorBoard, Weights & Biases, or a place of the user's own."""

from __future__ import annotations

import logging
import math
import os
import pathlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.runs.settings import flatten, read_json, write_json
from worldmodels.registry import Registry

Values = Mapping[str, float | list[float]]  # {slash-grouped name: a number, or one of each seed}


class MetricsError(ValueError):
    """Metrics cannot be written, or are not finite."""


class Logger:
    """A place that shows a run; `--config.logger=my.module:Name` names a subclass of one's own.

    Args:
      run: directory of the run.
      config: of the run.
      start: clocks of the checkpoint that the run continues from, {"update": n, ...}; all 0 where nothing was restored.
    """

    def __init__(self, run: pathlib.Path, config: Mapping[str, Any], start: Mapping[str, int]):
        self.run, self.config, self.start = run, config, start
        self.num_seeds = config.get("num_seeds", 1)

    @classmethod
    def check(cls) -> None:
        """Raises a ValueError if something is missing, before any work is done."""

    def write(self, values: Values, clocks: Mapping[str, int]) -> None:
        """Shows a row of metrics or of an evaluation at its clocks."""
        raise NotImplementedError

    def finish(self, values: Values) -> None:
        """Shows the scores of a run that is done."""

    def close(self) -> None:
        """Closes what is open; may be called twice, also of a run that is not done."""


class TensorBoard(Logger):
    """Events in `tensorboard/`: means over seeds, and in `seed_0/`, ... below it those of each, all in one plot.

    The config of a finished run and its scores are a row of the tab HParams.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._boards: dict[str, Any] = {}
        self._step = axis(self.start)

    def write(self, values: Values, clocks: Mapping[str, int]) -> None:
        """Adds scalars; see `axis` for their step."""
        self._step = axis(clocks)
        for name, value in values.items():
            seeds = value if isinstance(value, list) else []
            self._board().add_scalar(name, finite_mean(seeds) if seeds else value, self._step)
            for seed, each in enumerate(seeds):
                self._board(f"seed_{seed}").add_scalar(name, each, self._step)

    def picture(self, name: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
        """Adds an encoded picture, PNG or GIF, of a height and a width."""
        from tensorboardX.proto.summary_pb2 import Summary

        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=encoded)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._board()._get_file_writer().add_summary(summary, int(step))

    def finish(self, values: Values) -> None:
        """Adds the scores, and the row of the tab HParams."""
        from tensorboardX.summary import hparams

        scores = {f"final/{name}": value for name, value in values.items()}
        self.write(scores, {"update": self._step, "episode": 0})
        for summary in hparams(_settings(self.config), scores):
            self._board()._get_file_writer().add_summary(summary)

    def close(self) -> None:
        """Closes the files."""
        for board in self._boards.values():
            board.close()
        self._boards = {}

    def _board(self, folder: str = ""):
        """Returns the writer of a folder, made at first use: it starts a thread and a file."""
        if folder not in self._boards:
            import tensorboardX

            # It warns of every value that is not finite, and not of which; `check_finite` says that.
            logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
            # Rows past the checkpoint, written by the run that is continued, are hidden by `purge_step`.
            start = axis(self.start)
            path = self.run / "tensorboard" / folder
            purge = start + 1 if start else 0
            try:
                board = tensorboardX.SummaryWriter(str(path), purge_step=purge, flush_secs=10)
            except OSError as error:
                raise disk_error(self.run, error) from error
            self._boards[folder] = board
        return self._boards[folder]


class WandB(Logger):
    """Weights & Biases: each seed is a run there, in the group of our run, which goes on when ours is continued.

    Project, entity and mode are as its own variables say: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        import wandb

        known = self.run / "wandb" / "ids.json"
        if not known.is_file():
            write_json(known, {"ids": [uuid.uuid4().hex[:8] for _ in range(self.num_seeds)]})
        # A member of a run that plays is in `seeds/0`, ... of it.
        home = self.run.parents[1] if self.run.parent.name == "seeds" else self.run
        self._runs, self._done = [], False
        for number, name in enumerate(read_json(known)["ids"]):
            settings = _settings(self.config) | {"seed": self.config.get("seed", 0) + number}
            shown: Any = dict(group=home.name, name=f"{home.name}, seed {settings['seed']}", config=settings)
            place = dict(project=os.environ.get("WANDB_PROJECT", "aime"), dir=self.run, id=name)
            # Without a network it would try for 90 seconds.
            quiet = wandb.Settings(console="off", silent=number > 0, init_timeout=30)
            again: Any = dict(resume="allow", allow_val_change=True, reinit="create_new", settings=quiet)
            try:
                self._runs.append(wandb.init(**shown, **place, **again))
            except wandb.errors.Error as error:
                reason = str(error).strip().partition("\n")[0].rstrip(".")
                raise MetricsError(
                    f"Weights & Biases does not begin: {reason}. Log in with `wandb login`, or set WANDB_MODE=offline, "
                    "and send the run later with `wandb sync`."
                ) from error
            self._runs[-1].define_metric("*", step_metric="update")

    @classmethod
    def check(cls) -> None:
        """Raises a ValueError without the package."""
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise MetricsError(
                "logger=wandb needs a package that is missing: pip install wandb, or leave the logger out."
            ) from error

    def write(self, values: Values, clocks: Mapping[str, int]) -> None:
        """Logs a row; one that was sent before the run was stopped is not sent again."""
        step = clocks["update"] + clocks["episode"]
        for number, run in enumerate(self._runs):
            if step >= run.starting_step:
                own = {name: v[number] if isinstance(v, list) else v for name, v in values.items()}
                run.log({**own, **clocks}, step=step)

    def finish(self, values: Values) -> None:
        """Puts scores into the summary, and sends videos."""
        import wandb

        self._done = True
        for number, run in enumerate(self._runs):
            own = {name: v[number] if isinstance(v, list) else v for name, v in values.items()}
            run.summary.update({f"final/{name}": value for name, value in own.items()})
        for path in sorted((self.run / "videos").glob("*.mp4")):
            self._runs[0].log({f"videos/{path.stem}": wandb.Video(str(path), format="mp4")})

    def close(self) -> None:
        """Ends the runs there; one that is not done is marked so."""
        while self._runs:
            self._runs.pop().finish(exit_code=0 if self._done else 1)


LOGGERS = Registry("logger", {"tensorboard": TensorBoard, "wandb": WandB}, base=Logger)


def chosen(config: Mapping[str, Any]) -> list[type[Logger]]:
    """Returns TensorBoard and the loggers that a config names, `logger="wandb,my.module:Name"`.

    Raises:
      ValueError: one is not known, or lacks what it needs.
    """
    names = [name.strip() for name in (config.get("logger") or "").split(",")]
    found = [LOGGERS.choose(name) for name in dict.fromkeys(("tensorboard", *filter(None, names)))]
    for logger in found:
        logger.check()
    return found


class Loggers:
    """All loggers of a run as one, opened with what they are first asked to show.

    Args:
      run, config: as of `Logger`; a config without `logger` has TensorBoard alone.
    """

    def __init__(self, run: pathlib.Path, config: Mapping[str, Any]):
        self._run, self._config, self._kinds = run, config, chosen(config)
        self._opened: list[Logger] = []

    def open(self, start: Mapping[str, int]) -> None:
        """Opens them, unless they are."""
        self._opened = self._opened or [kind(self._run, self._config, start) for kind in self._kinds]

    def write(self, row: Mapping[str, Any], clocks: Mapping[str, int]) -> None:
        """Shows the numbers of a row."""
        values = numbers(row, self._config.get("num_seeds", 1))
        for logger in self._opened:
            logger.write(values, clocks)

    def picture(self, *arguments) -> None:
        """Shows a picture where there is a place for it; see `TensorBoard.picture`."""
        tensorboard: Any = self._opened[0]
        tensorboard.picture(*arguments)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Shows the result of a run that has written metrics in this process."""
        for logger in self._opened:
            logger.finish(numbers(result, self._config.get("num_seeds", 1)))

    def close(self) -> None:
        """Closes them. May be called twice."""
        for logger in self._opened:
            logger.close()
        self._opened = []


def numbers(row: Mapping[str, Any], num_seeds: int) -> dict[str, float | list[float]]:
    """Returns what can be drawn of a row: of several seeds a list, of other lists, such as episodes, the mean."""
    found = {}
    for name, value in row.items():
        if num_seeds > 1 and isinstance(value, list) and len(value) == num_seeds:
            means = [_mean(each) for each in value]
            value = None if None in means else means
        else:
            value = _mean(value)
        if value is not None:
            found[name] = value
    return found


def axis(clocks: Mapping[str, Any]) -> int:
    """Returns the step at which TensorBoard shows a row: its update; before there are any, its episode."""
    return int(clocks.get("update", 0) or clocks.get("episode", 0))


def finite_mean(values: Iterable[float]) -> float:
    """Mean of the finite ones among numbers of several seeds; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def disk_error(path: pathlib.Path, error: OSError) -> MetricsError:
    """Returns the sentence on a file that cannot be written."""
    return MetricsError(
        f"Cannot write metrics to {path}: {error.strerror}. Check free disk space and permissions."
    )


def _mean(value: Any) -> float | None:
    """Returns a number, the mean of numbers in lists, or None if something else is among them."""
    if not isinstance(value, list):
        return value if isinstance(value, int | float) else None
    entries: list[Any] = [_mean(each) for each in value]
    return None if None in entries or not entries else finite_mean(entries)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config by dotted keys, lists as text."""
    return {
        key: " ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else value
        for key, value in flatten(config).items()
    }
