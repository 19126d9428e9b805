"""World-model pretraining (AIME phase 1)."""

import functools

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets
from experiments.configs._presets import defaults

# Published sizes of rssmo with strided image networks: deter, hidden, layers, width of the image networks.
SIZES = {"rssmo-m": (1024, 640, 3, 48), "rssmo-l": (2048, 768, 4, 64), "rssmo-xl": (4096, 1024, 5, 96)}


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Pretrains the world model on embodiment data.

    Published:  python -m experiments pretrain --config=pretrain --config.embodiment=DIR
                --workdir=DIR
    AIME v1:    --config=pretrain:rssm      plain GRU, learned stds, dimension-wise reweighting; its walker models
                --config=pretrain:rssmo-v1  rssmo with a plain GRU; its cheetah models
    AIME-v2:    --config=pretrain:rssmo-discrete, and the larger rssmo-m (its Meta-World models), rssmo-l, rssmo-xl
    On a CPU:   --config=pretrain:small     64 units, standardised observations, fixed decoder std 0.1: minutes
                --config=pretrain:medium    128 units: more minutes, for data of rhythms (collect:rhythmic)
    Walker:     --config=pretrain:walker    160 units, 20,000 updates: tens of minutes; see results/walker-transfer.md
    Few labels: --config.unlabelled=DIR    LAWM: the actions of some episodes are enough
    Images:     --config.setup=visual     published, on data with 64x64 images
                --config=pretrain:visual-small              32x32 images on a CPU
    Reward:     --config=pretrain:viper     action-free, on demonstrations, for `online`; 500 updates, and 1000
                with viper-metaworld; viper-small after small
    Encoders:   --config=pretrain:dynamo    of frames alone, for --config.encoder=DIR of baseline and surrogate
                --config=pretrain:inverse_dynamics    the same; both on a CPU with -small
    For a test: --config=pretrain:tiny, visual-tiny, viper-tiny, dynamo-tiny, inverse_dynamics-tiny
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    config.num_seeds = 1  # world models trained in one program, seeds seed, seed + 1, ...
    config.devices = "auto"  # "one", "all"; "auto": one on a CPU, else all accelerators that divide the work
    config.embodiment = ""  # folder of episodes with actions, or several: "DIR,DIR"
    # Where data are kept: device, memory, disk (images only); auto: the first with room for them.
    config.storage = "auto"
    config.num_episodes = placeholder(int)  # None: all
    config.unlabelled = ""  # LAWM: folders of further episodes, whose actions are not looked at; "": none
    config.num_unlabelled = placeholder(int)  # episodes of it; None: all
    config.latent_actions = defaults("worldmodels.latent_actions:LatentActions")  # with unlabelled episodes
    config.env = ""  # decides the sensor layout; "": as recorded in the data; none: theirs alone
    config.action_free = False  # True: a model of observations alone, whatever actions the data have
    config.setup = "lpomdp"  # mdp, lpomdp, visual, exp, full, real; of data alone: all vectors, else images
    config.sensors = ""  # instead of a set-up, the sensors that are read, by their names: "a,b"
    config.targets = ""  # the same: what is predicted; "": what is read
    config.probes = ""  # the same: what is predicted for the eye, without gradient
    config.num_updates = 200_000
    config.batch_size = 50
    config.length = 50  # records per window
    config.first_fraction = 0.0  # share of windows that start at the first record of an episode; published: 0
    config.relevance = dict(
        demonstrations="",  # "": all windows alike (published); a folder: by their likeness to its observations
        num_demonstrations=placeholder(int),  # episodes of it; None: all
        **defaults("worldmodels.data.relevance:weighted_windows"),
    )
    config.updates_per_dispatch = 50
    config.save_every = 1000
    config.optimizer = dict(learning_rate=3e-4, final_fraction=1.0, grad_clip=100.0)
    config.loss = defaults("worldmodels.losses:LossOptions")
    config.world_model = world_model()
    return _presets.apply(preset, PRESETS, config)


