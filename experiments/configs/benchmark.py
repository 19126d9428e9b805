"""Programs and sizes of the benchmark."""

import ml_collections

from experiments.configs import _presets, evaluate, imitate, pretrain


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Measures speed at the published size, and of several runs in one program at the size of the main job.

    Run:  python -m experiments benchmark --workdir=runs/benchmark
    From images, at the published sizes: --config=benchmark:visual
    Acting and planning alone: --config.updates="()" --config.starts=0
    Tiny: python -m experiments benchmark --config=benchmark:tiny
    """
    config = ml_collections.ConfigDict()
    config.env = "walker-walk"
    config.setup = "mdp"
    config.sensors = dict(orientations=14, height=1, velocity=9)
    config.action_size = 6
    config.num_episodes = 20  # of noise
    config.episode_length = 500
    config.published = dict(pretrain=pretrain.get_config(), imitate=imitate.get_config())
    config.small = dict(pretrain=pretrain.get_config("small"), imitate=imitate.get_config("small"))
    # Sizes with numbers of runs in one program; None is a single run without an axis of seeds. Further entries are
    # options: "bfloat16" to compute in, "memory" or "disk" for data that stream from there, "cold" to time the first
    # call, else the first does not count.
    config.updates = (
        ("published", None),
        ("published", 1),
        ("small", None),
        ("small", 1),
        ("small", 4),
        ("small", 8),
    )
    config.convolutions = None  # whose gradients are timed
    config.repetitions = 7  # of each measurement; medians are reported
    config.updates_per_dispatch = 2
    config.batches_per_dispatch = 100  # of sampling alone
    config.acting_calls = 100  # per repetition
    config.planning = dict(
        horizon=12, num_iterations=10, num_candidates=1000, num_elites=100
    )  # None: leave out
    config.collection = dict(env="walker-walk", num_envs=4, num_episodes=4, workers=0)
    config.matmul_size = 2048
    config.starts = 3  # of fresh processes, to measure imports; 0: leave out, and compilation too
    return _presets.apply(preset, PRESETS, config)


def visual(config: ml_collections.ConfigDict) -> None:
    """Images of 64x64: `published` is S (batch 50 x length 50), `medium` m (16 x 64), `small` the preset for CPUs."""
    config.setup = "visual"
    # The vectors are for the probes of `small`.
    config.sensors = dict(image=(64, 64), orientations=14, height=1, velocity=9)
    config.num_episodes = 2
    windows = dict(batch_size=16, length=64)
    config.medium = dict(pretrain=pretrain.get_config("rssmo-m"), imitate=imitate.get_config())
    config.medium.imitate.update(windows)
    config.small = dict(
        pretrain=pretrain.get_config("visual-small"), imitate=imitate.get_config("visual-small")
    )
    config.updates = (
        ("small", None),
        ("small", None, "memory"),
        ("small", None, "disk"),
        ("small", None, "bfloat16"),
        ("published", None, "cold"),
        ("published", None, "disk"),
        ("medium", None, "cold"),
        ("published", None, "bfloat16", "cold"),
        ("medium", None, "bfloat16", "cold"),
    )
    # Of cnn_ha: (pixels a side, channels in, channels out, kernel, stride, dilation of the input).
    encoder = ((64, 3, 32, 4, 2, 1), (31, 32, 64, 4, 2, 1), (14, 64, 128, 4, 2, 1), (6, 128, 256, 4, 2, 1))
    decoder = ((1, 1024, 128, 5, 1, 2), (5, 128, 64, 5, 1, 2), (13, 64, 32, 6, 1, 2), (30, 32, 3, 6, 1, 2))
    config.convolutions = dict(batch_size=50, num_updates=2, layers=encoder + decoder)
    config.repetitions = 1  # the largest take half a minute on two cores
    config.updates_per_dispatch = 1
    config.batches_per_dispatch = 10
    config.acting_calls = 10
    config.planning = None
    config.starts = 0


def tiny(config: ml_collections.ConfigDict) -> None:
    """Seconds: the same rows of the smallest models, without what needs a simulator or a fresh process."""
    config.num_episodes = 2
    config.episode_length = 20
    config.published = dict(pretrain=pretrain.get_config("tiny"), imitate=imitate.get_config("tiny"))
    config.small = dict(pretrain=pretrain.get_config("tiny"), imitate=imitate.get_config("tiny"))
    config.updates = (("published", None), ("small", 2, "bfloat16", "memory"))
    config.convolutions = dict(batch_size=2, num_updates=2, layers=((6, 3, 2, 4, 2, 1), (2, 3, 2, 4, 1, 2)))
    config.repetitions = 2
    config.batches_per_dispatch = 2
    config.acting_calls = 2
    config.planning = evaluate.get_config("tiny").options.to_dict()
    config.collection = dict(env="fake-pointmass", num_envs=2, num_episodes=2, workers=0)
    config.matmul_size = 64
    config.starts = 0


PRESETS = {"": (), "visual": (visual,), "tiny": (tiny,)}
