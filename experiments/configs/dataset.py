"""Work on folders of episodes."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets

PRESETS = dict.fromkeys(("statistics", "check", "mix", "render", "export"), ())


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Looks at folders of episodes, and makes new ones of them.

    Run: python -m experiments dataset --config=dataset:PRESET --config.data=DIR[,DIR]

    statistics   number, length, return and success of the episodes of each folder
    check        every file: damaged, misaligned, odd dtypes, sensors or set-ups, turned images; exit code 2 if any
    mix          some episodes of several folders into WORKDIR/episodes
    render       images of stored physics states into copies in WORKDIR/episodes
    export       one episode as WORKDIR/episode.mp4 or .gif; all, as a dataset of others, as WORKDIR/lerobot or minari
    """
    config = ml_collections.ConfigDict()
    config.do = preset
    config.data = ""  # folder of episodes, or several: "DIR,DIR"
    if preset == "check":
        config.seconds = 60.0  # after which a file counts as unreadable
        config.draw = True  # compare images with pictures drawn again, where physics states allow it
        # Of files without them, as published: the first image is compared with a start of an episode.
        config.env = ""
    if preset == "mix":
        config.limit = placeholder(int)  # episodes per folder; None: all
        config.mode = "forward"  # which of them: forward, backward, random, uniform
        config.seed = 0
    if preset in ("render", "export"):
        config.image_size = {"render": 64, "export": 240}[preset]  # pixels
        config.camera = placeholder(int)  # None: the published one
        config.render_quality = "published"  # "fast": without shadows and reflections
    if preset == "render":
        config.workers = 2  # processes that draw
    if preset == "export":
        config.episode = 0  # in the order of the files
        config.format = "mp4"  # or gif; lerobot (v3.0), minari: all episodes, so that others can read them
        config.fps = placeholder(float)  # None: the speed of the simulation
        # The recorded images if there are any, else (or if False) drawn from physics states.
        config.recorded = True
    return _presets.apply(preset, PRESETS, config)
