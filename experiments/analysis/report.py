"""Tables, figures and a page over any finished runs: sweeps, single runs, folders of runs.

Writes into the workdir (the first directory's `report/`): scores.csv (a row per seed), tables as CSV, Markdown and
LaTeX, figures as PNG and PDF, and report.html, one page that opens offline. Runs that are not finished, or cannot be
read, are named and left out. One task has a row per method; several tasks have aggregates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.analysis import aggregates, learning_curves, published_results, tables
from experiments.analysis import page as pages
from experiments.analysis.aggregates import Normalisation
from experiments.analysis.intervals import Improvement, seed_scores
from experiments.analysis.labels import AIME
from experiments.analysis.scores import Results, read_results
from experiments.drawing.table import Table, to_csv
from worldmodels.files import write_atomically

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

MAX_VIDEOS = 6
MAX_CONCLUDED = 6  # methods in the first sentence
MAX_PAIRS = 20  # of methods in the figure of improvements


def run(config: Mapping, workdir: str | Path = "", *, fresh: bool = False) -> dict:
    """Reads runs, writes the report and prints its tables.

    Args:
      config: `runs`, directories of runs and folders of them; `title` of the page.
      workdir: where to write; "": `report/` in the first directory.
      fresh: changes nothing, a report is always written anew.

    Returns:
      What `write` does, with "unfinished" and "unreadable", {path: why}.

    Raises:
      ValueError: no directory, one that does not exist, or no finished run below them.
    """
    folders = [Path(folder).expanduser() for folder in config["runs"]]
    if not folders:
        raise ValueError("A report needs directories of runs: python -m experiments report DIR [DIR ...].")
    results = read_results(folders)
    out = Path(workdir).expanduser() if workdir else folders[0] / "report"
    found = write(
        results,
        out,
        title=config["title"] or folders[0].resolve().name,
        footer=f"From {', '.join(map(str, folders))}. Settings and machine are those of the first run.",
    )
    unreadable = {str(path): why for path, why in results.unreadable}
    for name in found["tables"]:
        print((out / "tables" / f"{name}.md").read_text())
    if results.unfinished:
        print(f"Not finished, and left out: {len(results.unfinished)} runs.")
    for note in found["notes"]:
        print(note)
    for path, why in unreadable.items():
        print(f"Not readable, and left out: {path}: {why}")
    print(f"Report: {found['page']}")
    return found | {"unfinished": [str(path) for path in results.unfinished], "unreadable": unreadable}


def write(
    results: Results,
    out: Path,
    *,
    title: str,
    lead: str = "",
    extra: Sequence[pages.Section] = (),
    seconds: Mapping[str, float] | None = None,
    settings: str | Path = "",
    footer: str = "",
) -> dict:
    """Writes scores.csv, tables/, figures/ and report.html into `out`.

    Args:
      lead: what the page is about. It begins with what has come out, if that is a sentence.
      extra: sections after the figures, in place of the videos of the first runs.
      seconds: {stage: how long it took}, if the page is to show it.
      settings: directory of the run whose settings and machine the page shows; the first run's by default.
      footer: small print at the end of the page.

    Returns:
      {"page": path, "tables": [names], "figures": [names], "num_runs", "notes": [sentences about runs that do not
      belong together and tasks that are left out]}.
    """
    normalisations = aggregates.normalisations(results)
    known = [n for n in normalisations if any(n.of_cell(cell) for cell in results.cells)]
    notes = aggregates.notes(results, known or normalisations[:1])
    pairs = aggregates.improvements(results, known[0]) if known and not task_alone(results) else {}
    all_tables = make_tables(results, known, pairs)
    for name, table in all_tables.items():
        table.write(out / "tables" / name)
    figures = write_figures(results, known, pairs, out / "figures")
    write_atomically(out / "scores.csv", to_csv(aggregates.seed_rows(results, known)))
    files = "The folder of this page has the tables as CSV, Markdown and LaTeX, the figures as PDF."
    first, *rest = filter(None, (conclusion(results), f"{lead} {amount(results)} {files}".strip()))
    sections = [
        *([pages.TextSection("", rest)] if rest else []),
        *remarks(results, notes),
        *(pages.TableSection(table, emphasised=(AIME,)) for table in all_tables.values()),
        *(pages.MediaSection(text, path, alt=text) for path, text in figures.items()),
        *balance_sections(results, out / "figures"),
        *(extra or video_sections(results)),
        *([pages.TimesSection("Time", seconds)] if seconds else []),
        *pages.run_sections(settings or results.cells[0].runs[0].path),
    ]
    source = f"Published figures: {'; '.join(published_results.papers())}."
    path = pages.write_page(
        out / "report.html",
        title=title,
        sections=sections,
        lead=first,
        footer=f"{footer} {source}".strip(),
    )
    names = {"tables": list(all_tables), "figures": [path.stem for path in figures]}
    num_runs = sum(len(cell.runs) for cell in results.cells)
    return {"page": str(path), **names, "num_runs": num_runs, "notes": notes}


def balance_sections(results: Results, folder: Path) -> list[pages.Section]:
    """Draws what steers the policies of online runs; see `analysis.balance`."""
    from experiments.analysis import balance  # matplotlib is slow to import

    return balance.sections(results, folder)


def conclusion(results: Results) -> str:
    """Says how far the methods have come on the only task; "" for several, or without % of an expert."""
    task = task_alone(results)
    expert = results.expert_return(task) if task else None
    if not expert or expert <= 0:
        return ""
    found: list[str] = []
    for cell in results.of_task(task)[:MAX_CONCLUDED]:
        name, comma, variant = cell.name.partition(", ")
        percent = tables.rounded(100 * float(np.mean(seed_scores(cell.returns))) / expert)
        reaches, of_what = ("", "") if found else (" reaches", " of the expert's return")
        found.append(f"{name}{comma and f' ({variant})'}{reaches} {percent} %{of_what}")
    return f"{'; '.join(found)}."


def amount(results: Results) -> str:
    """Says how much there is: "12 runs, 3 methods, 1 task."."""
    counts = {"run": sum(len(cell.runs) for cell in results.cells)}
    counts |= {"method": len(results.methods), "task": len(results.tasks)}
    return ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()) + "."


def task_alone(results: Results) -> str:
    """Returns the only task, if its runs agree on the expert, so that methods can stand in rows; else ""."""
    (task, *others) = results.tasks
    return "" if others or len(results.experts(task)) > 1 else task


def make_tables(
    results: Results, known: Sequence[Normalisation], pairs: Mapping[tuple[str, str], Improvement]
) -> dict[str, Table]:
    """Returns {name of the files: table}."""
    found = {}
    if task := task_alone(results):
        rows = task_rows(results, task)
        found["results"] = tables.results_table(
            rows,
            random=results.random_return(task),
            expert=results.expert_return(task),
            source=source_of(rows),
            compared=len(results.methods) > 1,
            title="Scores",
        )
    else:
        for normalisation in known:
            of_methods = aggregates_of(results, normalisation)
            key = normalisation.key
            found[f"aggregate_{key}"] = tables.aggregate_table(of_methods, normalisation, results)
            found[f"cells_{key}"] = tables.cell_table(results, normalisation)
        if pairs:
            found["improvement"] = tables.improvement_table(pairs, known[0])
        found["returns"] = tables.return_table(results)
    if success := tables.success_table(results):
        found["success"] = success
    if steadiness := learning_curves.steadiness_table(results):
        found["steadiness"] = steadiness
    return found


def task_rows(results: Results, task: str) -> list[tables.MethodScores]:
    """Returns the rows of the table of one task: the random policy, the methods, the expert."""
    rows = []
    if returns := results.random.get(task):
        rows.append(tables.MethodScores("Random", [returns], is_method=False))
    for cell in results.of_task(task):
        theirs = tables.published(cell)
        values = (None, None) if theirs is None else (theirs.mean, theirs.std)
        counts = (cell.num_demonstrations, *values, cell.num_env_steps)
        rows.append(tables.MethodScores(cell.name, cell.returns, *counts))
    if returns := results.expert.get(task):
        rows.append(tables.MethodScores("Expert", [returns], is_method=False))
    return rows


def source_of(rows: Sequence[tables.MethodScores]) -> str:
    """Says where the published figures of the rows come from; "" if there are none."""
    return published_results.caption() if any(row.published is not None for row in rows) else ""


def aggregates_of(results: Results, normalisation: Normalisation) -> dict[str, aggregates.Aggregate]:
    """Returns {method: Aggregate} of the methods that have normalised scores."""
    scores = {name: aggregates.strata(results, name, normalisation) for name in results.methods}
    return {name: aggregates.aggregate(list(of.values())) for name, of in scores.items() if of}


def write_figures(
    results: Results,
    known: Sequence[Normalisation],
    pairs: Mapping[tuple[str, str], Improvement],
    folder: Path,
) -> dict[Path, str]:
    """Writes all figures; returns {path of the picture: what it shows}."""
    from experiments.drawing import style  # matplotlib is slow to import

    return {
        style.save_figure(figure, folder / name)[0]: text
        for name, figure, text in figures_of(results, known, pairs)
    }


def figures_of(
    results: Results, known: Sequence[Normalisation], pairs: Mapping[tuple[str, str], Improvement]
) -> Iterator[tuple[str, Figure, str]]:
    """Draws all figures; yields (name of the file, figure, what it shows)."""
    from experiments.analysis import aggregate_figures  # matplotlib is slow to import

    task = task_alone(results)
    if task and known:
        yield "comparison", comparison(results, task, known[0]), f"Methods, in {known[0].text}"
    for normalisation in () if task else known:
        of_tasks = {name: aggregates.strata(results, name, normalisation) for name in results.methods}
        scores = {name: list(of.values()) for name, of in of_tasks.items() if of}
        key, unit = normalisation.key, normalisation.text
        note = "Bars: 95% stratified bootstrap over seeds and episodes."
        of_methods = aggregates_of(results, normalisation)
        figure = aggregate_figures.aggregate_intervals(of_methods, x_label=unit, note=note)
        yield f"aggregates_{key}", figure, f"Mean, median and IQM of every method, {unit}"
        thresholds = aggregate_figures.thresholds_for(
            [float(np.mean(seed)) for of in scores.values() for seeds in of for seed in seeds]
        )
        profiles = {name: aggregates.performance_profile(of, thresholds) for name, of in scores.items()}
        figure = aggregate_figures.performance_profiles(profiles, thresholds, x_label=unit)
        yield f"profiles_{key}", figure, f"Share of seeds above a score, {unit}"
    if pairs:
        drawn, text = drawn_pairs(pairs)
        yield "improvement", aggregate_figures.improvement_intervals(drawn), text
    for task in results.tasks:
        for (clock, score), figure in learning_curves.curves(results, task).items():
            suffix, what = ("", "return") if score == "return" else ("_success", "success")
            text = f"{task}: {what} during training, against {learning_curves.CLOCKS[clock].lower()}"
            yield f"curves_{task}_{clock}{suffix}", figure, text


def comparison(results: Results, task: str, normalisation: Normalisation) -> Figure:
    """Draws the methods of one task."""
    from experiments.analysis import aggregate_figures

    of_expert = normalisation.key == "by_expert"
    expert, random = results.expert_return(task), results.random_return(task)
    scores = {cell.name: normalisation.of_cell(cell) for cell in results.of_task(task)}
    published = {cell.name: tables.published(cell) for cell in results.of_task(task) if of_expert}
    known = {name: (theirs.mean, theirs.std) for name, theirs in published.items() if theirs is not None}
    level = None
    if random is not None and expert is not None:
        level = tables.in_percent([[random]], expert, 0.0 if of_expert else random)[0][0]
    return aggregate_figures.comparison_figure(
        {name: percent for name, percent in scores.items() if percent is not None},
        published=known,
        random=level,
        unit=normalisation.text,
        note=published_results.caption() if known else "",
    )


def drawn_pairs(
    pairs: Mapping[tuple[str, str], Improvement],
) -> tuple[dict[tuple[str, str], Improvement], str]:
    """Returns the pairs that the figure shows, the better method first, and a text that says what it leaves out."""
    better: dict[tuple[str, str], Improvement] = {}
    for names, pair in pairs.items():
        if names[::-1] not in better and pair.probability >= 0.5:
            better[names] = pair
    drawn = dict(sorted(better.items(), key=lambda pair: -pair[1].probability)[:MAX_PAIRS])
    text = "Probability that a seed of one method beats one of another, the better method first"
    if len(drawn) < len(better):
        text += f": the {len(drawn)} highest of {len(better)} pairs; tables/improvement.csv has all"
    return drawn, text


def remarks(results: Results, notes: Sequence[str]) -> list[pages.TextSection]:
    """Says what comes before the tables: runs that are left out, that do not belong together, that diverged."""
    texts: dict[str, Sequence[str]] = {}
    if results.unfinished:
        first = f"{len(results.unfinished)} runs below these directories are not finished and left out:"
        texts["Not finished"] = [first, *map(str, results.unfinished[:20])]
    if results.unreadable:
        first = f"{len(results.unreadable)} finished runs cannot be read and are left out:"
        texts["Not readable"] = [first, *(f"{path}: {why}" for path, why in results.unreadable)]
    if notes:
        texts["Before comparing"] = notes
    diverged = [run for cell in results.cells for run in cell.runs if run.diverged]
    if diverged:
        last = "They count with the policy of their last finite update."
        found = [f"{run.path}: seeds {', '.join(map(str, run.diverged))}" for run in diverged]
        texts["Seeds that diverged"] = [*found, last]
    return [pages.TextSection(title, paragraphs) for title, paragraphs in texts.items()]


def video_sections(results: Results) -> list[pages.MediaSection]:
    """Shows videos of the first runs that have one."""
    found = []
    for cell in results.cells:
        path = next((p for run in cell.runs for p in sorted((run.path / "videos").glob("*.mp4"))), None)
        if path is not None:
            title, alt = f"{cell.task}: {cell.name}", f"{cell.name} on {cell.task}"
            caption = "One episode of the final evaluation, seeds side by side."
            found.append(pages.MediaSection(title, path, alt, caption))
    return found[:MAX_VIDEOS]