def world_model() -> dict:
    """The published `rssmo`, and every option of `WorldModel`."""
    sizes = ("hidden_size", "hidden_layers")
    mlp = defaults("worldmodels.encoders:MLPEncoder", *sizes, "activation", "norm")
    cnn = defaults("worldmodels.decoders:CNNDecoder", "width", "sigmoid")
    return dict(
        # Another name of `worldmodels.world_model.DYNAMICS` takes its sizes from `rssm`; or my.module:Name.
        dynamics=dict(name="rssm"),
        rssm=defaults(
            "worldmodels.rssm:RSSM", "family", "deter_size", "stoch_size", "hidden_size", "norm", "min_std"
        ),
        encoder=dict(name="mlp", **mlp),
        decoder=dict(name="dmlp", **mlp),
        probe=dict(name="dmlp", **mlp),
        binary=dict(name="binary", **defaults("worldmodels.decoders:VectorDecoder", *sizes)),
        **defaults(
            "worldmodels.architecture:Heads",
            "predict_terminal",
            "predict_reward",
            "detach_reward",
            "baseline_probes",
        ),
        use_probes=False,
        representation=representation(),
        predict_emb=False,  # True: the decoder predicts the embedding of a momentum encoder instead of the sensors
        momentum=0.01,
        idm=defaults("worldmodels.action_head:TanhGaussianHead", *sizes, hidden_size=512),
        image_encoder=dict(name="cnn_ha", **defaults("worldmodels.encoders:CNNEncoder")),
        image_decoder=dict(name="cnn_ha", **cnn),
        image_probe=dict(name="cnn_ha", **cnn),
        # Plan2Explore has 5 members; a reward_probe's target is "disagreement" or "surprise".
        ensemble=dict(num_members=0, hidden_size=1024, hidden_layers=2, variant="std"),
        reward_probe=dict(target="none", hidden_size=1024, hidden_layers=2),
        # With a size, say 32, how many steps lead to a frame is learnt: for planner=tracking with cost=temporal.
        temporal_distance=defaults("worldmodels.temporal_distance:TemporalDistance", size=0),
        **defaults("worldmodels.architecture:Curiosity", "intrinsic_scale"),
        **defaults("worldmodels.architecture:Architecture", "idm_mode", "compute_dtype", "clip"),
        standardize=False,  # published: raw observations
    )


def representation() -> dict:
    """Options of what teaches the state: decoders of the sensors, or a loss without any."""
    return dict(
        name="reconstruction",  # barlow, infonce, sigreg, or my.module:Name; vectors become probes then
        barlow=defaults("worldmodels.representation:Barlow"),
        infonce=defaults("worldmodels.representation:InfoNCE"),
        sigreg=defaults("worldmodels.representation:SIGReg"),
    )


def viper(config: ml_collections.ConfigDict, num_updates: int = 500) -> None:
    """The likelihood model of the VIPER reward; few updates, for it soon knows the demonstrations by heart."""
    config.action_free = True
    config.num_updates = num_updates
    config.world_model.idm_mode = "none"


def rssm(config: ml_collections.ConfigDict) -> None:
    """The `rssm` of AIME v1, used for its walker models."""
    mlp = dict(hidden_size=128, hidden_layers=2, activation="elu", norm=None)
    config.num_updates = 100_000
    config.loss.update(kl_balance=None, free_nats=0.0, nll_reweight="dim_wise")
    config.world_model.rssm = dict(
        family="rssm",
        deter_size=512,
        stoch_size=128,
        hidden_size=128,
        hidden_layers=2,
        norm=None,
        min_std=1e-6,
    )
    config.world_model.encoder = dict(name="identity")
    config.world_model.decoder = dict(name="smlp", **mlp)
    config.world_model.probe = dict(name="dmlp", **mlp)
    config.world_model.idm = dict(hidden_size=128, hidden_layers=2)
    config.world_model.use_probes = True
    config.world_model.predict_terminal = False

    first_version(config)


def rssmo_v1(config: ml_collections.ConfigDict) -> None:
    """The `rssmo` of AIME v1, used for its cheetah models."""
    config.num_updates = 100_000
    config.world_model.rssm.family = "rssmo-v1"
    config.world_model.use_probes = True
    config.world_model.predict_terminal = False
    first_version(config)


def first_version(config: ml_collections.ConfigDict) -> None:
    """Settings that all models of AIME v1 share: sigmoid images, the constant of the Gaussian, no baseline probes."""
    config.world_model.baseline_probes = False
    config.world_model.ensemble.variant = "variance"
    for name in ("decoder", "probe", "image_decoder", "image_probe"):
        config.world_model[name] = dict(config.world_model[name], constant=True)
    config.world_model.image_decoder.sigmoid = True
    config.world_model.image_probe.sigmoid = True


