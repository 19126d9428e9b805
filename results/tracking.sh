#!/usr/bin/env bash
# Planning that follows a demonstration, on the world models of the suite metaworld6-state, beside AIME on the same models:
#   bash results/tracking.sh [PYTHON [ROOT [TASKS [SEEDS]]]]
# ROOT is the suite's, with its cells of AIME. About a minute of one core an evaluation of ten episodes.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
root=${2:-runs/metaworld6-state}
tasks=${3:-sweep push}
seeds=${4:-1}

track() { # TASK SEED NAME [OPTIONS]
  local seed=seed_00$2
  [ ! -e "$root-tracking/$1/$3/$seed/evaluation.json" ] || return 0
  echo "$1 $seed $3"
  $python -m experiments evaluate --run="$root/metaworld6-state-model/mt39-mdp/$seed" --config.env="metaworld-$1" \
    --config.planner=tracking --config.demonstrations="$root/metaworld6-state-data/shown-$1/$seed/episodes" \
    --config.options.num_candidates=128 --workdir="$root-tracking/$1/$3/$seed" "${@:4}"
}

for seed in $seeds; do
  for task in $tasks; do
    track "$task" "$seed" time
    track "$task" "$seed" transport --config.options.distance=transport
    track "$task" "$seed" orca --config.options.distance=orca
    track "$task" "$seed" cosine --config.options.cost=cosine
    track "$task" "$seed" nearest --config.options.replay=nearest
    track "$task" "$seed" nearest-cosine --config.options.replay=nearest --config.options.cost=cosine
    track "$task" "$seed" nearest-transport --config.options.replay=nearest --config.options.distance=transport
  done
done
