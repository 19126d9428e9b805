"""Installs the packages of this repository: `pip install -c constraints.txt -e ".[dmc,dev]"`."""

import pathlib
import re

from setuptools import find_packages, setup

# The core runs without a simulator. Versions that were tested together are in constraints.txt.
CORE = [
    "absl-py",
    "chex",
    "distrax>=0.1.9",
    "flax>=0.12.8",
    "h5py",
    "imageio-ffmpeg",
    "jax>=0.10",
    "jinja2>=3.1",
    "matplotlib",
    "ml_collections>=1.1",
    "numpy>=2",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12,<0.13",
    "pillow",
    "psutil",
    "rich>=14.1",  # bars inside bars
    "safetensors>=0.5",
    "scipy",
    "tensorboardX>=2.6.5",
]

# dm_control 1.0.50 with mujoco 4 loads no model, and neither does metaworld from mujoco 3.17 on. Without the
# lower bound, pip answers a missing wheel of labmaze with a dm_control of 2020. There is none for Python 3.13, where
# Meta-World does without.
DMC = ["mujoco>=3.3,<3.17", "dm_control>=1.0.27,<1.0.50"]
METAWORLD = [
    "metaworld==3.1.1",
    "mujoco==3.3.0",
    'dm_control>=1.0.27,<1.0.30 ; python_version < "3.13"',
    "gymnasium>=1.1,<2",
    "packaging",  # gymnasium needs it and does not say so
]

EXTRAS = {
    "dmc": DMC,
    "gymnasium": ["gymnasium>=1.1,<2", "packaging"],
    "metaworld": METAWORLD,
    "published": ["torch>=2.6", "pyyaml"],  # only to read checkpoints and data of others' PyTorch code
    "minari": ["minari[hdf5]>=0.5"],  # to convert its datasets
    "lerobot": ["pyarrow>=17"],  # the same; ffmpeg comes with the core
    "hub": ["huggingface_hub>=1"],  # models on the Hugging Face Hub
    "wandb": ["wandb>=0.20"],  # --config.logger=wandb
    "slurm": ["submitit>=1.5"],
    "notebook": ["jupyterlab", "mediapy"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings[python]>=1", "sphinx-mathjax-offline"],
    "dev": ["pytest>=8", "pytest-xdist", "ruff", "mypy>=2.4", "submitit>=1.5", "huggingface_hub>=1"],
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
}

HERE = pathlib.Path(__file__).parent
PACKAGES = ["worldmodels", "agents", "aime", "experiments", "launch"]
VERSION = re.search(r'__version__ = "(.*)"', HERE.joinpath("worldmodels", "__init__.py").read_text())[1]

setup(
    version=VERSION,
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    package_data={
        "": ["py.typed", "*.json", "*.html", "*.csv"],
        "experiments.data": ["bundled/*/*", "bundled/*/*/*"],
    },
    entry_points={"console_scripts": ["aime-jax=experiments.__main__:console"]},
    install_requires=CORE,
    extras_require=EXTRAS,
)
