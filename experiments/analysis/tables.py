"""Tables of scores: a row per method on one task; over several tasks aggregates, cells, returns, success."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.analysis import intervals, published_results
from experiments.analysis.aggregates import Aggregate, Normalisation
from experiments.analysis.intervals import Improvement, Interval
from experiments.analysis.labels import AIME
from experiments.analysis.scores import Cell, Results
from experiments.data.evaluation import SUCCESS_RULES, by_expert, by_random_and_expert
from experiments.drawing.table import MISSING, Table

# Column of the CSV of a results table -> heading for readers. The CSV has more columns.
_HEADINGS = {
    "method": "Method",
    "return": "Return",
    "by_expert": "% of expert",
    "interval": "95% interval",
    "improvement": f"P({AIME} better)",
    "lowest_seed": "Lowest seed",
    "by_random_and_expert": "% above random",
    "published": "Published %",
    "num_env_steps": "Simulator steps",
    "num_seeds": "Seeds",
    "num_episodes": "Episodes",
    "num_demonstrations": "Demos",
}
_ALWAYS = {"method", "return", "by_expert", "interval", "num_seeds", "num_episodes"}


@dataclass(frozen=True)
class MethodScores:
    """The measurements of one row of a results table.

    Attributes:
      method: label of the row, e.g. "AIME".
      returns: `[N][E]` raw returns, one list of episodes per seed.
      num_demonstrations: that the method saw; None where it needs none.
      published, published_std: % of the expert in the paper, for the same cell; None where there is none.
      num_env_steps: of learning in the environment; None without.
      is_method: False for the random policy and the expert, with which no method is compared.
    """

    method: str
    returns: Sequence[Sequence[float]]
    num_demonstrations: int | None = None
    published: float | None = None
    published_std: float | None = None
    num_env_steps: int | None = None
    is_method: bool = True


def results_table(
    scores: Sequence[MethodScores],
    *,
    random: float | None,
    expert: float | None,
    source: str = "",
    compared: bool = False,
    title: str = "",
) -> Table:
    """Builds the table of one task.

    Args:
      scores: one entry per row, in order.
      random: mean return of the random policy; None leaves the column that needs it undefined.
      expert: mean return of the expert; None leaves the normalised columns undefined. So does an expert
        that is not better than nothing, or than the random policy.
      source: sentence about the published numbers, e.g. `published_results.caption()`.
      compared: adds the probability that AIME is better, and to the CSV the interquartile means, in % of the expert or,
        if its return is not above 0, above random.
      title: of the table on a page.

    Raises:
      ValueError: no rows, or returns that `intervals.seed_scores` refuses.
    """
    if not scores:
        raise ValueError("results_table got no rows; pass one MethodScores per method.")
    rows = [_row(s, random, expert) for s in scores]
    caption = f"{_caption(rows, random, expert)} {source}".strip()
    bounds = _bounds(random, expert)
    if compared and bounds:
        percent = {s.method: in_percent(s.returns, *bounds) for s in scores if s.is_method}
        comparison = _comparison(percent)
        rows = [row | comparison.get(s.method, {}) for row, s in zip(rows, scores, strict=True)]
        caption = f"{caption} {_comparison_caption(percent)}".strip()
    shown = [n for n in _HEADINGS if n in _ALWAYS or any(row.get(n) is not None for row in rows)]
    cells = [[_text(name, row) for name in shown] for row in rows]
    return Table([_HEADINGS[name] for name in shown], cells, caption, title, rows)


def _bounds(random: float | None, expert: float | None) -> tuple[float, float] | None:
    """Returns the returns of 100% and 0%: of the expert if it is above 0, else of the expert and the random policy."""
    if expert is not None and expert > 0:
        return expert, 0.0
    return None if expert is None or random is None or expert <= random else (expert, random)


def in_percent(scores: intervals.Scores, hundred: float = 1.0, zero: float = 0.0) -> list[list[float]]:
    """Returns scores `[N][E]` in % between two numbers; seeds may have different numbers of episodes."""
    return [(100.0 * (np.asarray(seed, np.float64) - zero) / (hundred - zero)).tolist() for seed in scores]


def aggregate_table(
    aggregates: Mapping[str, Aggregate], normalisation: Normalisation, results: Results
) -> Table:
    """Builds a row per method: mean, median and IQM over all tasks, with their intervals."""
    names = {"mean": "Mean", "median": "Median", "iqm": "IQM"}
    headings = ["Method", *(text for name in names.values() for text in (name, "95% interval"))]
    rows, numbers = [], []
    for method, found in aggregates.items():
        row: dict[str, object] = {"method": method}
        text = [method]
        for name in names:
            value, interval = found.values[name], found.intervals[name]
            text += [f"{value:.1f}", between(interval)]
            row |= {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        rows.append([*text, str(found.num_tasks), str(found.num_seeds)])
        numbers.append(row | {"num_tasks": found.num_tasks, "num_seeds": found.num_seeds})
    caption = (
        f"In {normalisation.text}, each seed the mean of its episodes. Mean and median over tasks, of each task's mean "
        "over seeds; IQM over the seeds of all tasks (Agarwal et al. 2021). Intervals: stratified bootstrap over seeds "
        "within tasks, and episodes within seeds."
    )
    title = f"Over all tasks, {normalisation.text}"
    return Table([*headings, "Tasks", "Seeds"], rows, caption + _experts_differ(results), title, numbers)


def cell_table(results: Results, normalisation: Normalisation) -> Table:
    """Builds a row per task and a column per method: mean ± half the 95% interval, published figures next to ours."""
    with_published = {
        cell.name for cell in results.cells if published(cell) and normalisation.key == "by_expert"
    }
    headings = ["Task"]
    for name in results.methods:
        headings += [name, *([f"{name}, published"] if name in with_published else [])]
    rows, numbers = [], []
    for task in results.tasks:
        row = [task]
        for name in results.methods:
            cell = results.cell(task, name)
            scores = None if cell is None else normalisation.of_cell(cell)
            row.append(MISSING if scores is None else with_interval(scores))
            if cell is not None and scores is not None:
                numbers.append(_numbers(cell, scores))
            if name in with_published:
                theirs = None if cell is None else published(cell)
                row.append(MISSING if theirs is None else f"{theirs.mean:.1f}")
        rows.append(row)
    caption = (
        f"{normalisation.text[:1].upper()}{normalisation.text[1:]}: mean over seeds ± half of its 95% interval "
        "(number of seeds), Student's t up to nine seeds; with one seed over its episodes."
    )
    caption += _experts_differ(results)
    if with_published:
        caption += f" {published_results.caption()}"
    return Table(headings, rows, caption, f"Every task, {normalisation.text}", numbers)


def return_table(results: Results) -> Table:
    """Builds a table of raw returns: a row per task, a column per method, the random policy and the expert."""
    rows, numbers = [], []
    for task in results.tasks:
        random, experts = results.random_return(task), results.experts(task)
        row = [task, MISSING if random is None else f"{random:.1f}"]
        for name in results.methods:
            cell = results.cell(task, name)
            row.append(MISSING if cell is None else with_interval(cell.returns))
            if cell is not None:
                expert = results.expert_return(task)
                numbers.append(_numbers(cell, cell.returns) | {"random": random, "expert": expert})
        rows.append([*row, ", ".join(f"{expert:.1f}" for expert in experts) or MISSING])
    caption = "Undiscounted returns: mean over seeds ± half of its 95% interval (number of seeds)."
    headings = ["Task", "Random", *results.methods, "Expert"]
    return Table(headings, rows, caption + _experts_differ(results), "Returns", numbers)


def success_table(results: Results) -> Table | None:
    """Builds a table of success by the three rules that papers use, in %; None where no success is defined."""
    rows, numbers, several = [], [], len(results.tasks) > 1
    for cell in results.cells:
        rates = {rule: cell.success(rule) for rule in SUCCESS_RULES}
        if all(value is None for value in rates.values()):
            continue
        percent = {rule: None if value is None else in_percent(value) for rule, value in rates.items()}
        texts = [MISSING if value is None else with_interval(value) for value in percent.values()]
        rows.append([*([cell.task] if several else []), cell.name, *texts])
        means = {
            f"success_{rule}": float(intervals.seed_scores(v).mean()) for rule, v in percent.items() if v
        }
        numbers.append({"task": cell.task, "method": cell.name, **means})
    if not rows:
        return None
    rules = "; ".join(f"{rule}: {text}" for rule, text in SUCCESS_RULES.items())
    headings = [*(["Task"] if several else []), "Method", *(f"Success {rule}" for rule in SUCCESS_RULES)]
    caption = f"% of episodes: mean over seeds ± half of its 95% interval (number of seeds). {rules}."
    return Table(headings, rows, caption, "Success rates by three rules", numbers)


def improvement_table(pairs: Mapping[tuple[str, str], Improvement], normalisation: Normalisation) -> Table:
    """Builds a row per pair of methods and direction: how often a seed of the one beats one of the other."""
    rows, numbers = [], []
    for (ours, theirs), better in pairs.items():
        low, high = better.interval.low, better.interval.high
        text = [f"{better.probability:.2f}", f"{low:.2f} to {high:.2f}"]
        rows.append([ours, theirs, *text, str(better.num_tasks)])
        row = {"method": ours, "over": theirs, "probability": better.probability, "low": low, "high": high}
        numbers.append(row | {"num_tasks": better.num_tasks})
    caption = (
        "Probability that a seed of the method scores higher than one of the other, ties half, averaged over the tasks "
        f"that both have in {normalisation.text} (Agarwal et al. 2021). Intervals: stratified bootstrap."
    )
    headings = ["Method", "Over", "Probability", "95% interval", "Tasks"]
    return Table(headings, rows, caption, "Probability of improvement", numbers)


def with_interval(scores: intervals.Scores) -> str:
    """Writes "87.3 ± 4.1 (5)": mean, half of its 95% interval, and the number of seeds."""
    summary = intervals.summarise(scores)
    half = (summary.interval.high - summary.interval.low) / 2
    spread = "" if np.isnan(half) else f" ± {half:.1f}"
    return f"{summary.mean:.1f}{spread} ({summary.num_seeds})"


def between(interval: Interval) -> str:
    """Writes "81.0 to 92.4"."""
    return MISSING if np.isnan(interval.low) else f"{interval.low:.1f} to {interval.high:.1f}"


def published(cell: Cell) -> published_results.PublishedCell | None:
    """Returns what AIME (NeurIPS 2023) reports for this cell, in % of the expert."""
    if cell.variant:
        return None
    return published_results.cells_of(cell.env, cell.dataset, cell.setup).get(cell.method)


def _row(scores: MethodScores, random: float | None, expert: float | None) -> dict[str, object]:
    """Computes the numbers of one row of a results table."""
    summary = intervals.summarise(scores.returns)
    bounds = (_known(summary.interval.low), _known(summary.interval.high))

    def percent(value: float | None) -> float | None:
        if value is None or expert is None or expert <= 0:
            return None
        return float(by_expert(value, expert))

    above_random = None
    if random is not None and expert is not None and expert > random:
        above_random = float(by_random_and_expert(summary.mean, random, expert))
    low, high = map(percent, bounds)
    return {
        "method": scores.method,
        "return": summary.mean,
        "return_low": bounds[0],
        "return_high": bounds[1],
        "return_median": summary.median,
        "return_iqm": summary.iqm,
        "by_expert": percent(summary.mean),
        "by_expert_low": low,
        "by_expert_high": high,
        "interval": summary.interval.kind,
        "lowest_seed": percent(summary.seed_scores.min()) if summary.num_seeds > 1 else None,
        "by_random_and_expert": above_random,
        "published": scores.published,
        "num_env_steps": scores.num_env_steps,
        "num_seeds": summary.num_seeds,
        "num_episodes": summary.num_episodes,
        "num_demonstrations": scores.num_demonstrations,
        "seed_returns": tuple(summary.seed_scores.tolist()),
    }


def _comparison(scores: Mapping[str, intervals.Scores]) -> dict[str, dict[str, object]]:
    """Returns {method: its interquartile mean, and how often AIME is better} (Agarwal et al. 2021), of several seeds.

    Args:
      scores: {method: `[N][E]` in % of the expert}.
    """
    found, better = {}, intervals.improvements(scores, AIME)
    for method, of_method in scores.items():
        interval = intervals.stratified_bootstrap_interval([of_method], "iqm")
        iqm = float(intervals.interquartile_mean(intervals.seed_scores(of_method)))
        found[method] = {"iqm": iqm, "iqm_interval": (interval.low, interval.high), "improvement": None}
        if method in better:
            probability, bounds = better[method].probability, better[method].interval
            found[method]["improvement"] = (probability, bounds.low, bounds.high)
    return found


def _comparison_caption(scores: Mapping[str, intervals.Scores]) -> str:
    """Explains what `_comparison` adds."""
    text = ""
    if len(scores.get(AIME, ())) > 1:
        text = f"P({AIME} better): probability that a seed of {AIME} scores higher than one of the method."
    if any(len(of_method) == 1 for of_method in scores.values()):
        text += " With one seed intervals are over its episodes and say nothing about other seeds."
    return text.strip()


def _caption(rows: Sequence[Mapping[str, object]], random: float | None, expert: float | None) -> str:
    """Explains the columns."""
    sentences = []
    if expert is not None and expert > 0:
        sentences.append(f"100% of expert is a return of {rounded(expert)}; zero is not subtracted.")
    elif expert is not None:
        sentences.append(f"The return of the expert, {rounded(expert)}, is not above 0: there is no % of it.")
    if random is not None and any(row["by_random_and_expert"] is not None for row in rows):
        sentences.append(
            f"% above random: 0 is the random policy (a return of {rounded(random)}) and 100 the expert."
        )
    kinds = _interval_kinds(rows)
    if kinds:
        unit = "% of expert" if rows[0]["by_expert"] is not None else "return"
        sentences.append(f"95% interval of the mean, in {unit}: {kinds}.")
    sentences.append("Episodes are per seed.")
    return " ".join(sentences)


def _interval_kinds(rows: Sequence[Mapping[str, object]]) -> str:
    """Says how the intervals were computed; where rows differ, the rarer kinds name their rows."""
    methods: dict[str, list[str]] = {}
    for row in rows:
        if row["return_low"] is not None:
            methods.setdefault(str(row["interval"]), []).append(str(row["method"]))
    usual, *others = sorted(methods, key=lambda kind: -len(methods[kind])) or [""]
    return "; ".join([usual, *(f"{kind} for {' and '.join(methods[kind])}" for kind in others)])


def _text(name: str, row: Mapping[str, object]) -> str:
    """Writes one cell of a results table."""
    value = row.get(name)
    if name == "interval":
        prefix = "by_expert" if row["by_expert"] is not None else "return"
        value = (row[f"{prefix}_low"], row[f"{prefix}_high"])
    if value is None or value == (None, None):
        return MISSING
    if isinstance(value, tuple):
        return f"{value[0]:.2f}" if name == "improvement" else " to ".join(map(rounded, value))
    if name == "num_env_steps":
        return f"{value:,}"
    return rounded(value) if isinstance(value, float) else str(value)


def rounded(value: float) -> str:
    """Writes one decimal, two digits below one: 0.8614 -> "0.86", 172.34 -> "172.3", 9571.8 -> "9572"."""
    if abs(value) < 1e-9:
        return "0.0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _experts_differ(results: Results) -> str:
    """Names the tasks whose runs were shown different experts, for captions."""
    tasks = [task for task in results.tasks if len(results.experts(task)) > 1]
    return (
        f" Runs of {', '.join(tasks)} have different experts; each is measured by its own." if tasks else ""
    )


def _numbers(cell: Cell, scores: intervals.Scores) -> dict[str, object]:
    """Computes the numbers of one cell of a table over tasks."""
    summary, theirs = intervals.summarise(scores), published(cell)
    return {
        "task": cell.task,
        "method": cell.name,
        "mean": summary.mean,
        "median": summary.median,
        "iqm": summary.iqm,
        "low": summary.interval.low,
        "high": summary.interval.high,
        "interval": summary.interval.kind,
        "num_seeds": summary.num_seeds,
        "num_episodes": summary.num_episodes,
        "published": theirs and theirs.mean,
    }
