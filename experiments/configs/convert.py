"""Conversion of other people's data into episodes."""

import ml_collections
from ml_collections.config_dict import placeholder

from experiments.configs import _presets

PRESETS = dict.fromkeys(
    ("patchail", "tdmpc2-mt50", "tdmpc2-mt39", "tdmpc2-expert", "minari", "lerobot", "robomimic", "files"), ()
)


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    """Converts a source into WORKDIR/episodes, in the published format.

    Run: python -m experiments convert --config=convert:PRESET --config.source=PATH --workdir=DIR

    patchail       expert_demos.pkl of PatchAIL: images, states, actions, rewards
    tdmpc2-mt50    folder of chunk_*.pt of TD-MPC2's mt80: 50 Meta-World tasks, 200 episodes of each; no images
    tdmpc2-mt39    the same: the 39 easy and medium tasks, every 40th episode, 250 of each
    tdmpc2-expert  folder of 0.npz, 1.npz, ... as TD-MPC2 logs evaluations: those that succeed
    minari         name of a Minari dataset
    lerobot        folder of a LeRobot dataset, v2.0 to v3.0: parquet with images in it or beside it as mp4
    robomimic      HDF5 file of robomimic or LIBERO
    files          folder of episodes: npz to HDF5 or back (suffix), other layouts of images, fewer arrays
    """
    config = ml_collections.ConfigDict()
    config.format = "tdmpc2" if preset in ("tdmpc2-mt50", "tdmpc2-mt39") else preset
    config.source = ""  # file, folder, or name of a dataset
    config.suffix = ".hdf5"  # or .npz
    config.limit = placeholder(int)  # episodes (with mt50 and mt39: per task); None: all that are published
    if preset in ("patchail", "tdmpc2-expert", "lerobot", "robomimic"):
        config.env = ""  # environment to name in the metadata, e.g. finger-spin; "": unknown
    if preset == "patchail":
        config.image_size = 64  # pixels; the source has 84
        config.published_rewards = False  # True: one record too late, as in the published files
    elif config.format == "tdmpc2":
        config.selection = preset.removeprefix("tdmpc2-")
    elif preset == "tdmpc2-expert":
        config.limit = 10  # as the public converter; the data card says 50
    elif preset == "minari":
        config.download = False  # fetch it if it is not on this machine
    elif preset in ("lerobot", "robomimic"):
        config.image_size = placeholder(int)  # pixels of each edge; None: those of the source
    if preset == "robomimic":
        config.filter_key = ""  # the demonstrations that mask/KEY lists, such as train; "": all
        config.upside_down = False  # True: images stand on their head in the source, as those of LIBERO
    if preset in ("lerobot", "robomimic", "files"):
        # The bounds of the actions' space, one number or one for each action: they become [-1, 1]. (): as they are, of
        # lerobot their least and greatest values in the dataset.
        config.action_low = ()
        config.action_high = ()
    if preset == "files":
        config.channels_first = False  # images are [T, 3, y, x] in the source
        config.image_scale = 1.0  # 255 for images in 0..1
    if preset in ("minari", "files"):
        config.arrays = ()  # arrays to keep with actions, reward, success and flags; (): all
    if preset in ("minari", "lerobot", "robomimic", "files"):
        config.leave_out = ()  # sensors to drop
    return _presets.apply(preset, PRESETS, config)
