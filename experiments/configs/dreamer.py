"""Dreamer and Plan2Explore: experts, and embodiment data from curiosity, by learning in imagination."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _dreamer_v3, _presets, pretrain
from experiments.configs._presets import defaults


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Learns a world model, and in its imagination a policy, from episodes that the policy plays.

    Published:  python -m experiments dreamer --config=dreamer --config.env=walker-walk --config.setup=visual
    Curiosity:  --config=dreamer:p2e        Plan2Explore: 2005 episodes of embodiment data without any task
    On a CPU:   --config=dreamer:small      a simple expert from state in minutes; p2e-small explores as long
                --config=dreamer:visual-small    the same from images of 32x32; p2e-visual-small
    For a test: --config=dreamer:tiny       and p2e-tiny
    DreamerV3:  --config=dreamer:v3, small-v3, ...    any of them with its critic and normalised returns
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    # Members seed, seed + 1, ... with episodes, replay and networks of their own, whose updates are one program.
    config.num_seeds = 1
    config.env = "walker-walk"
    config.action_repeat = placeholder(int)  # None: the published one
    config.reward_version = "v1"
    config.episode_length = placeholder(int)  # agent steps; None: the environment's own limit
    config.setup = "mdp"  # mdp, lpomdp, visual, exp, full, real
    config.image_size = 64  # pixels, for set-ups with images
    config.render_quality = "published"  # "fast": without shadows and reflections, see results/rendering.md
    config.reward = "true"  # what the policy is after: true, disagreement, lbs
    config.num_episodes = 1000  # all of them, prefill included
    config.num_envs = 1  # environments that step together; a round is one episode in each
    config.workers = 0  # processes they run in; 0 is this one
    config.devices = "auto"  # "one", "all"; "auto": one on a CPU, else all accelerators that divide the batch
    config.prefill = 5  # episodes of uniform actions before anything is learnt, rounded up to whole rounds
    config.model_pretraining_iterations = 100  # updates of the model alone after the prefill
    config.updates_per_step = 0.2  # updates per agent step, all environments together: 100 per 500 steps
    config.updates_per_dispatch = 50
    config.sample_action = False  # False: episodes are played with the policy's mode, as published
    config.epsilon = 0.0  # std of noise on the played actions
    config.planning = dict(name="", options=dict())  # a planner that collects; "": the policy
    config.batch_size = 50
    config.length = 50  # records per window
    config.first_fraction = 0.0  # share of windows that start at the first record of an episode; published: 0
    config.replay_capacity = placeholder(int)  # records; None: all episodes, if they are as long as the first
    config.checkpoint_every = 10  # rounds
    config.model = ""  # "": a new world model; --workdir of a run, of this set-up, whose model to start from
    config.freeze_pretrained_parameters = False  # what came from there is not trained
    config.policy_from = ""  # the same for the policy
    config.critic_from = ""  # and for the critic
    config.model_optimizer = dict(learning_rate=3e-4, grad_clip=100.0)
    config.policy_optimizer = dict(learning_rate=8e-5, grad_clip=100.0)
    config.critic_optimizer = dict(learning_rate=8e-5, grad_clip=100.0)
    config.loss = defaults("worldmodels.losses:LossOptions")
    config.imagination = defaults("agents.imagination:ImaginationOptions")
    config.target_rate = 0.01  # share of the critic that goes into its target at every update
    config.policy = defaults(
        "worldmodels.action_head:TanhGaussianHead", "hidden_size", "hidden_layers", "min_std"
    )
    config.critic = defaults("agents.imagination:value_networks")  # name: mlp, or two_hot of DreamerV3
    config.world_model = world_model("")
    config.evaluation = dict(
        every=10,  # episodes
        **dict(episodes=10, final_episodes=100, sample_action=False, workers=0),
    )
    return _presets.apply(preset, PRESETS, config)


def world_model(preset: str) -> ml_collections.ConfigDict:
    """That of `pretrain.py:preset`, without inverse dynamics; for reward=disagreement it has an ensemble of five."""
    options = ml_collections.ConfigDict(pretrain.get_config(preset).world_model.to_dict())
    options.idm_mode = "none"
    options.ensemble.num_members = 5
    return options


def explore(config: ml_collections.ConfigDict) -> None:
    """Plan2Explore: the policy goes where the members of an ensemble disagree, twice as long as an expert learns.

    As AIME-v2, whose environments repeat every action twice; the experts of Dreamer are those of AIME v1.
    """
    config.reward = "disagreement"
    config.num_episodes = 2005
    config.reward_version = "v2"


def small(config: ml_collections.ConfigDict) -> None:
    """Minutes on a CPU: small networks, higher learning rates, four environments that are played with noise."""
    config.env = "cartpole-swingup"
    config.reward_version = "v1"  # repeats every action eight times: a quarter of the agent steps of v2
    config.num_episodes = 80
    config.num_envs = 4
    config.prefill = 8
    config.model_pretraining_iterations = 200
    config.updates_per_step = 0.4
    config.epsilon = 0.3
    config.batch_size = 16
    config.length = 32
    config.first_fraction = 0.1
    config.checkpoint_every = 4
    config.model_optimizer = dict(learning_rate=1e-3, grad_clip=100.0)
    config.policy_optimizer = dict(learning_rate=3e-4, grad_clip=100.0)
    config.critic_optimizer = dict(learning_rate=3e-4, grad_clip=100.0)
    config.loss.update(free_nats=0.0)
    config.target_rate = 0.02
    config.policy.update(hidden_size=64)
    config.critic.update(hidden_size=64)
    config.world_model = world_model("small")
    config.world_model.ensemble.hidden_size = 64
    config.evaluation.update(every=20, episodes=4, final_episodes=10)


def visual_small(config: ml_collections.ConfigDict) -> None:
    """`small` from images of 32x32, drawn without shadows, with the networks of `pretrain.py:visual-small`."""
    small(config)
    visual = pretrain.get_config("visual-small")
    config.setup = "visual"
    config.image_size, config.render_quality = 32, "fast"
    config.updates_per_step = 0.2
    config.batch_size, config.length = visual.batch_size, visual.length
    # Imagination follows the prior, which the scale of pretraining (0.03) leaves 38 nats a step behind the posterior.
    config.loss.update(kl_scale=0.25)
    config.world_model = world_model("visual-small")
    config.world_model.ensemble.hidden_size = 128


def tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: for tests, on a fake environment."""
    small(config)
    config.env = "fake-pointmass"
    config.num_episodes = 10
    config.num_envs = 2
    config.prefill = 3
    config.model_pretraining_iterations = 2
    config.updates_per_step = 0.1
    config.updates_per_dispatch = 2
    config.epsilon = 0.1
    config.batch_size = 4
    config.length = 8
    config.checkpoint_every = 1
    config.imagination.horizon = 3
    config.policy.update(hidden_size=8, hidden_layers=1)
    config.critic.update(hidden_size=8, hidden_layers=1)
    config.world_model = world_model("tiny")
    config.world_model.update(
        predict_terminal=True, binary=dict(name="binary", hidden_size=8, hidden_layers=1)
    )
    config.world_model.ensemble.update(num_members=3, hidden_size=8, hidden_layers=1)
    config.world_model.reward_probe.update(hidden_size=8, hidden_layers=1)
    config.evaluation.update(every=4, episodes=2, final_episodes=3)


REWARDS = {"": (), "p2e": (explore,)}
SIZES = {"": (), "small": (small,), "visual-small": (visual_small,), "tiny": (tiny,)}
PRESETS = _dreamer_v3.added(_presets.combined(REWARDS, SIZES), _dreamer_v3.of_dreamer)
