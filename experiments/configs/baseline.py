"""Baselines of imitation: BCO and its relatives, latent-action and offline methods; the oracles bc and mbbc."""

import functools

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets
from experiments.configs._presets import defaults

ROUNDS = ("bco_alpha", "bcv_lr")  # methods that learn in rounds


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Trains policies on demonstrations.

    Published:  python -m experiments baseline --config=baseline:bco
                --config.embodiment=DIR --config.demonstrations=DIR --workdir=DIR
    From images: ... --config.setup=visual
    Rounds:     --config=baseline:bco_alpha   plays 20 episodes per round, after which it evaluates and saves
    Forward:    --config=baseline:iidm        the gradient goes through a forward model
    Foresight:  --config=baseline:pidm        what is seen --config.horizon=3 steps ahead is inverted
    Few labels: --config=baseline:clam        or lapo, laom; --config.unlabelled=DIR: further video of the body
                --config=baseline:bcv_lr      in rounds, too
    Chunks:     --config=baseline:bco --config.chunk=8      or bc, mbbc; --config.head=flow streams them from noise
    Oracles:    --config=baseline:bc          with the true actions; needs no embodiment data
                --config=baseline:mbbc --config.model=DIR    the same, over the state of a pretrained world model
    Offline RL: --config=baseline:smodice     or lobsdice: clones the steps that lead where the demonstrations go
    Zero-shot:  --config=baseline:fb          policies of data that cover much; demonstrations choose one
    Your own:   --config=baseline:my.module:Name    with the values of the preset that it names
    On a CPU:   --config=baseline:bco-small, ...    6000 updates per network
    For a test: --config=baseline:bco-tiny, ...
    """
    if ":" in preset:
        return _presets.own(get_config, preset)
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    config.num_seeds = 1  # seeds seed, seed + 1, ...; trained in one program, but for bco_alpha, bcv_lr
    config.demonstrations = ""  # folder of episodes; only bc and mbbc use their actions
    config.num_demonstrations = placeholder(int)  # None: all
    config.env = ""  # where to evaluate; "": as recorded in the demonstrations; none: nowhere
    config.fit = defaults("agents.fitting:FitSettings")
    config.options = dict()  # of a baseline of your own
    config.devices = "auto"  # "one", "all"; "auto": one on a CPU, else all accelerators that divide the work
    config.save_every = 1000  # updates, rounded up to whole epochs
    config.evaluation = dict(
        every=1,  # epochs of the policy between evaluations; 0: only at the end
        episodes=1,
        final_episodes=100,
        seed=100,
        workers=0,
        random_return=placeholder(float),  # for normalisation by random and expert
    )
    return _presets.apply(preset, PRESETS, config)


def bco(config: ml_collections.ConfigDict, method: str = "bco") -> None:
    """Networks that read a few frames."""
    config.method = method
    config.embodiment = ""  # folder of episodes with actions; bc does not read it
    config.num_embodiment = placeholder(int)  # episodes to use; None: all
    config.setup = "lpomdp"  # mdp, lpomdp, visual, exp, ...: which sensors are read
    config.sensors = ""  # instead of a set-up, their names: "a,b"
    # EIL, see docs/concepts/aime.md: records around matched ones that are so close; None: all.
    config.common_parts = dict(max_gap=placeholder(int), min_length=10)
    config.stack = placeholder(int)  # frames that the policy reads; None: 1 for mdp, else 5; bco_alpha 3
    config.standardize = False  # published: raw observations
    config.init_with_idm_encoder = True  # of the policy; iidm: with that of the forward model
    config.network = dict(
        encoder=dict(name="identity"),
        image_encoder=dict(name="cnn_ha", **defaults("worldmodels.encoders:CNNEncoder")),
        **defaults("agents.frame_stack:FrameStack", "merger"),
        **defaults("agents.frame_stack:FrameStackNet"),
    )
    if method in ("bc", "bco"):
        _decisions(config)
        # --workdir of `pretrain`, an encoder or a world model, whose encoder all networks begin with; "": none.
        config.encoder = ""
        config.freeze_encoder = True  # False: it learns with them
    if method != "bc":
        config.fit.min_updates = 5000


def _decisions(config: ml_collections.ConfigDict) -> None:
    """Lets policies decide on several actions, and by a flow."""
    config.chunk = 1  # actions that are decided on at once; of more the last decisions act together
    config.head = "gaussian"  # "flow": actions that noise flows to, of a chunk while they are still flowing
    config.update(defaults("agents.flow:FlowHead", "euler_steps"))


def bco_alpha(config: ml_collections.ConfigDict) -> None:
    """AIME-v2: 1000 episodes; splits by episodes; from the second round, one epoch without improvement ends a fit."""
    bco(config, "bco_alpha")
    config.num_rounds = 50  # after the first fit, which is that of BCO(0)
    config.episodes_per_round = 20  # Meta-World: 100
    config.num_envs = 10  # that play at once
    config.network.merger = "flare"
    config.fit.update(batch_size=256, min_epochs=10)
    config.evaluation.episodes = 10


def _offline(config: ml_collections.ConfigDict, method: str, num_updates: int) -> None:
    """Networks that learn together for a number of updates, and see vectors alone."""
    bco(config, method)
    del config.fit, config.init_with_idm_encoder
    config.num_updates = num_updates
    config.updates_per_dispatch = 100
    config.batch_size = 512
    config.learning_rate = 3e-4
    config.save_every = 10_000
    config.evaluation.update(every=50_000)  # updates


def smodice(config: ml_collections.ConfigDict) -> None:
    """By states."""
    _offline(config, "smodice", 1_000_000)
    config.dice = defaults("agents.dice:DiceSettings")


def lobsdice(config: ml_collections.ConfigDict) -> None:
    """By transitions, with a softer divergence, a weak penalty, and the value's gradient held down."""
    _offline(config, "lobsdice", 2_000_000)
    config.dice = defaults("agents.dice:DiceSettings", transitions=True, alpha=0.1, penalty_scale=0.1)
    config.dice.update(value_penalty=1e-4, weight_decay=0.0)


