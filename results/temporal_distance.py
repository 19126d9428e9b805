"""Tells how many steps a world model counts from its states to frames that are some records later in an episode.

python results/temporal_distance.py RUN EPISODES

The states are filtered from 32 windows of 50 records, of which the first ten only lead in.
"""

import jax

from experiments.models.loading import load_run
from experiments.runs.command_line import UsageError
from experiments.runs.scripts import run_script
from worldmodels.data.dataset import SequenceDataset, sample
from worldmodels.data.episodes import load_episodes

LENGTH, CONTEXT = 50, 10
LATER = (0, 1, 2, 3, 5, 8, 12, 20, 30)  # records


def main(run: str, episodes: str) -> None:
    """Prints a line for each number of records."""
    model = load_run(run).world_model()
    distance = model.temporal_distance
    if distance is None:
        raise UsageError(
            f"{run} counts no steps; train it with --config.world_model.temporal_distance.size=32."
        )
    shown = load_episodes([episodes], limit=20)
    data = SequenceDataset.create(shown, length=LENGTH, sensors=list(model.inputs), with_reward=False)
    batch = sample(data, jax.random.key(0), batch_size=32)
    features = model.filter(batch).states.features
    goals = model.encode(batch.observation)
    for later in LATER:
        told = distance.max_steps * distance(
            features[:, CONTEXT : LENGTH - later], goals[:, CONTEXT + later :]
        )
        print(f"{later} records later: {float(told.mean()):.1f} steps, std {float(told.std()):.1f}")


if __name__ == "__main__":
    run_script(main, __doc__)
