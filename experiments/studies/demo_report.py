"""The report of the main job: table, figures, video and page, from what the stages left on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.loop import collect_episodes
from experiments.analysis import published_results, tables
from experiments.data.evaluation import by_expert, evaluation_envs
from experiments.drawing import rendered
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import Episode, load_episodes

METHODS = (("BCO(0)", "bco"), ("AIME", "aime"), ("BC oracle", "bc"))
SECONDS = 10.0  # of the video


def write(config, workdir: Path, results: Mapping[str, dict], seconds: Mapping[str, float]) -> dict:
    """Writes table.csv, table.md, figures, the video and report.html into `workdir`.

    Returns:
      {"aime": % of the expert, "bco": ..., "bc": ..., "table": Markdown, "seconds": ...}.
    """
    from experiments.analysis import figures, page
    from experiments.drawing import style  # matplotlib is slow to import

    expert = load_episodes(workdir / "oracle" / "episodes")
    random = [episode.return_ for episode in load_episodes(workdir / "random" / "episodes", keys=())]
    rows, references = method_rows(config, results, [e.return_ for e in expert], random)
    expert_return, random_return = (float(np.mean(x)) for x in ([e.return_ for e in expert], random))
    published = (
        published_results.cells_of(config.env, config.published_data, config.setup)
        if config.published_data
        else {}
    )
    source = published_results.source().caption if published else ""
    table = tables.results_table(rows, random=random_return, expert=expert_return, source=source)
    tables.write_table(table, workdir / "table")

    folder = workdir / "figures"
    curves = learning_curves(config, workdir)
    curve = figures.learning_curves(curves, title="Score during training", references=references)
    style.save_figure(curve, folder / "learning_curves")
    if expert_return > 0:
        unit = "seeds" if config.num_seeds > 1 else "episodes"  # as `statistics` has them
        note = f"Whisker: 95% interval over {unit}; published: std over episodes. {source}"
        bars = figures.comparison_bars(
            figures.bars_of(rows, expert=expert_return), title="Ours and the published figures", note=note
        )
        style.save_figure(bars, folder / "comparison")
    clip, why_not = (
        side_by_side(config, workdir, results, expert[0]) if config.video else (None, "Switched off.")
    )
    sections = page_sections(page, config, workdir, table, clip, why_not, seconds)
    page.write_report(workdir / "report.html", title=config.title, lead=lead(config), sections=sections)
    scores = (
        {name: by_expert(np.mean(r["return"]), expert_return) for name, r in scored(results).items()}
        if expert_return > 0
        else {}
    )
    return {"table": table.markdown(), "seconds": dict(seconds), **scores}


def scored(results: Mapping[str, dict]) -> dict[str, dict]:
    """The stages that evaluated policies."""
    return {
        name: result for name, result in results.items() if "return" in result and "return_by_seed" in result
    }


def method_rows(config, results, expert: list[float], random: list[float]):
    """Rows of the table, and the reference lines of the learning curves in % of the expert."""
    published = (
        published_results.cells_of(config.env, config.published_data, config.setup)
        if config.published_data
        else {}
    )
    rows = [tables.MethodScores("Random", [random])]
    for suffix, number in counts(config).items():
        for method, stage in METHODS:
            cell = published.get(method) if not suffix else None
            name = method if not suffix else f"{method}, {number} demonstration{'s' * (number != 1)}"
            values = (None, None) if cell is None else (cell.mean, cell.std)
            rows.append(tables.MethodScores(name, results[stage + suffix]["return"], number, *values))
    rows.append(tables.MethodScores("Expert", [expert]))
    scale = np.mean(expert)
    references = {"Expert": 100.0}
    if scale > 0:
        for method, stage in (("Random", None), ("BCO(0)", "bco"), ("BC oracle", "bc")):
            value = np.mean(random) if stage is None else np.mean(results[stage]["return"])
            references[method] = float(by_expert(value, scale))
    return rows, references


def counts(config) -> dict[str, int]:
    """{suffix of a stage: number of demonstrations}."""

    return demonstration_counts(config)


def learning_curves(config, workdir: Path) -> dict:
    """AIME's evaluations during training, in % of the expert."""
    from experiments.analysis.figures import Curve

    curves = {}
    for suffix, number in counts(config).items():
        rows = [row for row in read_rows(workdir / f"aime{suffix}" / "eval.jsonl")]
        if rows and all("by_expert" in row for row in rows):
            name = "AIME" if not suffix else f"AIME, {number} demonstration{'s' * (number != 1)}"
            curves[name] = Curve(
                [row["update"] for row in rows], np.transpose([row["by_expert"] for row in rows])
            )
    return curves or {"AIME": Curve([0], [[0.0]])}


def side_by_side(config, workdir: Path, results, demonstration: Episode) -> tuple[Path | None, str]:
    """Expert, AIME and BCO(0), each imitator with the seed whose score is the median; path, or why there is none."""
    if "physics_state" not in demonstration.records:
        return None, f"{config.env} has no physics state to render from."
    clips = [rendered.clip("Expert", demonstration)]
    for label, stage in (("AIME", "aime"), ("BCO(0)", "bco")):
        by_seed = results[stage]["return_by_seed"]
        seed = int(np.argsort(by_seed)[len(by_seed) // 2])
        loaded = load_run(workdir / stage)
        with evaluation_envs(loaded.env_name, loaded.env_options, 1, seed=7, workers=0) as envs:
            (episode,) = collect_episodes(envs, loaded.actor(1, seed), 1)
        clips.append(rendered.clip(f"{label} (median seed)", episode))
    recorded = demonstration.metadata
    options = {key: recorded[key] for key in ("action_repeat", "reward_version") if key in recorded}
    path = workdir / "videos" / "side_by_side.mp4"
    return rendered.write(path, config.env, options, clips, seconds=SECONDS)


def lead(config) -> str:
    """What the page shows, in two sentences."""
    return (
        f"AIME imitates {config.env} from {config.num_demonstrations} demonstrations without actions, with a world "
        f"model of the body that was pretrained on other data ({', '.join(['random', *config.body])}). "
        f"Set-up {config.setup}; {config.num_seeds} seeds, trained in one program."
    )


def page_sections(page, config, workdir: Path, table, clip_path, why_not: str, seconds) -> list:
    """Sections of report.html."""
    figures = workdir / "figures"
    return [
        page.TableSection.of("Scores", table),
        page.VideoSection(
            "Expert and imitators",
            clip_path,
            alt="Expert, AIME and BCO(0) side by side",
            why_not=why_not,
            caption="Left the expert, then the imitators with the seed of median score. "
            "None of them has seen an action of the expert.",
        ),
        page.FigureSection(
            "Against the published figures",
            figures / "comparison.png",
            alt="Bars of scores per method, ours and published",
        ),
        page.FigureSection(
            "During training",
            figures / "learning_curves.png",
            alt="Score of AIME against updates",
            caption="Evaluated in the environment for this figure only; training does not see it.",
        ),
        page.FigureSection(
            "What the world model foresees",
            workdir / "pretrain" / "figures" / "open_loop.png",
            alt="Truth and open-loop prediction per dimension",
            caption="Truth and prediction of the first world model; the shaded records were shown to it.",
        ),
        page.TimesSection("Time", seconds),
        *page.run_sections(workdir),
    ]


def demonstration_counts(config) -> dict[str, int]:
    """{suffix of the stage: number of demonstrations}."""
    counts = {"": config.num_demonstrations}
    if config.few_demonstrations:
        counts[f"-{config.few_demonstrations}"] = config.few_demonstrations
    return counts
