"""Imitation by reinforcement learning on a surrogate reward: gaifo, ot (optimal transport, ADS), temporal_ot, orca."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets
from experiments.configs._presets import defaults


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Trains SAC from vectors on what demonstrations without actions and without rewards give.

    GAIfO:      python -m experiments surrogate --config=surrogate:gaifo
                --config.demonstrations=DIR --workdir=DIR
    OT, ADS:    --config=surrogate:ot
    OT alone:   --config=surrogate:ot --config.use_schedule=False
    In order:   --config=surrogate:temporal_ot, orca
    Your own:   --config=surrogate:my.module:Name    with the values of the preset that it names
    On a CPU:   --config=surrogate:gaifo-small, ot-small, ...    20,000 agent steps per seed
    For a test: --config=surrogate:gaifo-tiny, ot-tiny, ...
    """
    if ":" in preset:
        return _presets.own(get_config, preset)
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    config.num_seeds = 1  # agents trained in one program, seeds seed, seed + 1, ...
    config.demonstrations = ""  # folder of episodes; neither actions nor rewards are used
    config.num_demonstrations = placeholder(int)  # None: all
    config.embodiment = ""  # folder of episodes to standardise by; "": the demonstrations
    config.env = ""  # where to play; "": as recorded in the demonstrations
    config.setup = "lpomdp"  # mdp, lpomdp: which sensors are read
    # Records that the agent reads; None: 1 for mdp, else 3, which show velocities.
    config.stack = placeholder(int)
    config.standardize = True
    # A run whose policy the agent begins with, in the place of random steps; it must read the same. The critics are
    # fresh: `sac.actor_after` lets them learn first, as ORCA after TemporalOT.
    config.policy_from = ""
    config.show_time = False  # the agent also reads the time, in lengths of the longest demonstration
    config.num_envs = 4  # environments that step together
    config.agent_steps = 500_000  # all environments together
    config.sac = defaults(
        "agents.sac:SACSettings", hidden_size=256, learning_rate=3e-4, batch_size=256, initial_temperature=0.1
    )
    # Returns are of one step: the rewards of steps in between are not known yet, or change. With ot, `discount` is for
    # runs without a schedule.
    config.rounds = defaults("agents.sac_rounds:RoundSettings", random_steps=2000)
    del config.rounds["num_steps"]
    config.options = dict()  # of a method of your own
    config.save_every = 5  # rounds of one episode per environment
    config.evaluation = dict(
        every=20_000,  # agent steps; 0: only at the end
        episodes=10,
        final_episodes=100,
        seed=100,
        workers=0,
        random_return=placeholder(float),  # for normalisation by random and expert
    )
    return _presets.apply(preset, PRESETS, config)


def gaifo(config: ml_collections.ConfigDict) -> None:
    """The discriminator."""
    config.method = "gaifo"
    config.discriminator = defaults("agents.gaifo:GAIfOSettings")


def ot(config: ml_collections.ConfigDict) -> None:
    """Transport of episodes, and automatic discount scheduling."""
    _matched(config, "ot", defaults("agents.progress:Transport"))
    config.use_schedule = True


def temporal_ot(config: ml_collections.ConfigDict) -> None:
    """Transport in order; the published discount."""
    _matched(config, "temporal_ot", defaults("agents.progress:TemporalOT"))
    config.rounds.discount = 0.9


def orca(config: ml_collections.ConfigDict) -> None:
    """Coverage in order; the published discount. What has been covered is not seen in a record, so time is shown."""
    _matched(config, "orca", defaults("agents.progress:ORCA"))
    config.rounds.discount, config.show_time = 0.9, True


def _matched(config: ml_collections.ConfigDict, method: str, matching: dict) -> None:
    config.method = method
    # Costs are between poses and motions, of what SAC reads, or of its embeddings: --workdir of `pretrain`, an encoder
    # or a world model.
    config.encoder = ""
    config.transport = defaults("agents.ot:OTSettings", "cost", "scale_target")
    config.transport.update(matching)
    config.use_schedule = False  # True: ADS
    # The rewards of an episode sum up to 10 (transport.scale_target), those of a step are of a hundredth; the authors'
    # agents have no entropy, and a temperature of 0.1 drowns such rewards until it has fallen.
    config.sac.initial_temperature = 1e-3
    config.schedule = defaults("agents.discount_schedule:ScheduleSettings")


def small(config: ml_collections.ConfigDict) -> None:
    """A few minutes per seed on a CPU."""
    config.agent_steps = 20_000
    config.sac.update(hidden_size=128, batch_size=128, learning_rate=1e-3)
    config.rounds.update(random_steps=1000, replay_capacity=50_000)
    config.evaluation.update(every=0, final_episodes=10)
    if config.method == "gaifo":
        config.discriminator.update(hidden_size=64, learning_rate=3e-4)
    if config.method == "orca":
        config.transport.temperature = 100.0  # demonstrations of 500 records


def tiny(config: ml_collections.ConfigDict) -> None:
    """For tests, on any data."""
    small(config)
    config.num_envs = 2
    config.agent_steps = 300
    config.sac.update(hidden_size=16, batch_size=16)
    config.rounds.update(random_steps=60, updates_per_dispatch=10, replay_capacity=1000)
    config.save_every = 2
    config.evaluation.update(every=100, episodes=2, final_episodes=2)
    if config.method == "gaifo":
        config.discriminator.update(hidden_size=8, hidden_layers=1)
    elif "num_iterations" in config.transport:
        config.transport.num_iterations = 20


METHODS = {"gaifo": (gaifo,), "ot": (ot,), "temporal_ot": (temporal_ot,), "orca": (orca,)}
SIZES = {"": (), "small": (small,), "tiny": (tiny,)}
PRESETS = {"": (gaifo,), "tiny": (gaifo, tiny)} | _presets.combined(METHODS, SIZES)
