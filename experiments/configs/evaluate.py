"""Evaluation of a finished run."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Plays episodes with every policy of a run, or of a folder of `export`.

    Run:      python -m experiments evaluate --run=DIR
    Export:   ... --run=FOLDER --config.demonstrations=DIR --workdir=ELSEWHERE    plays as they were played
    Elsewhere: ... '--config.env=cheetah-run?mass=0.5'    another task or variation of the same body
    Planning: ... --config.planner=cem, icem, mppi or guided    where the run's world model predicts a reward
              ... --config.planner=tracking --config.demonstrations=DIR    any world model, also of `pretrain`
    """
    config = ml_collections.ConfigDict()
    config.env = ""  # where to play; "": where the run was evaluated
    config.episodes = 10  # per policy
    config.seed = 1000  # of the environments
    config.sample_action = False  # False: the policy's mode
    config.workers = 0  # processes that step environments; 0 is this one
    config.video = False
    # "": the run's policy; cem (PlaNet), guided (TD-MPC), mppi (TD-MPC2), icem or my.module:Planner: planning in its
    # world model, by the reward that it predicts; tracking: planning that follows demonstrations
    config.planner = ""
    # Name of the reward head; `online` learns viper_reward, ail_reward or ot_reward.
    config.planner_reward = "reward"
    # In whose environment it plays, and which `tracking` follows; "": those of the run.
    config.demonstrations = ""
    config.num_demonstrations = placeholder(int)  # of them, the first; None: all
    config.options = (
        dict()
    )  # of the planner, as of agents.plan_search.PlanSettings and agents.tracking.Tracking
    return _presets.apply(preset, PRESETS, config)


def tiny(config: ml_collections.ConfigDict) -> None:
    """For tests."""
    config.episodes = 2
    config.options = dict(horizon=3, num_iterations=2, num_candidates=20, num_elites=4)


PRESETS = {"": (), "tiny": (tiny,)}