def fb(config: ml_collections.ConfigDict) -> None:
    """Forward-backward representations; the demonstrations choose among its policies."""
    _offline(config, "fb", 1_000_000)
    config.batch_size = 1024
    config.learning_rate = 1e-4
    config.network.update(hidden_size=1024)
    config.representation = defaults("agents.forward_backward:ForwardBackwardSettings")


def offline_small(config: ml_collections.ConfigDict) -> None:
    """Minutes on a CPU."""
    config.num_updates = 6000
    config.learning_rate = 1e-3
    config.batch_size = 256
    config.save_every = 2500
    config.standardize = True
    config.evaluation.update(every=0, final_episodes=10)
    if config.method == "fb":
        config.network.update(hidden_size=256)
        config.representation.update(hidden_size=256, dimension=32)
    else:
        config.dice.update(hidden_size=128)


def offline_tiny(config: ml_collections.ConfigDict) -> None:
    """For tests."""
    offline_small(config)
    config.num_updates, config.updates_per_dispatch, config.save_every = 6, 2, 2
    config.batch_size = 8
    config.stack = 2
    config.network.update(hidden_size=8, hidden_layers=1)
    config.evaluation.update(every=4, episodes=2, final_episodes=2)
    if config.method == "fb":
        config.representation.update(hidden_size=8, hidden_layers=1, dimension=4)
    else:
        config.dice.update(hidden_size=8)


def pidm(config: ml_collections.ConfigDict) -> None:
    """Foresight and an inverse model; fitted as BCO(0)."""
    bco(config, "pidm")
    config.update(defaults("agents.pidm:PredictivePolicy", "horizon"))


