"""Sources of data: an expert and its replay, flailing, demonstrations of a trained policy, mixtures."""

import functools

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets
from experiments.configs._presets import defaults


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Collects episodes into WORKDIR/episodes, in the published format.

    Run:  python -m experiments collect --config=collect:sac --config.env=walker-walk --workdir=runs/walker-walk
    Tiny: python -m experiments collect --config=collect:tiny --workdir=runs/tiny
    Presets: sac (the default: all its training episodes, and demonstrations by the final policy), uniform,
    coloured, rhythmic, demonstrations (of the policy of `source`), mix (of the folders `sources`); each with "-tiny".
    From standing to walking (results/walker-transfer.md): sac-walk is the expert, sac-stand the embodiment data.
    Meta-World: scripted (--config.tasks=mt39: experts with graded noise), scripted-demonstrations (successful
    episodes without actions).
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.logger = ""  # beside files and TensorBoard: wandb, my.module:Name, or both with a comma
    return _presets.apply(preset, PRESETS, config)


def _players(config, method):
    config.method = method
    config.num_envs = 4  # environments that step together
    config.workers = 0  # processes they run in; 0 is this one, which never draws images
    config.image_size = placeholder(int)  # pixels of the sensor `image` (published: 64); None: no images
    config.render_quality = "published"  # "fast": without shadows and reflections, see results/rendering.md


def _environment(config, method):
    _players(config, method)
    config.env = "walker-walk"
    config.action_repeat = placeholder(int)  # None: the published one
    config.reward_version = "v1"
    config.episode_length = placeholder(int)  # agent steps; None: the environment's own limit


def _sac(config):
    _environment(config, "sac")
    config.agent_steps = 60_000  # per agent, all environments together
    config.num_agents = 1  # trained one after the other, with seeds seed, seed + 1, ...
    config.sac = defaults("agents.sac:SACSettings")
    config.rounds = defaults("agents.sac_rounds:RoundSettings")
    config.disturbed_share = 0.0  # share of the episodes with coloured noise on top of the policy
    config.evaluate_every = 10_000  # agent steps
    config.evaluation_episodes = 4
    config.checkpoint_every = 5  # rounds of one episode per environment
    config.demonstrations = {"num_episodes": 20, "with_actions": True, "sample": False}


def _walk(config):
    """An expert that has learnt to walk amid its own noise, and shows how it recovers from it."""
    config.env = "walker-walk"
    config.sac.target_entropy = 0.0
    config.demonstrations.update({"num_episodes": 150, "sample": True})


def _stand(config):
    """Four robots that are rewarded for standing only, half of the time disturbed; few updates, many steps."""
    config.env = "walker-stand"
    config.num_agents, config.agent_steps, config.num_envs = 4, 120_000, 8
    config.sac.target_entropy = 0.0
    config.rounds.updates_per_step = 0.25
    config.disturbed_share = 0.5
    config.evaluate_every = 40_000
    config.demonstrations.num_episodes = 0


def _noise(config, method):
    _environment(config, method)
    config.num_episodes = 100


def _demonstrator(config):
    # Segments of other behaviour in what is demonstrated: uniform, coloured or rhythmic noise.
    config.extraneous = defaults("agents.digression:Segments", behaviour="rhythmic")


def _demonstrations(config):
    _players(config, "demonstrations")
    _demonstrator(config)
    config.source = ""  # a run of the preset sac
    config.env = ""  # another task or variation of the same body; "": where the policy was evaluated
    config.num_episodes = 20
    config.with_actions = True  # False: observation only
    config.sample = False  # sampled actions instead of the mode


def _scripted(config):
    _environment(config, "scripted")
    _demonstrator(config)
    del config.env, config.num_envs  # tasks take their places, and every process plays one episode at a time
    config.tasks = "mt39"  # sets of Meta-World, tasks, environments, separated by commas
    config.num_episodes = 50  # per task
    config.shares = {"expert": 0.4, "noisy": 0.4, "random": 0.2}
    config.max_noise = 1.0  # std of the noise on the actions of noisy episodes, between 0 and this
    config.successful_only = False  # only expert episodes that are a success
    config.success_at = "end"  # of their last record, or "ever", for experts that lose it again
    config.with_actions = True
    config.workers = 2


def _scripted_demonstrations(config):
    config.tasks = "metaworld6"
    config.shares = {"expert": 1.0, "noisy": 0.0, "random": 0.0}
    config.successful_only, config.with_actions = True, False


def _mix(config):
    config.method = "mix"
    config.sources = ()  # runs or folders of episodes
    config.limit = placeholder(int)  # episodes per source; None: all
    config.mode = "forward"  # which of them: forward, backward, random, uniform


def _shrink(config):
    if config.get("env"):
        config.env = "fake-pointmass"
    if "extraneous" in config:
        config.extraneous.length = 5
    if config.method == "sac":
        config.num_envs = 2
        config.agent_steps = 400
        config.sac.update({"hidden_size": 16, "batch_size": 16})
        config.rounds.update({"random_steps": 100, "updates_per_dispatch": 10, "replay_capacity": 1000})
        config.evaluate_every, config.evaluation_episodes = 200, 2
        config.checkpoint_every = 2
        config.demonstrations.num_episodes = 3
    elif config.method == "scripted":
        config.tasks, config.num_episodes, config.workers = "fake-pointmass", 12, 0
    elif config.method != "mix":
        config.num_envs, config.num_episodes = 2, 5


METHODS: dict[str, _presets.Changes] = {
    "sac": (_sac,),
    "uniform": (functools.partial(_noise, method="uniform"),),
    "coloured": (functools.partial(_noise, method="coloured"),),
    "rhythmic": (functools.partial(_noise, method="rhythmic"),),
    "demonstrations": (_demonstrations,),
    "mix": (_mix,),
    "scripted": (_scripted,),
}
PRESETS = {
    "": (_sac,),
    "tiny": (_sac, _shrink),
    **_presets.combined(METHODS, {"": (), "tiny": (_shrink,)}),
    "sac-walk": (_sac, _walk),
    "sac-stand": (_sac, _stand),
    "scripted-demonstrations": (_scripted, _scripted_demonstrations),
    "scripted-demonstrations-tiny": (_scripted, _scripted_demonstrations, _shrink),
}
