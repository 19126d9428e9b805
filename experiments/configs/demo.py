"""The main job: zero-shot imitation from observation, end to end, from nothing."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets, baseline, collect, imitate, pretrain


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Makes expert, embodiment data, world model, AIME, BCO(0), BC, evaluation and report.

    Run:     python -m experiments demo --config=demo --workdir=runs/demo
    First:   --config=demo:first --workdir=runs/first             two minutes, with data and world model of the package
    Earlier: --config=demo:noise --workdir=runs/demo-noise       from 20 demonstrations, the body without rhythms
    Harder:  --config=demo:walker --workdir=runs/demo-walker     transfer from standing to walking
    Images:  --config=demo:visual --workdir=runs/demo-visual     running backwards, from images of 32x32
    In CI:   --config=demo:tiny   the same pipeline on a fake environment
    """
    config = ml_collections.ConfigDict()
    config.title = ""
    config.env = ""
    config.setup = "lpomdp"
    config.bundle = (
        ""  # robot of the package: only AIME learns, from its data and world model; "": from nothing
    )
    config.published_data = ""  # name of the embodiment data in the published table, to compare with
    config.num_seeds = 4  # trained in one program
    config.num_demonstrations = 20
    config.sample_demonstrations = False  # the expert's mode; True: with its own noise
    config.relevance = False  # True: the world model learns most from what looks like the demonstrations
    config.few_demonstrations = 1  # the same methods again with so few; 0: not
    # Of all data; size None: no images.
    config.images = dict(image_size=placeholder(int), render_quality="published")
    config.video = True
    return _presets.apply(preset, PRESETS, config)


def _parts(config: ml_collections.ConfigDict, size: str) -> None:
    """The configs of the stages."""
    tiny = "-tiny" if size == "tiny" else ""
    config.expert = collect.get_config(f"sac{tiny}")
    config.expert.demonstrations.num_episodes = 0  # a stage of their own
    config.random = collect.get_config(f"uniform{tiny}")  # the random policy, and embodiment data
    config.pretrain = pretrain.get_config(size)
    config.imitate = imitate.get_config(size)
    for name in ("bco", "bc"):
        config[name] = baseline.get_config(f"{name}-{size}")
        # Not published; without it they are worse, and AIME's model has it too.
        config[name].standardize = True


def noise(config: ml_collections.ConfigDict) -> None:
    """Running backwards, learnt by a robot that has only flailed without rhythm; few demonstrations, few updates."""
    _parts(config, "small")
    config.title = "Cheetah: running backwards from flailing"
    config.env = "cheetah-runbackward"
    config.published_data = "random"
    config.expert.agent_steps = 60_000
    config.random.num_episodes = 100
    # One world model in four is weak; the other two of an ensemble outvote it (results/cheetah-demo.md).
    config.num_seeds = 2
    config.imitate.ensemble = 3
    # Further embodiment data, one collection each; the world model learns from these and the random ones.
    config.body = ml_collections.ConfigDict({"coloured": collect.get_config("coloured")})
    config.body.coloured.num_episodes = 100
    config.body.coloured.seed = 1


def rhythmic(config: ml_collections.ConfigDict) -> None:
    """Rhythms, among which there are gaits, and more of all: what holds with every expert (results/cheetah-demo.md)."""
    config.num_seeds = 1  # of three policies
    config.num_demonstrations = 100  # as published
    config.body = ml_collections.ConfigDict({"rhythmic": collect.get_config("rhythmic")})
    config.body.rhythmic.num_episodes = 300
    config.body.rhythmic.seed = 1
    config.pretrain = pretrain.get_config("medium")
    config.imitate = imitate.get_config("medium")
    config.imitate.ensemble = 3


def first(config: ml_collections.ConfigDict) -> None:
    """The bundled cheetah: AIME alone, from ten demonstrations."""
    config.title = "Cheetah: running backwards from flailing"
    config.env = "cheetah-runbackward"
    config.bundle = "cheetah"
    config.num_seeds = 1
    config.num_demonstrations = 10
    config.few_demonstrations = 0
    config.imitate = imitate.get_config("small")


def walker(config: ml_collections.ConfigDict) -> None:
    """Walking, learnt by a robot that has only practised to stand; settings from results/walker-transfer.md."""
    _parts(config, "small")
    config.title = "Walker: walking from standing"
    config.env = "walker-walk"
    config.published_data = "stand"
    config.num_seeds = 2
    config.num_demonstrations = 150
    # The same expert's mode shows too narrow a path, even with true actions.
    config.sample_demonstrations = True
    config.few_demonstrations = 0
    config.relevance = True
    config.expert = collect.get_config("sac-walk")
    config.expert.demonstrations.num_episodes = 0
    config.random.num_episodes = 20
    config.pretrain = pretrain.get_config("walker")
    config.imitate = imitate.get_config("walker")
    config.body = ml_collections.ConfigDict({"stand": collect.get_config("sac-stand")})
    config.body.stand.demonstrations.num_episodes = 0


def visual(config: ml_collections.ConfigDict) -> None:
    """`noise` from images alone: fewer episodes, because drawing them is slow; one seed, because learning is."""
    noise(config)
    config.title = "Cheetah: running backwards from flailing, seen in images"
    config.setup = "visual"
    config.num_seeds = 1
    config.few_demonstrations = 0
    config.images = dict(image_size=32, render_quality="fast")
    # With 20, some episodes fall on the way into the gait (results/visual-demo.md).
    config.num_demonstrations = 60
    config.random.num_episodes = 20
    config.body.coloured.num_episodes = 100
    config.pretrain = pretrain.get_config("visual-small")
    config.imitate = imitate.get_config("visual-small")
    for name in ("bco", "bc"):
        config[name].network.image_encoder = dict(name="dreamer_resnet", width=8, blocks=0, minres=4)
        config[name].fit.max_updates = 3000
        config[name].evaluation.final_episodes = 10


def tiny(config: ml_collections.ConfigDict) -> None:
    """Under two minutes on any machine, nothing learnt."""
    _parts(config, "tiny")
    config.title = "Point mass: a test of the pipeline"
    config.env = "fake-pointmass"
    config.num_seeds = 2
    config.num_demonstrations = 3
    config.body = ml_collections.ConfigDict({"coloured": collect.get_config("coloured-tiny")})


PRESETS = {
    "": (noise, rhythmic),
    "first": (first,),
    "noise": (noise,),
    "walker": (walker,),
    "visual": (visual,),
    "tiny": (tiny,),
}
