"""What imitation depends on: finished runs compared by data, model size and updates.

    python -m experiments curves runs/a runs/b --config.demonstrations=DIR --workdir=DIR

Reads what each run was given from its config and that of its world model, and writes `runs.{csv,md,tex}`, `scores.csv`
with a row per run and seed, and one figure for every setting in which runs differ that share all others. The
demonstrations with their true actions serve the analysis: how far inferred actions are from them, and whether the model
finds them more or less likely.

With `--config.metric=NAME` it draws any metric of any runs instead; see `experiments.analysis.metric_curves`.
"""

from __future__ import annotations

import pathlib

import jax
import numpy as np

from aime.analysis import action_evidence
from experiments.analysis import figures, metric_curves
from experiments.analysis.labels import AIME
from experiments.data.evaluation import Scores, by_expert
from experiments.drawing import style
from experiments.drawing.table import Table, to_csv
from experiments.models.loading import load_run
from experiments.runs.paths import folders_of
from experiments.runs.settings import read_config, read_json
from worldmodels.data.dataset import SequenceDataset, sample
from worldmodels.data.episodes import episode_paths, load_episodes
from worldmodels.files import write_atomically
from worldmodels.training import select_seed

SETTINGS = {
    "episodes": "episodes of embodiment data",
    "units": "units of the world model",
    "model_updates": "updates of the world model",
    "demonstrations": "demonstrations",
    "policy_updates": "updates of the policy",
}
ANALYSIS = ("evidence_true", "evidence_inferred", "action_mse")


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Writes the table and the figures.

    Returns:
      {"rows": one dict per run, "figures": paths}.
    """
    workdir = pathlib.Path(workdir).expanduser()
    if config.runs and config.metric:
        return metric_curves.write(config.runs, config.metric, config.clock, config.title, workdir)
    if not config.runs or not config.demonstrations:
        raise ValueError(
            "Name finished runs of `imitate`, and demonstrations with actions with --config.demonstrations=DIR; or any "
            "runs with --config.metric=NAME."
        )
    rows = [row_of(path, config) for path in config.runs]
    table = runs_table(rows)
    table.write(workdir / "runs")
    write_atomically(workdir / "scores.csv", to_csv(seed_rows(rows)))
    print(table.markdown())
    paths = [draw(config.title, rows, setting, workdir) for setting in SETTINGS]
    return {"rows": rows, "figures": [str(path) for path in paths if path]}


def row_of(path: str, config) -> dict:
    """Returns what a run was given and what it reached; scores and analysis are lists over seeds."""
    run_config = read_config(pathlib.Path(path))
    done = pathlib.Path(path) / "DONE"
    if not done.is_file():
        raise ValueError(f"{path} is not finished; run its command again.")
    scores = Scores.of_row(read_json(done))
    if not scores.expert or scores.expert <= 0:
        raise ValueError(f"{path} has no % of expert to draw: its demonstrations record no return above 0.")
    model_config = read_config(pathlib.Path(run_config["model"]))
    num_episodes = model_config["num_episodes"] or count_episodes(model_config["embodiment"])
    num_demonstrations = run_config["num_demonstrations"] or count_episodes(run_config["demonstrations"])
    return {
        "run": pathlib.Path(path).name,
        "episodes": num_episodes,
        "units": model_config["world_model"]["rssm"]["deter_size"],
        "model_updates": model_config["num_updates"],
        "demonstrations": num_demonstrations,
        "policy_updates": run_config["num_updates"],
        "by_expert": by_expert(scores.by_seed, scores.expert).tolist(),
        **analysis(path, config),
    }


def seed_rows(rows: list[dict]) -> list[dict]:
    """Returns a row per run and seed."""
    lists = ("by_expert", *ANALYSIS)
    return [
        {name: row[name] for name in ("run", *SETTINGS)}
        | {"seed": seed}
        | {name: row[name][seed] for name in lists}
        for row in rows
        for seed in range(len(row["by_expert"]))
    ]


def count_episodes(source: str) -> int:
    """Counts the episodes of the folders that a config names."""
    return sum(len(episode_paths(folder)) for folder in folders_of(source))


def analysis(path: str, config) -> dict[str, list[float]]:
    """Computes {name: one value per seed} of `action_evidence` on windows of the demonstrations."""
    loaded = load_run(path)
    first_action = loaded.config["loss"]["first_action"]
    episodes = load_episodes(folders_of(config.demonstrations))
    sensors = [name for name in loaded.world_models.inputs]
    data = SequenceDataset.create(episodes, length=loaded.config["length"], sensors=sensors)
    batch = sample(data, jax.random.key(config.seed), config.batch_size)
    key = jax.random.key(config.seed + 1)
    evidence = jax.jit(
        lambda model, policy: action_evidence(model, policy, batch, key, first_action=first_action)
    )
    seeds = [
        evidence(select_seed(loaded.world_models, i), select_seed(loaded.policies, i))
        for i in range(loaded.models.num_seeds or 1)
    ]
    num_seeds = loaded.num_seeds or 1
    values = {name: np.reshape([seed[name] for seed in seeds], (num_seeds, -1)) for name in ANALYSIS}
    return {name: value.mean(axis=1).tolist() for name, value in values.items()}  # of an ensemble the mean


def curves_over(rows: list[dict], setting: str) -> dict[tuple, list[dict]]:
    """Groups runs that differ in `setting` alone: {their other settings: runs by setting}."""
    others = [name for name in SETTINGS if name != setting]
    groups: dict[tuple, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row[setting]):
        groups.setdefault(tuple(row[name] for name in others), []).append(row)
    return {key: group for key, group in groups.items() if len({row[setting] for row in group}) > 1}


def draw(title: str, rows: list[dict], setting: str, workdir: pathlib.Path) -> pathlib.Path | None:
    """Draws the figure of one setting; returns its path, or None if no runs differ in it alone."""
    groups = curves_over(rows, setting)
    if not groups:
        return None
    others = [name for name in SETTINGS if name != setting]
    series = {}
    for key, group in groups.items():
        differing = [i for i in range(len(others)) if len({other[i] for other in groups}) > 1]
        label = ", ".join(f"{key[i]} {others[i].replace('_', ' ')}" for i in differing)
        series[f"{AIME}, {label}" if label else AIME] = figures.Points(
            x=[row[setting] for row in group], seeds=[row["by_expert"] for row in group]
        )
    figure = figures.score_curve(series, x_label=SETTINGS[setting], title=title)
    path = workdir / f"score_by_{setting}"
    style.save_figure(figure, path)
    return path


def runs_table(rows: list[dict]) -> Table:
    """Builds a row per run: means over seeds for readers, every seed in the CSV."""
    headings = ["Run", *(name.replace("_", " ") for name in SETTINGS), "% of expert", "by seed"]
    headings += ["evidence, true actions", "evidence, inferred", "action MSE"]
    texts = []
    for row in rows:
        seeds = " ".join(f"{value:.0f}" for value in row["by_expert"])
        cells = [str(row[name]) for name in ("run", *SETTINGS)] + [f"{np.mean(row['by_expert']):.1f}", seeds]
        texts.append(cells + [f"{np.mean(row[name]):.3g}" for name in ANALYSIS])
    caption = "Evidence in nats per record of the demonstrations, higher is more likely; means over seeds."
    return Table(headings, texts, caption, numbers=rows)
