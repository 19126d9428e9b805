"""Policies, values, acting, collection of episodes and the baselines, one file per method."""

from worldmodels import __version__ as __version__
from worldmodels import lazy

__getattr__, __dir__, __all__ = lazy.names(
    __name__,
    {
        "actors": ["FilterActor"],
        "dreamer": ["create_dreamer", "make_dreamer_update"],
        "frame_stack_actor": ["FrameStackActor"],
        "imagination": ["ImaginationOptions", "imagine"],
        "loop": ["collect_episodes", "evaluate"],
        "noise": ["ColouredActor", "RhythmicActor", "UniformActor"],
        "plan_search": ["PlanSettings"],
        "planning": ["Planner", "planning_actor"],
        "values": ["lambda_returns"],
    },
)