def _latent(config: ml_collections.ConfigDict, method: str, size: int, **decoder: int) -> None:
    """Networks of latent actions, all fitted with one setting."""
    bco(config, method)
    config.init_with_idm_encoder = False
    config.unlabelled = ""  # folder of further episodes, whose actions are not looked at; "": none
    config.num_unlabelled = placeholder(int)  # episodes of it; None: all
    config.latent = dict(
        size=size,
        decoder=decoder,
        decoder_after=True,  # False: the decoder of the model is that of the policy
        **defaults("agents.latent_action_model:latent_action_loss"),
        **defaults("agents.latent_action_model:LatentActionModel", "space", "target_rate"),
    )
    config.fit.update(batch_size=128, patience=None, min_epochs=0, min_updates=0, training_fraction=0.9)


def clam(config: ml_collections.ConfigDict) -> None:
    """Continuous latent actions whose decoder is learnt with the model."""
    _latent(config, "clam", 8, hidden_size=1024, hidden_layers=3)
    config.latent.update(decoder_after=False, decoder_weight=0.5)
    config.stack = 2
    config.network.update(hidden_size=1024, hidden_layers=2)
    config.fit.update(learning_rate=3e-4, grad_clip=1.0, max_updates=500_000)


def lapo(config: ml_collections.ConfigDict) -> None:
    """Latent actions of codes."""
    _latent(config, "lapo", 128, hidden_size=128, hidden_layers=2)
    # codes=0: continuous
    config.latent.quantizer = defaults("agents.latent_action_model:Quantizer")
    config.stack = 2
    config.network.update(hidden_size=1024, hidden_layers=2)
    config.fit.update(learning_rate=3e-4, grad_clip=2.0, max_updates=50_000)


def laom(config: ml_collections.ConfigDict) -> None:
    """Large latent actions over up to ten steps, between embeddings, with little supervision."""
    _latent(config, "laom", 8192, hidden_size=256, hidden_layers=2)
    config.latent.update(space="embedding", max_offset=10, decoder_weight=0.001)
    config.stack = 3
    config.network.update(hidden_size=1024, hidden_layers=3)
    config.fit.update(learning_rate=1e-4, batch_size=512, max_updates=100_000)


def bcv_lr(config: ml_collections.ConfigDict) -> None:
    """Rounds of about 1000 steps; latent actions of codes, between features of frames."""
    bco_alpha(config)
    config.method = "bcv_lr"
    del config.init_with_idm_encoder
    config.unlabelled = ""  # folder of further episodes, whose actions are not looked at; "": none
    config.num_unlabelled = placeholder(int)  # episodes of it; None: all
    config.latent = dict(size=128, decoder=dict(hidden_size=128, hidden_layers=2))
    config.latent.quantizer = defaults("agents.latent_action_model:Quantizer")
    # Of sensors that are encoded.
    names = ("size", "prototypes", "rate", "temperature", "target_temperature", "iterations")
    config.features = defaults("agents.prototypes:Prototypes", *names)
    config.video = defaults("agents.fitting:FitSettings")  # of the features and the model of video
    config.video.update(learning_rate=3e-4, batch_size=128, grad_clip=2.0, max_updates=50_000)
    config.video.update(patience=None, min_epochs=0, training_fraction=0.9)
    config.update(defaults("agents.bcv_lr:alignment_loss", "forward_weight"))
    config.noise = 0.5  # std, of the actions that are played
    config.stack = 3
    config.network.update(hidden_size=1024, hidden_layers=2, merger="concat")
    config.fit.update(learning_rate=1e-3, batch_size=512)
    config.num_rounds, config.episodes_per_round, config.num_envs = 50, 2, 2


def mbbc(config: ml_collections.ConfigDict) -> None:
    """A policy like AIME's, on windows as AIME reads them."""
    config.method = "mbbc"
    config.model = ""  # --workdir of a pretraining run
    config.common_parts = dict(max_gap=placeholder(int))  # EIL; None: all
    config.policy = defaults(
        "worldmodels.action_head:TanhGaussianHead", "hidden_size", "hidden_layers", "min_std"
    )
    config.length = 50  # records per window
    _decisions(config)
    config.use_log_prob = False  # True: likelihood of the actions instead of the squared error


