#!/usr/bin/env bash
# Makes a robot that is part of the package, experiments/data/bundled/ROBOT, of finished runs:
#   bash results/bundle.sh [PYTHON [cheetah [RUNS [SEED]]]]   of `demo:noise` with single policies, seen in positions
#   bash results/bundle.sh PYTHON pointmass [RUNS [SEED]]     of results/bundle-pointmass.sh, seen in images
# World model and policy of one seed, ten demonstrations without actions, a few episodes of its body, one of the expert.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
robot=${2:-cheetah}
seed=${4:-0}
home=experiments/data/bundled/$robot
case $robot in
  cheetah) runs=${3:-runs/demo-noise} body="0, 1, 150, 151" # uniform noise, and coloured
    title="A cheetah that has flailed"
    text="World model of 200 episodes of noise; policy of AIME from 20 demonstrations of running backwards." ;;
  pointmass) runs=${3:-runs/pointmass} body="0, 1, 60, 61" # uniform noise, and coloured
    title="A point mass, seen in images"
    text="World model of 120 episodes of noise, seen in images of 32x32; policy of AIME from images of 60 scripted \
demonstrations of going home; a random policy has 45 % of the return of that expert." ;;
esac

rm -rf "$home"
$python -m experiments export --run="$runs/aime" --to="$home/model" --config.seed="$seed" --config.license=apache-2.0 \
  --config.title="$title" --config.description="$text"
$python - "$runs" "$home" "$body" << 'PYTHON'
import json, pathlib, sys

import worldmodels

runs, home = map(pathlib.Path, sys.argv[1:3])
for name, source, numbers in (
    ("demonstrations", "demonstrations", range(10)),
    ("body", "embodiment", map(int, sys.argv[3].split(","))),
    ("oracle", "oracle", (0,)),
):
    folder = runs / source / "episodes"
    episodes = worldmodels.load_episodes(next((path for path in folder.iterdir() if path.is_dir()), folder))
    # Packed as a whole, images take a tenth of what they take in HDF5.
    suffix = ".npz" if "image" in episodes[0].records else ".hdf5"
    (home / name).mkdir()
    for number in numbers:
        worldmodels.append_episode(home / name, episodes[number], suffix)
returns = [round(episode.return_, 3) for episode in worldmodels.load_episodes(runs / "random" / "episodes")]
(home / "random_returns.json").write_text(json.dumps(returns))
PYTHON