def discrete(config: ml_collections.ConfigDict) -> None:
    """32 categoricals of 32 classes in the place of the Gaussian."""
    config.world_model.rssm.update(stoch_size=32)
    config.world_model.rssm = dict(
        config.world_model.rssm, num_classes=32, estimator="straight_through", unimix=0.0
    )


def larger(config: ml_collections.ConfigDict, size: tuple[int, int, int, int]) -> None:
    """The sizes m, l and xl; batch and windows are those of the published Meta-World models."""
    deter, hidden, layers, width = size
    mlp = dict(hidden_size=hidden, hidden_layers=layers, activation="swish", norm="ln")
    config.batch_size, config.length = 16, 64
    config.world_model.rssm.update(deter_size=deter, hidden_size=hidden)
    for name in ("encoder", "decoder", "probe"):
        config.world_model[name].update(mlp)
    config.world_model.binary = dict(name="binary", **mlp)
    config.world_model.idm.update(hidden_size=hidden, hidden_layers=layers)
    config.world_model.image_encoder = dict(name="dreamer_resnet", width=width, blocks=0, minres=4)
    for name in ("image_decoder", "image_probe"):
        config.world_model[name] = dict(config.world_model.image_encoder, sigmoid=False)


def small(config: ml_collections.ConfigDict) -> None:
    """Minutes on a CPU: what is not published is standardisation with a fixed decoder std, and the size."""
    mlp = dict(hidden_size=64, hidden_layers=2, activation="elu", norm=None)
    config.num_updates = 1500
    config.batch_size = 32
    config.save_every = 500
    config.first_fraction = 0.25
    config.optimizer = dict(learning_rate=1e-3, final_fraction=0.1, grad_clip=100.0)
    config.loss.update(free_nats=0.0)
    config.world_model.update(
        rssm=dict(family="rssmo", deter_size=64, stoch_size=16, hidden_size=64, norm="ln", min_std=0.05),
        encoder=dict(name="mlp", **mlp),
        decoder=dict(name="dmlp", std=0.1, **mlp),
        probe=dict(name="dmlp", std=1.0, **mlp),
        predict_terminal=False,
        idm_mode="none",
        idm=dict(hidden_size=64, hidden_layers=2),
        standardize=True,
    )


def medium(config: ml_collections.ConfigDict) -> None:
    """Twice the units and updates of `small`, windows half as long: for data of rhythms (results/cheetah-demo.md)."""
    small(config)
    config.num_updates, config.length = 3000, 25
    config.world_model.rssm.update(deter_size=128, stoch_size=32, hidden_size=128)
    for name in ("encoder", "decoder", "probe", "idm"):
        config.world_model[name].hidden_size = 128


def walker(config: ml_collections.ConfigDict) -> None:
    """From standing to walking: a larger model, shorter windows, more updates. Set `relevance.demonstrations` too."""
    small(config)
    mlp = dict(hidden_size=160, hidden_layers=2, activation="elu", norm=None)
    config.num_updates = 20_000
    config.batch_size = 48
    config.length = 24
    config.save_every = 2000
    config.first_fraction = 0.1
    config.optimizer = dict(learning_rate=1.5e-3, final_fraction=0.05, grad_clip=100.0)
    config.world_model.rssm.update(deter_size=160, stoch_size=32, hidden_size=160)
    config.world_model.encoder.update(mlp)
    config.world_model.decoder.update(mlp)
    config.world_model.probe.update(mlp)


def visual_small(config: ml_collections.ConfigDict) -> None:
    """From images of 32x32 on a CPU: `small` with image networks of few channels, and probes to look inside."""
    small(config)
    config.setup = "visual"
    config.num_updates = 5000
    config.save_every = 1000
    config.batch_size = 16
    config.length = 24
    # A handful of pixels move: with the published kl_scale of 1 (std 1 per pixel) the state would not note them.
    config.loss.update(kl_scale=0.03)
    config.world_model.update(use_probes=True)
    config.world_model.rssm.update(deter_size=128, stoch_size=32, hidden_size=128)
    image_networks(config, width=8)


