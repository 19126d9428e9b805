"""Online imitation: AIME-v2 and AIME-NoB."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _dreamer_v3, _presets
from experiments.configs._presets import defaults


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Continues to learn in the environment, from a pretrained world model and demonstrations without actions.

    Published:  python -m experiments online --config=online:aime-v2 --config.model=DIR
                --config.embodiment=DIR --config.demonstrations=DIR --config.reward.model=DIR --workdir=DIR
    Later:      --config=online:aime-nob    larger value gradient, faster targets; best with --config.reward.name=ail
    Meta-World: --config=online:aime-v2-metaworld, aime-nob-metaworld    their windows, batches and numbers of updates
    On a CPU:   --config=online:small       after pretraining with the presets small, and viper-small for the reward
                --config=online:medium --config.policy_from=DIR    after pretrain:medium and imitate:medium
    For a test: --config=online:tiny
    DreamerV3:  --config=online:small-v3, ...   any of them with its critic and normalised returns

    Ablations: embodiment="" (no regulariser), reward.name=none (no surrogate reward, hence no value gradient),
    regularizer.fraction, num_demonstrations, value_scale, aime_scale=0, freeze_pretrained_parameters=True.
    """
    config = ml_collections.ConfigDict()
    config.seed = 0  # also which of the pretrained models, policies and critics, if there are several
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    # Members seed, seed + 1, ... with episodes, replay and networks of their own, whose updates are one program.
    config.num_seeds = 1
    _data_and_updates(config)
    _rewards(config)
    _method(config)
    config.evaluation = dict(
        every=50,  # episodes
        episodes=10,
        final_episodes=100,
        sample_action=False,  # False: the policy's mode
        video=True,  # of the final evaluation, where something can be rendered
        random_return=placeholder(float),  # for normalisation by random and expert
    )
    return _presets.apply(preset, PRESETS, config)


def _data_and_updates(config):
    """Sources of data, and how much of everything happens."""
    config.model = ""  # --workdir of a pretraining run
    config.embodiment = ""  # its data, for the regulariser; "": none
    config.demonstrations = ""  # folder of episodes; their actions are not used
    config.num_demonstrations = placeholder(int)  # None: all
    config.env = ""  # where to play; "": as recorded in the demonstrations
    config.num_episodes = 1000
    config.num_envs = 1  # environments that step together; a round is one episode in each
    config.workers = 0  # processes they run in; 0 is this one
    config.updates_per_episode = 100
    config.updates_per_dispatch = 20
    config.prefill = 0  # episodes of uniform actions before anything is learnt
    config.model_pretraining = 0  # further updates of the model on `embodiment`
    config.policy_pretraining = (
        2000  # updates of offline AIME before the first episode; none with `policy_from`
    )
    config.offline = False  # True: nothing is collected after the prefill
    config.epsilon = 0.0  # std of noise on the played actions
    config.planning = dict(name="", options=dict())  # a planner that collects; "": the policy
    config.policy_reset_every = placeholder(int)  # episodes; None: never
    config.batch_size = 50
    config.length = 50  # records per window
    # Share of the windows whose evidence the policy seeks that start at a first record; published: 0.
    config.first_fraction = 0.0
    config.replay_capacity = placeholder(int)  # records; None: all episodes, if they are as long as the first
    config.devices = "auto"  # "one", "all"; "auto": one on a CPU, else all accelerators that divide the batch
    config.save_every = 1000  # updates of pretraining
    config.checkpoint_every = 1  # rounds; more saves time, and a killed run plays and learns them again


def _rewards(config):
    """The surrogate reward, and options of each."""
    config.reward = dict(
        name="viper",  # viper, ail, difo, ot, temporal_ot, orca, true (an oracle), none, or my.module:Reward
        model="",  # viper: --workdir of `pretrain` with a preset viper
        encoder="",  # ot, temporal_ot, orca: --workdir of an encoder, in the place of the world model's; "": that one
        head=dict(),  # options of the decoder that learns the reward; empty: as the model's decoders
        viper=defaults("aime.rewards:Viper"),
        ot=defaults("aime.rewards:Matched") | defaults("agents.progress:Transport"),
        temporal_ot=defaults("aime.rewards:Matched") | defaults("agents.progress:TemporalOT"),
        orca=defaults("aime.rewards:Matched") | defaults("agents.progress:ORCA"),
        ail=defaults("aime.adversarial:Adversarial"),
        difo=defaults("aime.adversarial:DIFO"),
        options=dict(),  # of a reward of your own
    )


