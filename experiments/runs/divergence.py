"""Seeds that diverge: said once for each, and an error only when no seed of the program is left.

A seed whose loss or gradient is not finite stands still at its last finite state (`worldmodels.training.only_finite`,
`agents.fitting`), and the others go on.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.models.loading.metrics import Diverged, check_finite, is_finite, shortened


class DivergenceWatch:
    """Looks at the rows of metrics of a program that trains several seeds.

    Args:
      num_seeds: of the program; metrics that are lists of this length have an entry per seed.
    """

    def __init__(self, num_seeds: int):
        self._num_seeds = num_seeds
        self.diverged: set[int] = set()

    def check(self, row: Mapping[str, Any], update: int) -> None:
        """Tells of every seed that has diverged since the last call, in one sentence on stderr.

        Args:
          row: as `MetricsWriter.write` returned it.
          update: number of updates so far.

        Raises:
          Diverged: all seeds have diverged, or a metric without an entry per seed is not finite.
        """
        bad = {seed: self._not_finite(row, seed) for seed in range(self._num_seeds)}
        for seed, names in bad.items():
            if names and seed not in self.diverged and len(self.diverged) + 1 < self._num_seeds:
                print(
                    f"Seed {seed} of {self._num_seeds} has diverged: at update {update} its {shortened(names)} are "
                    "not finite. It keeps its last finite state, and the others go on.",
                    file=sys.stderr,
                )
            if names:
                self.diverged.add(seed)
        of_all = {name: value for name, value in row.items() if not self._per_seed(value)}
        check_finite(row if len(self.diverged) == self._num_seeds else of_all, update)

    def _not_finite(self, row: Mapping[str, Any], seed: int) -> list[str]:
        return [name for name, value in row.items() if self._per_seed(value) and not is_finite(value[seed])]

    def _per_seed(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == self._num_seeds


def diverged_among(results: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, int]]]:
    """`diverged_result` of seeds that ran one after the other; `results` with `diverged` and `num_updates`.

    Raises:
      Diverged: all of them have diverged.
    """
    diverged = [bool(result.get("diverged")) for result in results]
    if all(diverged):
        raise Diverged(
            f"Training has diverged, all {len(results)} seeds. Lower the learning rate or clip the gradient."
        )
    return diverged_result(diverged, [result["num_updates"] for result in results])


def diverged_result(diverged: Sequence[bool], steps: Sequence[int]) -> dict[str, list[dict[str, int]]]:
    """What a result says about seeds that have diverged: nothing if there are none.

    Args:
      diverged: [num_seeds].
      steps: [num_seeds] finite updates made.

    Returns:
      {"diverged": [{"seed": index, "updates": made}, ...]} or {}.
    """
    seeds = [
        {"seed": seed, "updates": int(step)}
        for seed, (bad, step) in enumerate(zip(diverged, steps, strict=True))
        if bad
    ]
    return {"diverged": seeds} if seeds else {}
