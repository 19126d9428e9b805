"""Prints the tables of results/exogenous.md; see results/exogenous.sh.

python results/exogenous.py noise FOLDER...     of cheetahs that flail, amid more and more points
python results/exogenous.py filter FOLDER...    of demonstrations, with more and more extraneous segments
"""

import numpy as np

from experiments.data.demonstrations import Demonstrations, is_extraneous
from experiments.drawing.table import Table
from experiments.runs.scripts import run_script
from worldmodels.data.alignment import aligned, common_parts
from worldmodels.data.episodes import load_episodes

BODY = ("position", "velocity")
LABELLED = (1, 10, 20)  # episodes, of which the first are for fitting and the last twenty for testing
TESTED = 20
MIN_LENGTH = 10


def main(table: str, folder: str, *folders: str) -> None:
    """Prints a table."""
    tables = {"noise": noise, "filter": filtered}
    if table not in tables:
        raise ValueError(f"The tables are {' and '.join(tables)}; there is none of {table!r}.")
    print(tables[table]([folder, *folders]).markdown())


def noise(folders: list[str]) -> Table:
    """Returns what linear maps recover of a body and of its actions."""
    return Table(
        ["points", "velocities", *(f"actions, {number} labelled" for number in LABELLED)],
        [_recovered(load_episodes(folder)) for folder in folders],
    )


def _recovered(episodes: list) -> list[str]:
    sensors = [name for name in (*BODY, "exogenous") if name in episodes[0].records]
    rows = [np.concatenate([each.records[name] for name in sensors], axis=-1) for each in episodes]
    rows = [standardised(each, np.concatenate(rows)) for each in rows]
    now, later = (np.concatenate([each[part] for each in rows]) for part in (slice(-1), slice(1, None)))
    size = sum(episodes[0].records[name].shape[1] for name in BODY)
    velocity = now[:, size - episodes[0].records["velocity"].shape[1] : size]
    features = most_predictive(now, later, size)
    pairs = [np.concatenate([each[:-1], each[1:]], axis=1) for each in rows]
    actions = [each.records["pre_action"][1:] for each in episodes]
    known = [
        explained(*(np.concatenate(each[:number]) for each in (pairs, actions)),
                  *(np.concatenate(each[-TESTED:]) for each in (pairs, actions)))
        for number in LABELLED
    ]  # fmt: skip
    points = (rows[0].shape[1] - size) // 2
    return [str(points), *(f"{100 * each:.0f} %" for each in (explained(features, velocity), *known))]


def standardised(values: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Returns values [T, D] with the mean and standard deviation of all records taken out."""
    return (values - every.mean(axis=0)) / every.std(axis=0)


def most_predictive(now: np.ndarray, later: np.ndarray, size: int) -> np.ndarray:
    """Returns the features of an observation most correlated with the next one, without actions, [N, size]."""
    white = [np.linalg.svd(each - each.mean(axis=0), full_matrices=False)[0] for each in (now, later)]
    return white[0] @ np.linalg.svd(white[0].T @ white[1])[0][:, :size]


def explained(
    inputs: np.ndarray,
    targets: np.ndarray,
    new_inputs: np.ndarray | None = None,
    new_targets: np.ndarray | None = None,
) -> float:
    """Returns the share of the variance that a linear map explains, of the same or of new records."""
    center, mean = inputs.mean(axis=0), targets.mean(axis=0)
    weights = np.linalg.lstsq(inputs - center, targets - mean, rcond=None)[0]
    inputs, targets = (inputs, targets) if new_inputs is None else (new_inputs, new_targets)
    left = targets - mean - (inputs - center) @ weights
    return 1 - np.square(left).sum() / np.square(targets - targets.mean(axis=0)).sum()


def filtered(folders: list[str]) -> Table:
    """Returns how much of what EIL's filter keeps is extraneous, and how much of the task it keeps.

    Of the task: before the first success of an episode, and after it.
    """
    rows = []
    for folder in folders:
        episodes = Demonstrations.read(folder).episodes
        away = np.concatenate([is_extraneous(each) for each in episodes])
        later = np.concatenate([np.maximum.accumulate(each.records["success"]) for each in episodes])
        frames = aligned([each.records["state"] for each in episodes])
        row = [folder.split("/")[-3], f"{100 * away.mean():.0f} %"]
        for max_gap in (3, 6, 10):
            kept = [np.zeros(each.num_records, bool) for each in episodes]
            for mask, matched in zip(kept, frames, strict=True):
                for part in common_parts(matched, max_gap=max_gap, min_length=MIN_LENGTH):
                    mask[part] = True
            mask = np.concatenate(kept)
            of_task = [100 * mask[~away & when].mean() for when in (~later, later)]
            row.append(f"{100 * away[mask].mean():.0f} % ({of_task[0]:.0f}, {of_task[1]:.0f})")
        rows.append(row)
    return Table(["demonstrations", "extraneous", "max_gap 3", "6", "10"], rows)


if __name__ == "__main__":
    run_script(main, __doc__)