def _method(config):
    """Losses, networks and optimizers."""
    config.regularizer = dict(
        mode="ratio",  # or "append": one pool of pretraining and online data
        fraction=0.5,  # of a batch, mode ratio
        num_episodes=placeholder(int),  # None: all
        sampling="random",  # which: forward, backward, random, uniform
        label=False,  # True: pretraining data get a surrogate reward too, once, instead of being masked
    )
    config.intrinsic_reward = "none"  # sought with the surrogate one: disagreement
    config.ensemble = dict(num_members=5, hidden_size=1024, hidden_layers=2)  # for it
    config.update(
        defaults(
            "aime.online:OnlineSettings",
            "aime_scale",
            "value_scale",
            "target_rate",
            "num_starts",
            "average",
            "part_clip",
        )
    )
    config.update(defaults("agents.imagination:ImaginationOptions", "entropy_scale"))
    config.imagination = defaults("agents.imagination:ImaginationOptions")
    del config.imagination.entropy_scale
    config.loss = defaults(
        "aime.losses:AIMEOptions",
        "kl_scale",
        "kl_only",
        "idm_mode",
        "first_action",
        "observation_noise",
    )
    config.policy = defaults(
        "worldmodels.action_head:TanhGaussianHead", "hidden_size", "hidden_layers", "min_std"
    )
    config.critic = defaults("agents.imagination:value_networks")  # name: mlp, or two_hot of DreamerV3
    # --workdir of an imitation or online run on `model`, whose policy to start from with a fresh optimizer.
    config.policy_from = ""
    config.critic_from = ""  # and whose critic, of the same reward
    config.freeze_pretrained_parameters = False  # True: of the model only new heads learn
    config.model_optimizer = dict(learning_rate=3e-4, grad_clip=100.0)
    # True: the model's learning rate is the one with which the pretraining of `model` has ended.
    config.model_lr_from_pretraining = False
    config.policy_optimizer = dict(learning_rate=3e-4, grad_clip=100.0)
    config.critic_optimizer = dict(learning_rate=8e-5, grad_clip=100.0)
    # True: the running average plays the episodes, too, and not evaluations alone.
    config.average_plays = False
    config.analysis = dict(
        demonstrations="",  # those with actions, for analysis/action_mse_demonstration
        balance=True,  # at evaluations: parts of the gradient, reward along episodes, imagined and realised returns
    )


def nob(config: ml_collections.ConfigDict) -> None:
    """The final version of the paper; pretrain with world_model.idm_mode=none as it does."""
    config.value_scale = 1.0
    config.target_rate = 0.05


def metaworld(config: ml_collections.ConfigDict) -> None:
    """2500 episodes of 200 simulator steps; 20 updates after each."""
    config.num_episodes = 2500
    config.updates_per_episode = 20
    config.batch_size = 16
    config.length = 64
    config.evaluation.every = 100


def small(config: ml_collections.ConfigDict) -> None:
    """Minutes on a CPU, after pretraining with the preset of the same name."""
    nob(config)
    config.num_episodes = 100
    config.num_envs = 2
    config.updates_per_episode = 10
    config.updates_per_dispatch = 20
    config.policy_pretraining = 600
    config.batch_size = 16
    config.length = 32
    config.first_fraction = 0.5
    config.save_every = 300
    config.checkpoint_every = 5
    config.num_starts = 128
    config.imagination.horizon = 10
    config.loss.update(first_action="zero", observation_noise=0.04)
    config.reward.head = dict(
        name="dmlp", hidden_size=64, hidden_layers=2, activation="elu", norm=None, std=1.0
    )
    for name in ("ail", "difo"):
        config.reward[name].update(hidden_size=64, hidden_layers=2, learning_rate=3e-4)
    config.ensemble.update(hidden_size=64)
    config.policy.update(hidden_size=64)
    config.critic.update(hidden_size=64)
    config.model_optimizer.learning_rate = 5e-4
    config.policy_optimizer.learning_rate = 1e-3
    config.critic_optimizer.learning_rate = 1e-3
    config.evaluation.update(every=20, final_episodes=20)


def medium(config: ml_collections.ConfigDict) -> None:
    """`small` with twice the units, for `policy_from`; after pretraining and imitation with the presets medium."""
    small(config)
    config.reward.head.hidden_size = 128
    for name in ("ail", "difo"):
        config.reward[name].hidden_size = 128
    config.ensemble.hidden_size = 128
    config.critic.hidden_size = 128
    # The rates with which model and policy have ended: with those of `small` the policy first loses what it could.
    config.policy_optimizer.learning_rate = 3e-4
    config.model_lr_from_pretraining = True
    config.average = 0.99


def tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: for tests, on any data."""
    small(config)
    config.num_episodes = 4
    config.num_envs = 1
    config.updates_per_episode = 2
    config.updates_per_dispatch = 2
    config.policy_pretraining = 4
    config.save_every = 2
    config.batch_size = 4
    config.length = 8
    config.checkpoint_every = 1
    config.num_starts = 8
    config.imagination.horizon = 3
    config.reward.head = dict(
        name="dmlp", hidden_size=8, hidden_layers=1, activation="elu", norm=None, std=1.0
    )
    for name in ("ail", "difo"):
        config.reward[name].update(hidden_size=8, hidden_layers=1)
    config.ensemble.update(num_members=3, hidden_size=8, hidden_layers=1)
    config.policy.update(hidden_size=8, hidden_layers=1)
    config.critic.update(hidden_size=8, hidden_layers=1)
    config.evaluation.update(every=2, episodes=2, final_episodes=2, video=False)
    config.analysis.balance = False


PUBLISHED_AND_SMALL: dict[str, _presets.Changes] = {
    "": (),
    "aime-v2": (),
    "aime-nob": (nob,),
    "aime-v2-metaworld": (metaworld,),
    "aime-nob-metaworld": (nob, metaworld),
    "small": (small,),
    "medium": (medium,),
    "tiny": (tiny,),
}
PRESETS = _dreamer_v3.added(PUBLISHED_AND_SMALL, _dreamer_v3.of_online)
