#!/usr/bin/env bash
# Makes the robot that is part of the package, experiments/data/bundled/cheetah, of a finished demo:
#   bash results/bundle.sh [PYTHON [DEMO [SEED]]]
# World model and policy of one seed, ten demonstrations without actions, four episodes of flailing, one of the expert.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
demo=${2:-runs/demo}
seed=${3:-0}
home=experiments/data/bundled/cheetah

rm -rf "$home"
$python -m experiments export --run="$demo/aime" --to="$home/model" --config.seed="$seed" --config.license=apache-2.0 \
  --config.title="A cheetah that has flailed" \
  --config.description="World model of 200 episodes of noise; policy of AIME from 20 demonstrations of running backwards."
$python - "$demo" "$home" << 'PYTHON'
import json, pathlib, sys

import worldmodels

demo, home = map(pathlib.Path, sys.argv[1:])
for name, source, numbers in (
    ("demonstrations", "demonstrations", range(10)),
    ("body", "embodiment", (0, 1, 150, 151)),  # uniform noise, and coloured
    ("oracle", "oracle", (0,)),
):
    episodes = worldmodels.load_episodes(demo / source / "episodes")
    (home / name).mkdir()
    for number in numbers:
        worldmodels.append_episode(home / name, episodes[number])
returns = [round(episode.return_, 3) for episode in worldmodels.load_episodes(demo / "random" / "episodes")]
(home / "random_returns.json").write_text(json.dumps(returns))
PYTHON
