"""Plays policies of an imitation run alone, `1`, or by the mean of their actions, `0+1+2`.

python results/ensembles.py RUN 0 1 0+1 0+1+2 [EPISODES=20]
"""

import sys

import jax
import numpy as np

from agents.actors import FilterActor
from agents.loop import evaluate
from experiments.models.loading import load_run

run = load_run(sys.argv[1])
episodes = int(next((word.partition("=")[2] for word in sys.argv[2:] if word.startswith("EPISODES=")), 20))
for words in (word for word in sys.argv[2:] if "=" not in word):
    members = np.array([int(word) for word in words.split("+")])
    modules = jax.tree.map(lambda x, members=members: x[members], (run.world_models, run.policies))
    actor = FilterActor(*modules, episodes, jax.random.key(7), num_seeds=1, ensemble=len(members))
    with run.arena.make(episodes, seed=4321) as envs:
        returns = evaluate(envs, actor, episodes)["return"]
    share = (
        f"{100 * np.mean(returns) / run.expert:.1f} % of the expert"
        if run.expert
        else f"{np.mean(returns):.1f}"
    )
    print(f"{words}: {share}; {' '.join(f'{each:.0f}' for each in sorted(returns))}", flush=True)
