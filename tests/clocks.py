"""What the clocks of metrics and evaluations mean, in every main."""

import itertools
import pathlib

from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import episode_paths, read_episode

CLOCKS = ("update", "episode", "agent_step", "env_step")


def assert_clocks(workdir: pathlib.Path, updates: int) -> None:
    """Checks the rows of a finished run against its episodes on disk and the number of updates that it made.

    Rows have all four clocks, which never run backwards. At a row, `episode` episodes have been played; `agent_step` is
    the number of actions in them, `env_step` that of simulator steps; the last `update` is the number of gradient
    updates, whatever the main does in rounds, epochs or episodes.
    """
    paths = episode_paths(workdir / "episodes") if (workdir / "episodes").is_dir() else []
    episodes = [read_episode(path, ()) for path in paths]
    for name in ("metrics", "eval"):
        rows = [[row[clock] for clock in CLOCKS] for row in read_rows(workdir / f"{name}.jsonl")]
        for before, after in itertools.pairwise(rows):
            assert all(count >= earlier for count, earlier in zip(after, before, strict=True))
        for _, episode, agent_step, env_step in rows:
            played = episodes[:episode]
            assert agent_step == sum(one.length for one in played)
            assert env_step == sum(one.length * one.metadata["action_repeat"] for one in played)
        if name == "metrics":
            assert rows[-1][:2] == [updates, len(episodes)]
