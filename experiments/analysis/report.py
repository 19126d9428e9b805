"""Tables, figures and a page over any finished runs: sweeps, single runs, folders of runs.

    python -m experiments report runs/walker18
    python -m experiments report runs/demo runs/mine --out=runs/report

Writes into `--out` (the first directory's `report/`): scores.csv (a row per seed), tables as CSV, Markdown and LaTeX,
figures as PNG and PDF, and report.html, one page that opens offline. Runs that are not finished, or cannot be read, are
named and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.analysis import aggregates, published_results, sweep_notes, sweep_tables
from experiments.analysis.aggregates import Normalisation, Pair
from experiments.analysis.intervals import Improvement
from experiments.analysis.sweep_results import Cell, Results, read_results
from experiments.analysis.sweep_tables import TextTable
from experiments.runs.command_line import is_user_error
from worldmodels.files import write_atomically

MAX_VIDEOS = 6
MAX_PAIRS = 20  # of methods in the figure of improvements


def run(folders: Sequence[str | Path], out: str | Path | None = None, title: str = "") -> dict:
    """Writes the report.

    Returns:
      {"page": path, "tables": [names], "figures": [names], "num_runs", "unfinished", "unreadable": {path: why},
      "notes": [sentences about runs that do not belong together and tasks that are left out]}.

    Raises:
      ValueError: a folder that does not exist, or no finished run below them.
    """
    results = read_results(folders)
    out = Path(out) if out else Path(folders[0]) / "report"
    by_expert, *others = aggregates.normalisations(results)
    known = [n for n in (by_expert, *others) if _applies(n, results)]
    notes = sweep_notes.notes(results, known or [by_expert])
    pairs = aggregates.improvements(results, known[0]) if known else {}
    tables = write_tables(results, known, pairs, out / "tables")
    figures = write_figures(results, known, pairs, out / "figures")
    write_atomically(out / "scores.csv", sweep_tables.to_csv(sweep_tables.seed_rows(results, known)))
    title = title or Path(folders[0]).resolve().name
    page = write_page(results, notes, tables, figures, out, title, folders)
    return {
        "page": str(page),
        "tables": [table.name for table in tables],
        "figures": list(figures),
        "num_runs": sum(len(cell.runs) for cell in results.cells),
        "unfinished": [str(path) for path in results.unfinished],
        "unreadable": {str(path): why for path, why in results.unreadable},
        "notes": notes,
    }


def write_tables(
    results: Results, known: Sequence[Normalisation], pairs: Mapping[tuple[str, str], Pair], folder: Path
) -> list[TextTable]:
    """All tables, also on disk."""
    tables = []
    for normalisation in known:
        found = aggregates_of(results, normalisation)
        tables.append(sweep_tables.aggregate_table(found, normalisation, results))
        tables.append(sweep_tables.cell_table(results, normalisation))
    if pairs:
        tables.append(sweep_tables.improvement_table(pairs, known[0]))
    success = sweep_tables.success_table(results)
    tables += [sweep_tables.return_table(results), *([success] if success else [])]
    for table in tables:
        table.write(folder)
    return tables


def aggregates_of(results: Results, normalisation: Normalisation) -> dict[str, aggregates.Aggregate]:
    """{method: Aggregate} of the methods that have normalised scores."""
    scores = {name: aggregates.strata(results, name, normalisation) for name in results.methods}
    return {name: aggregates.aggregate(list(of.values())) for name, of in scores.items() if of}


def write_figures(
    results: Results, known: Sequence[Normalisation], pairs: Mapping[tuple[str, str], Pair], folder: Path
) -> dict[str, str]:
    """All figures on disk; {name of the file: what it shows}."""
    from experiments.analysis import aggregate_figures  # matplotlib is slow to import
    from experiments.drawing import style

    shown = {}

    def save(name: str, figure, text: str) -> None:
        style.save_figure(figure, folder / name)
        shown[name] = text

    for normalisation in known:
        scores = {name: aggregates.strata(results, name, normalisation) for name in results.methods}
        scores = {name: list(of.values()) for name, of in scores.items() if of}
        note = "Bars: 95% stratified bootstrap over seeds and episodes."
        figure = aggregate_figures.aggregate_intervals(
            aggregates_of(results, normalisation), x_label=normalisation.text, note=note
        )
        save(
            f"aggregates_{normalisation.key}",
            figure,
            f"Mean, median and IQM of every method, {normalisation.text}",
        )
        seeds = [np.mean(seed) for of in scores.values() for task in of for seed in task]
        thresholds = aggregate_figures.thresholds_for(seeds)
        profiles = {name: aggregates.performance_profile(of, thresholds) for name, of in scores.items()}
        figure = aggregate_figures.performance_profiles(profiles, thresholds, x_label=normalisation.text)
        save(f"profiles_{normalisation.key}", figure, f"Share of seeds above a score, {normalisation.text}")
    if pairs:
        drawn, text = drawn_pairs(pairs)
        save("improvement", aggregate_figures.improvement_intervals(drawn), text)
    for task in results.tasks:
        for unit, figure in curves(results, task).items():
            save(f"curves_{task}_{unit}", figure, f"{task}: return during training, against {unit}s")
    return shown


def drawn_pairs(pairs: Mapping[tuple[str, str], Pair]) -> tuple[dict[tuple[str, str], Improvement], str]:
    """The pairs that the figure shows, each with the better method first, and a text that says what it leaves out."""
    better: dict[tuple[str, str], Improvement] = {}
    for names, pair in pairs.items():
        if names[::-1] not in better and pair.improvement.probability >= 0.5:
            better[names] = pair.improvement
    drawn = dict(sorted(better.items(), key=lambda pair: -pair[1].probability)[:MAX_PAIRS])
    text = "Probability that a seed of one method beats one of another, the better method first"
    if len(drawn) < len(better):
        text += f": the {len(drawn)} highest of {len(better)} pairs; tables/improvement.csv has all"
    return drawn, text


def curves(results: Results, task: str) -> dict:
    """{clock: figure} of the learning curves of a task, with the published ones where there are any."""
    from experiments.analysis import figures

    drawn: dict[str, dict[str, figures.Curve]] = {}
    for cell in results.of_task(task):
        clock = "env_step" if all(_advances(run.curve.get("env_step")) for run in cell.runs) else "update"
        curve = _merged(cell, clock)
        if curve is not None:
            drawn.setdefault(clock, {})[cell.name] = figures.Curve(*curve)
            published = sweep_tables.published_curve(cell) if clock == "env_step" else {}
            published = {step: mean for step, mean in published.items() if step <= max(curve[0])}
            if published:
                steps, means = zip(*published.items(), strict=True)
                drawn[clock][f"{cell.method}, published"] = figures.Curve(steps, [means])
    experts = results.experts(task)
    names = ["Expert"] if len(experts) == 1 else [f"Expert, {value:.0f}" for value in experts]
    levels = dict(zip(names, experts, strict=True)) | {"Random": results.random_return(task)}
    levels = {name: level for name, level in levels.items() if level is not None}
    note = "Thin lines: seeds. Band: 95% interval of the mean (Student's t)."
    labels = {"env_step": "Simulator steps", "update": "Updates"}
    return {
        clock: figures.learning_curves(
            of, title=task, x_label=labels[clock], y_label="Return", references=levels, note=note
        )
        for clock, of in drawn.items()
    }


def write_page(
    results: Results,
    notes: Sequence[str],
    tables: Sequence[TextTable],
    figures: Mapping[str, str],
    out: Path,
    title: str,
    folders: Sequence[str | Path],
) -> Path:
    """report.html, with everything inside."""
    from experiments.analysis import page as report_page

    sections: list = []
    if results.unfinished:
        text = [f"{len(results.unfinished)} runs below these directories are not finished and left out:"]
        sections.append(
            report_page.TextSection("Not finished", text + [str(p) for p in results.unfinished[:20]])
        )
    if results.unreadable:
        text = [f"{len(results.unreadable)} finished runs cannot be read and are left out:"]
        text += [f"{path}: {why}" for path, why in results.unreadable]
        sections.append(report_page.TextSection("Not readable", text))
    if notes:
        sections.append(report_page.TextSection("Before comparing", notes))
    diverged = [run for cell in results.cells for run in cell.runs if run.diverged]
    if diverged:
        text = [f"{run.path}: seeds {', '.join(map(str, run.diverged))}" for run in diverged]
        text.append("They count with the policy of their last finite update.")
        sections.append(report_page.TextSection("Seeds that diverged", text))
    for table in tables:
        sections.append(report_page.TableSection(table.title, table.headings, table.cells, table.caption))
    for name, text in figures.items():
        sections.append(report_page.FigureSection(text, out / "figures" / f"{name}.png", alt=text))
    sections += video_sections(results, report_page)
    sections += report_page.run_sections(results.cells[0].runs[0].path)
    counts = {"run": sum(len(cell.runs) for cell in results.cells)}
    counts |= {"method": len(results.methods), "task": len(results.tasks)}
    counted = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    lead = f"{counted}. Tables are beside this page as CSV, Markdown and LaTeX, figures as PDF."
    source = published_results.source()
    footer = (
        f"From {', '.join(map(str, folders))}. Published figures: {source.paper}; AIME-NoB, arXiv:2404.18896. "
        "Settings and machine below the tables are those of the first run."
    )
    return report_page.write_report(
        out / "report.html", title=title, sections=sections, lead=lead, footer=footer
    )


def video_sections(results: Results, report_page) -> list:
    """Videos of the first runs that have one."""
    found = []
    for cell in results.cells:
        path = next((p for run in cell.runs for p in sorted((run.path / "videos").glob("*.mp4"))), None)
        if path is not None:
            heading = f"{cell.task}: {cell.name}"
            caption = "One episode of the final evaluation, seeds side by side."
            found.append(
                report_page.VideoSection(heading, path, alt=f"{cell.name} on {cell.task}", caption=caption)
            )
    return found[:MAX_VIDEOS]


def _applies(normalisation: Normalisation, results: Results) -> bool:
    return any(normalisation.of_cell(cell) for cell in results.cells)


def _advances(clock: np.ndarray | None) -> bool:
    return clock is not None and bool(np.any(clock > 0))


def _merged(cell: Cell, clock: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions [P] and returns [N, P] of the seeds of all runs; NaN where a run was not evaluated."""
    found = [run.curve for run in cell.runs if clock in run.curve]
    x = sorted({float(value) for curve in found for value in curve[clock]})
    if len(x) < 2:
        return None
    rows = []
    for curve in found:
        for seed in np.asarray(curve["return"]).T:
            row = dict(zip(map(float, curve[clock]), seed, strict=True))
            rows.append([row.get(position, np.nan) for position in x])
    return np.array(x), np.array(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; the exit code is 2 after a mistake."""
    parser = argparse.ArgumentParser("experiments.analysis.report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folders", nargs="+", metavar="DIR", help="sweeps, runs, or folders of runs")
    parser.add_argument("--out", default=None, help="where to write (DIR/report)")
    parser.add_argument("--title", default="", help="of the page")
    arguments = parser.parse_args(argv)
    try:
        result = run(arguments.folders, arguments.out, arguments.title)
    except (ValueError, OSError) as error:
        if not is_user_error(error):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    out = Path(result["page"]).parent
    for name in result["tables"]:
        print((out / "tables" / f"{name}.md").read_text())
    if result["unfinished"]:
        print(f"Not finished, and left out: {len(result['unfinished'])} runs.")
    for note in result["notes"]:
        print(note)
    for path, why in result["unreadable"].items():
        print(f"Not readable, and left out: {path}: {why}")
    print(f"Report: {result['page']}")


if __name__ == "__main__":
    main()