def small(config: ml_collections.ConfigDict) -> None:
    """Seconds per network on a CPU: of 6000 updates, the best of each 500 on 10% of the windows.

    On cheetah-runbackward (lpomdp, from noise), standardising lifts BCO(0) from 67 to 71% of the expert and
    BC from 94 to 100% (means of 4 seeds).
    """
    if "fit" not in config:
        offline_small(config)
        return
    config.fit.update(training_fraction=0.9, updates_per_epoch=500, max_updates=6000)
    config.fit.update(patience=None, min_epochs=0, min_updates=0)
    config.save_every = 2000
    config.evaluation.update(every=0, final_episodes=10)
    if config.method == "mbbc":  # a window costs a pass of the world model
        # With 900 updates and 64 units a cheetah does not start to run (1% of the expert), with these it has 89%.
        config.fit.update(batch_size=32, updates_per_epoch=300, max_updates=3600)
        config.policy.hidden_size = 128
        return
    config.standardize = True
    if "latent" in config:  # frames as of the other baselines
        config.stack = None
        config.network.update(hidden_size=128, hidden_layers=2)
        config.latent.decoder.update(hidden_size=128, hidden_layers=2)
        config.latent.size = min(config.latent.size, 128)
        config.fit.update(batch_size=50, learning_rate=1e-3)
    if "video" in config:
        config.video.update(batch_size=50, learning_rate=1e-3, updates_per_epoch=500, max_updates=3000)
        config.features.prototypes = 48  # as published about as many as windows in a batch
    if config.method in ROUNDS:  # its rounds end by themselves
        config.fit.update(batch_size=50, patience=3, max_updates=None, min_updates=3000)
        config.num_rounds, config.episodes_per_round = 5, 10
        config.evaluation.episodes = 4


def tiny(config: ml_collections.ConfigDict) -> None:
    """For tests, on any data."""
    if "fit" not in config:
        offline_tiny(config)
        return
    small(config)
    config.save_every = 40
    config.evaluation.update(every=2, episodes=2, final_episodes=2)
    if config.method == "mbbc":
        config.fit.update(batch_size=4, updates_per_epoch=2, max_updates=4)
        config.length = 8
        config.policy.update(hidden_size=8, hidden_layers=1)
        return
    config.stack = 2
    config.network.update(hidden_size=16, hidden_layers=1, image_encoder=dict(name="cnn_ha", width=2))
    config.fit.update(batch_size=16, updates_per_epoch=20, max_updates=80)
    if "latent" in config:
        config.latent.decoder.update(hidden_size=16, hidden_layers=1)
        config.latent.size = 8
    if "max_offset" in config.get("latent", {}):
        config.latent.max_offset = min(config.latent.max_offset, 3)
    if "video" in config:
        config.video.update(batch_size=16, updates_per_epoch=20, max_updates=40)
        config.features.update(size=8, prototypes=8)
    if config.method in ROUNDS:
        config.fit.update(patience=1, max_updates=60, min_updates=0, training_fraction=0.7)
        config.num_rounds, config.episodes_per_round, config.num_envs = 2, 3, 2


def _rounds(config: ml_collections.ConfigDict) -> None:
    """Methods that learn in rounds evaluate and save after every one."""
    if config.method in ROUNDS:
        del config.save_every, config.evaluation.every


METHODS: dict[str, _presets.Changes] = {
    "bco": (bco,),
    "bc": (functools.partial(bco, method="bc"),),
    "iidm": (functools.partial(bco, method="iidm"),),
    "mbbc": (mbbc,),
    "bco_alpha": (bco_alpha,),
    "smodice": (smodice,),
    "lobsdice": (lobsdice,),
    "fb": (fb,),
    "pidm": (pidm,),
    "bcv_lr": (bcv_lr,),
    "clam": (clam,),
    "lapo": (lapo,),
    "laom": (laom,),
}
SIZES = {"": (_rounds,), "small": (small, _rounds), "tiny": (tiny, _rounds)}
PRESETS = {"": (bco,), "tiny": (bco, tiny)} | _presets.combined(METHODS, SIZES)
