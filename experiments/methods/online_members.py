"""Members of an online run in one program: what they share, and what is stacked for their updates."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from experiments.data.members import JointUpdates
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import OnlineData
from worldmodels.training import stack_seeds


def joint_updates(learners: Sequence[OnlineLearner]) -> JointUpdates:
    """Returns what makes the online updates of learners after their pretraining; see `share_body`."""
    shares_body = share_body(learners)

    def gather() -> OnlineData:
        learners[0].check_buffer()
        data = learners[0].data.replace(online=stack_seeds([learner.data.online for learner in learners]))
        if not shares_body:
            data = data.replace(body=stack_seeds([learner.data.body for learner in learners]))
        return data

    axes = learners[0].data.replace(body=None if shares_body else 0, online=0, demonstrations=None)
    make_loop = learners[0].programs.joint_loop
    return JointUpdates(learners, lambda count: make_loop(count, len(learners), axes), gather)


def share_body(learners: Sequence[OnlineLearner]) -> bool:
    """Lets learners share their pretraining data; returns False where they have drawn or rewarded them differently.

    Raises:
      ValueError: they are of different sizes, so that they cannot be stacked.
    """
    first, *others = [learner.data.body for learner in learners]
    shapes = [[leaf.shape for leaf in jax.tree.leaves(body)] for body in (first, *others)]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "Members in one program need pretraining data of one size, and each draws its own episodes; take all of "
            "them, --config.regularizer.num_episodes=None, or run the seeds one by one."
        )
    for body in others:
        pairs = zip(jax.tree.leaves(first), jax.tree.leaves(body), strict=True)
        if not all(np.array_equal(one, other) for one, other in pairs):
            return False
    for learner in learners[1:]:
        learner.data = learner.data.replace(body=first, demonstrations=learners[0].data.demonstrations)
    return True
