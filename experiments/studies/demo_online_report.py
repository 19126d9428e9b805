"""The report of the online job: table and curves of success, video and page, from what the stages left on disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.loop import collect_episodes, episode_summary
from experiments.data.scripted import environments_of
from experiments.drawing import rendered
from experiments.envs.vector import make_vector
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import load_episodes
from worldmodels.files import write_atomically

SUCCESSES = {"success_any": "Any step", "success_final": "Last step", "success_held": "Held (>3 records)"}
AIME = "AIME (offline)"
SECONDS = 10.0  # of the video


def write(config, workdir: Path, results: Mapping[str, dict], seconds: Mapping[str, float]) -> dict:
    """Writes table.csv, table.md, the figure, the video and report.html into `workdir`.

    Returns:
      {"table": Markdown, "success": {method: mean over seeds and episodes, at any step}, "seconds": ...}.
    """
    from experiments.analysis import figures, page
    from experiments.drawing import style  # matplotlib is slow to import

    rows = method_rows(config, workdir, results)
    table = markdown(rows)
    write_atomically(workdir / "table.md", f"{table}\n{caption(config)}\n")
    write_atomically(workdir / "table.csv", as_csv(rows))
    curve = figures.learning_curves(
        learning_curves(config, workdir, rows),
        title="Success while learning in the environment",
        x_label="Environment steps",
        y_label="Episodes with success, %",
        references={"Demonstrations": 100.0},
        note=caption(config),
        bands=False,
    )
    style.save_figure(curve, workdir / "figures" / "success")
    clip, why_not = side_by_side(config, workdir, rows) if config.video else (None, "Switched off.")
    sections = page_sections(page, workdir, rows, config, clip, why_not, seconds)
    page.write_report(workdir / "report.html", title=config.title, lead=lead(config), sections=sections)
    success = {row["Method"]: row["success_any"] for row in rows}
    return {"table": table, "success": success, "seconds": dict(seconds)}


def method_rows(config, workdir: Path, results: Mapping[str, dict]) -> list[dict]:
    """One row per method: mean and spread over seeds of the final evaluations; first what there was to learn from."""
    rows = [data_row(f"Embodiment data ({config.body.tasks})", workdir / "embodiment" / "episodes")]
    names = {**{name: label for name, label in config.labels.items()}, "aime": AIME}
    for stage, label in sorted(names.items(), key=lambda item: item[0] != "aime"):
        finals = [results[f"{stage}-{seed}"] for seed in range(config.num_seeds)]
        row = {"Method": label, "stage": stage, "Environment steps": env_steps(workdir / f"{stage}-0")}
        for name in SUCCESSES:
            by_seed = [float(np.mean(final[name])) for final in finals]
            row[name], row[f"{name}_by_seed"] = float(np.mean(by_seed)), by_seed
        row["Return"] = float(np.mean([np.mean(final["return"]) for final in finals]))
        row["Seeds"], row["Episodes"] = len(finals), int(np.size(finals[0]["return"]))
        rows.append(row)
    rows.append(data_row("Demonstrations", workdir / "demonstrations" / "episodes"))
    return rows


def data_row(label: str, folder: Path) -> dict:
    """The row of a dataset; success in it is that of its own tasks."""
    summaries = [episode_summary(episode) for episode in load_episodes(folder, keys=())]
    row = {"Method": label, "stage": "", "Environment steps": 0}
    for name in SUCCESSES:
        row[name] = float(np.mean([summary[name] for summary in summaries]))
        row[f"{name}_by_seed"] = [row[name]]
    returns = float(np.mean([summary["return"] for summary in summaries]))
    return row | {"Return": returns, "Seeds": 1, "Episodes": len(summaries)}


def env_steps(run: Path) -> int:
    """Environment steps of a run; 0 of one that never learnt there."""
    return max((row.get("env_step", 0) for row in read_rows(run / "metrics.jsonl")), default=0)


def markdown(rows: list[dict]) -> str:
    """The readers' table."""
    headings = ["Method", "Environment steps", *SUCCESSES.values(), "Return", "Seeds", "Episodes"]
    lines = [headings, ["-" if i == 0 else "-:" for i in range(len(headings))]]
    lines += [cells(row) for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(row: dict) -> list[str]:
    """One row as text; success in %, lowest and highest seed in brackets where there are several."""
    shown = [row["Method"], f"{row['Environment steps']:,}" if row["Environment steps"] else "–"]
    for name in SUCCESSES:
        text, seeds = f"{100 * row[name]:.0f}%", row[f"{name}_by_seed"]
        shown.append(text if len(seeds) == 1 else f"{text} ({100 * min(seeds):.0f}–{100 * max(seeds):.0f})")
    return [*shown, f"{row['Return']:.0f}", str(row["Seeds"]), str(row["Episodes"])]


def as_csv(rows: list[dict]) -> str:
    """All numbers, unrounded."""
    names = ["Method", "Environment steps", *SUCCESSES, "Return", "Seeds", "Episodes"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return buffer.getvalue()


def learning_curves(config, workdir: Path, rows: list[dict]) -> dict:
    """Success at any step, in %, against environment steps; offline AIME is a level line.

    Variants of AIME-v2 go by their rewards alone, so that each has a colour of its own.
    """
    from experiments.analysis.figures import Curve

    curves, last = {}, 1
    for row in rows:
        if not row["stage"] or row["stage"] == "aime":
            continue
        evaluations = [
            read_rows(workdir / f"{row['stage']}-{seed}" / "eval.jsonl") for seed in range(config.num_seeds)
        ]
        x = [entry["env_step"] for entry in evaluations[0]]
        last = max(last, x[-1])
        percent = [[100 * float(np.mean(entry["success_any"])) for entry in run] for run in evaluations]
        name = row["Method"].removeprefix("AIME-v2, ")
        curves[name[:1].upper() + name[1:]] = Curve(x, percent)
    offline = next(row for row in rows if row["stage"] == "aime")
    level = [[100 * value] * 2 for value in offline["success_any_by_seed"]]
    return {AIME: Curve([0, last], level), **curves}


def side_by_side(config, workdir: Path, rows: list[dict]) -> tuple[Path | None, str]:
    """A demonstration, offline AIME and the best online method, seed 0, from the same start; path, or why not."""
    (name,) = environments_of(config.task)
    demonstration = load_episodes(workdir / "oracle" / "episodes", limit=1)[0]
    if "physics_state" not in demonstration.records:
        return None, f"{name} has no physics state to render from."
    learnt = [row for row in rows if row["stage"] not in ("", "aime")]
    best = max(learnt, key=lambda row: row["success_any"])
    clips = [rendered.clip("Demonstration", demonstration)]
    for label, stage in ((AIME, "aime"), (best["Method"], best["stage"])):
        loaded = load_run(workdir / f"{stage}-0")
        with make_vector(loaded.env_name, 1, seed=11, **loaded.env_options) as envs:
            (episode,) = collect_episodes(envs, loaded.actor(1), 1)
        clips.append(rendered.clip(label, episode))
    recorded = demonstration.metadata
    options = {key: recorded[key] for key in ("action_repeat",) if key in recorded}
    return rendered.write(workdir / "videos" / "side_by_side.mp4", name, options, clips, seconds=SECONDS)


def lead(config) -> str:
    """What the page shows, in three sentences."""
    return (
        f"A robot that knows other tasks only ({config.body.tasks}) imitates {config.task} from "
        f"{config.num_demonstrations} demonstrations without actions. Offline AIME has to make do with what it knows; "
        "AIME-v2 goes on learning in the environment, without ever being told a reward."
    )


def caption(config) -> str:
    """What the numbers are."""
    return (
        f"{config.task}, {config.num_demonstrations} demonstrations without actions; {config.num_seeds} seed(s); "
        "actions are the policy's mode; environment steps are simulator steps."
    )


def page_sections(page, workdir: Path, rows, config, clip, why_not: str, seconds) -> list:
    """Sections of report.html."""
    headings = ["Method", "Environment steps", *SUCCESSES.values(), "Return", "Seeds", "Episodes"]
    best = [row["Method"] for row in rows if row["stage"] not in ("", "aime")]
    return [
        page.TableSection(
            "Success", headings, [cells(row) for row in rows], caption=caption(config), emphasised=best[:1]
        ),
        page.FigureSection(
            "While learning",
            workdir / "figures" / "success.png",
            alt="Success against environment steps, a curve per method",
            caption="Evaluated from the same starts every time; learning sees neither success nor reward.",
        ),
        page.VideoSection(
            "Demonstration and imitators",
            clip,
            alt="Demonstration, offline AIME and AIME-v2 side by side",
            why_not=why_not,
        ),
        page.FigureSection(
            "What the pretrained world model foresees",
            workdir / "pretrain" / "figures" / "open_loop.png",
            alt="Truth and open-loop prediction per dimension",
        ),
        page.TimesSection("Time", seconds),
        *page.run_sections(workdir),
    ]
