"""What a command says when it has come to its end: what was reached, and where it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def when_done(workdir: str | os.PathLike | None) -> int | None:
    """Returns when the run in a directory was finished, in nanoseconds; None if it is not, or there is none."""
    path = Path(workdir).expanduser() / "DONE" if workdir else None
    return path.stat().st_mtime_ns if path is not None and path.is_file() else None


def sentence(result: object, workdir: str | os.PathLike, *, again: bool) -> str:
    """Says what a finished run has reached; "" if there is nothing to say.

    Args:
      result: what its command returned.
      again: it was finished before, and this command has done nothing.
    """
    reached = _reached(result if isinstance(result, Mapping) else {})
    if not reached and not again:
        return ""
    folder = Path(workdir).expanduser()
    place = next((name for name in (folder / "report.html", folder) if name.exists()), folder)
    begin = "Finished before, and nothing is done again (--fresh starts over)" if again else "Finished"
    return f"{begin}: {reached}{', ' if reached else ''}see {place}"


def _reached(result: Mapping) -> str:
    """Returns "return 812.3, 93.1 % of the expert, success 80 %", as far as it is known."""
    parts = []
    if isinstance(result.get("num_episodes"), int) and "num_updates" not in result:
        parts.append(f"{result['num_episodes']} episodes")
    if isinstance(result.get("return_mean"), int | float):
        parts.append(f"return {result['return_mean']:.1f}")
    for name, text in (("by_expert", "of the expert"), ("by_random_and_expert", "between random and expert")):
        if result.get(name) and not any("%" in part for part in parts):
            parts.append(f"{np.mean(result[name]):.1f} % {text}")
    if result.get("success_any"):
        rates = [rate for seed in result["success_any"] for rate in np.atleast_1d(seed)]
        parts.append(f"success {100 * np.mean(rates):.0f} %")
    if result.get("diverged"):
        seeds = result["diverged"]
        parts.append(f"{len(seeds)} seeds diverged" if isinstance(seeds, list) else "diverged")
    if isinstance(result.get("num_updates"), int) and not parts:
        parts.append(f"{result['num_updates']} updates")
    return ", ".join(parts)
