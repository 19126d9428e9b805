#!/usr/bin/env bash
# The runs of the robot of the package that sees images; `results/bundle.sh PYTHON pointmass` puts them into it.
#   bash results/bundle-pointmass.sh [PYTHON [OUT]]
# Six minutes of one core of an AMD EPYC, without a simulator. Finished runs are skipped; the same command continues.
# From nothing (commit dcbe730) its data were those of the package to the bit, and its policy had 94.9 % of the expert,
# where that of the package has 94.3.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
out=${2:-runs/pointmass}

run() { # MAIN PRESET NAME OPTIONS...
  local main=$1 preset=$2 name=$3
  shift 3
  $python -m experiments "$main" --config="$main:$preset" --workdir="$out/$name" "$@"
}

shown=(--config.tasks=fake-pointmass --config.num_episodes=60 --config.image_size=32 --config.workers=0)
noise=(--config.env=fake-pointmass --config.num_episodes=60 --config.image_size=32)
run collect scripted-demonstrations demonstrations "${shown[@]}"
run collect scripted-demonstrations oracle "${shown[@]}" --config.with_actions=True
run collect uniform random "${noise[@]}"
run collect coloured coloured "${noise[@]}" --config.seed=1
run collect mix embodiment --config.sources="('$out/random','$out/coloured')"
run pretrain visual-small model --config.embodiment="$out/embodiment/episodes" \
  --config.num_updates=1500 --config.length=16 --config.world_model.rssm.deter_size=64 --config.world_model.rssm.hidden_size=64
run imitate visual-small aime --config.model="$out/model" --config.demonstrations="$out/demonstrations/episodes/fake-pointmass" \
  --config.num_updates=1200 --config.length=16 --config.evaluation.every=400 --config.evaluation.final_episodes=20
