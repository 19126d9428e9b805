"""Plays policies of an imitation run alone, `1`, or by the mean of their actions, `0+1+2`.

python results/ensembles.py RUN 0 1 0+1 0+1+2 [EPISODES=20]
"""

import jax
import numpy as np

from agents.actors import FilterActor
from agents.loop import evaluate
from experiments.models.loading import load_run
from experiments.runs.scripts import run_script


def main(folder: str, *words: str) -> None:
    """Prints the mean and all returns of each choice of policies, a word each."""
    run = load_run(folder)
    episodes = int(next((word.partition("=")[2] for word in words if word.startswith("EPISODES=")), 20))
    number = len(jax.tree.leaves(run.policies)[0])
    for word in (word for word in words if "=" not in word):
        members = np.array([int(part) for part in word.split("+")])
        if members.max() >= number:
            raise ValueError(f"{folder} has policies 0 to {number - 1}, not {word}.")
        modules = jax.tree.map(lambda x, members=members: x[members], (run.world_models, run.policies))
        actor = FilterActor(*modules, episodes, jax.random.key(7), num_seeds=1, ensemble=len(members))
        with run.arena.make(episodes, seed=4321) as envs:
            returns = evaluate(envs, actor, episodes)["return"]
        share = (
            f"{100 * np.mean(returns) / run.expert:.1f} % of the expert"
            if run.expert
            else f"{np.mean(returns):.1f}"
        )
        print(f"{word}: {share}; {' '.join(f'{each:.0f}' for each in sorted(returns))}", flush=True)


if __name__ == "__main__":
    run_script(main, __doc__)