def visual_tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: for tests, on images of 8x8 or larger."""
    tiny(config)
    config.setup = "visual"
    config.world_model.use_probes = True
    image_networks(config, width=2)


def image_networks(config: ml_collections.ConfigDict, width: int) -> None:
    """Strided networks, for square images of any power of two from 8 pixels on."""
    for name in ("image_encoder", "image_decoder", "image_probe"):
        config.world_model[name] = dict(name="dreamer_resnet", width=width, blocks=0, minres=4)


def tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: for tests, on any data."""
    small(config)
    config.num_updates = 6
    config.batch_size = 4
    config.length = 8
    config.updates_per_dispatch = 2
    config.save_every = 2
    config.world_model.rssm.update(deter_size=8, stoch_size=4, hidden_size=8)
    for name in ("encoder", "decoder", "probe", "idm"):
        config.world_model[name].update(hidden_size=8, hidden_layers=1)
    for name in ("image_encoder", "image_decoder", "image_probe"):
        config.world_model[name].update(width=2)


def _encoder(config: ml_collections.ConfigDict, method: str) -> None:
    """An encoder of single frames in the place of a world model."""
    for name in ("unlabelled", "num_unlabelled", "latent_actions", "action_free", "targets", "probes"):
        del config[name]
    for name in ("first_fraction", "relevance", "loss", "world_model"):
        del config[name]
    config.method = method
    config.num_updates = 10_000
    mlp = defaults("worldmodels.encoders:MLPEncoder", "hidden_size", "hidden_layers", "activation", "norm")
    config.network = dict(
        encoder=dict(name="mlp", **mlp),
        image_encoder=dict(name="cnn_ha", **defaults("worldmodels.encoders:CNNEncoder")),
    )
    config.standardize = False


def dynamo(config: ml_collections.ConfigDict) -> None:
    """DynaMo on windows as of Push-T; embodiment data need no actions, so that demonstrations may be among them."""
    _encoder(config, "dynamo")
    config.batch_size, config.length = 64, 5
    config.optimizer = dict(learning_rate=1e-4, final_fraction=0.0, grad_clip=0.1)
    config.dynamics = defaults("agents.dynamo:DynaMo")
    config.loss = defaults("agents.dynamo:dynamo_loss", "covariance_scale")


def inverse_dynamics(config: ml_collections.ConfigDict) -> None:
    """The action between two frames (Brandfonbrener et al. 2023)."""
    _encoder(config, "inverse_dynamics")
    config.batch_size, config.length = 256, 2
    config.optimizer = dict(learning_rate=1e-3, final_fraction=1.0, grad_clip=100.0)
    config.dynamics = defaults("agents.frame_stack:FrameStackNet", hidden_size=256)
    config.loss = dict()


def encoder_small(config: ml_collections.ConfigDict) -> None:
    """Minutes on a CPU."""
    config.num_updates, config.batch_size, config.save_every = 3000, 64, 1000
    config.optimizer = dict(learning_rate=1e-3, final_fraction=0.1, grad_clip=100.0)
    config.network.encoder.update(hidden_size=64)
    config.standardize = True
    if config.method == "dynamo":
        config.dynamics.update(layers=2, heads=4, width=64)


def encoder_tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: for tests, on any data."""
    encoder_small(config)
    config.num_updates, config.batch_size, config.updates_per_dispatch, config.save_every = 6, 4, 2, 2
    config.network.encoder.update(hidden_size=8, hidden_layers=1)
    config.network.image_encoder.update(width=2)
    if config.method == "dynamo":
        config.dynamics.update(layers=1, heads=2, width=8)
    else:
        config.dynamics.update(hidden_size=8, hidden_layers=1)


ENCODERS: dict[str, _presets.Changes] = {"dynamo": (dynamo,), "inverse_dynamics": (inverse_dynamics,)}
ENCODER_SIZES: dict[str, _presets.Changes] = {"": (), "small": (encoder_small,), "tiny": (encoder_tiny,)}

PRESETS: dict[str, _presets.Changes] = {
    "": (),
    "rssm": (rssm,),
    "rssmo-v1": (rssmo_v1,),
    "rssmo-discrete": (discrete,),
    **{name: (functools.partial(larger, size=size),) for name, size in SIZES.items()},
    "small": (small,),
    "medium": (medium,),
    "walker": (walker,),
    "visual-small": (visual_small,),
    "viper": (viper,),
    "viper-metaworld": (functools.partial(viper, num_updates=1000),),
    "viper-small": (small, viper),
    "tiny": (tiny,),
    "visual-tiny": (visual_tiny,),
    "viper-tiny": (tiny, functools.partial(viper, num_updates=6)),
    **_presets.combined(ENCODERS, ENCODER_SIZES),
}
