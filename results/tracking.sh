#!/usr/bin/env bash
# Planning that follows a demonstration, beside AIME on the same world models:
#   bash results/tracking.sh [PYTHON [EXPERIMENTS [ROOT [TASKS [SEEDS]]]]]
# EXPERIMENTS, all by default, with minutes of one core for ten episodes:
#   cheetah    the model that is part of the package; five
#   metaworld  models of the suite metaworld6-state, whose ROOT has its cells of AIME; one
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
experiments=${2:-cheetah metaworld}
root=${3:-runs/metaworld6-state}
tasks=${4:-sweep push}
seeds=${5:-1}

play() { # MODEL DEMONSTRATIONS FOLDER [OPTIONS]
  [ ! -e "$3/evaluation.json" ] || return 0
  echo "$3"
  $python -m experiments evaluate --run="$1" --config.demonstrations="$2" --workdir="$3" "${@:4}"
}

track() { # MODEL DEMONSTRATIONS FOLDER [OPTIONS]
  follow() { # NAME [OPTIONS]
    play "$model" "$shown" "$folder/$1" --config.planner=tracking --config.options.num_candidates=128 "${@:2}" "${more[@]}"
  }
  local model=$1 shown=$2 folder=$3 more=("${@:4}")
  follow time
  follow nearest --config.options.replay=nearest
  follow nearest-transport --config.options.replay=nearest --config.options.distance=transport
  follow nearest-cosine --config.options.replay=nearest --config.options.cost=cosine
  follow transport --config.options.distance=transport
  follow orca --config.options.distance=orca
  follow cosine --config.options.cost=cosine
}

cheetah() {
  local robot=experiments/data/bundled/cheetah out=runs/tracking/cheetah
  play $robot/model $robot/demonstrations $out/aime # its policy
  track $robot/model $robot/demonstrations $out
}

metaworld() {
  for seed in $seeds; do
    for task in $tasks; do
      track "$root/metaworld6-state-model/mt39-mdp/seed_00$seed" \
        "$root/metaworld6-state-data/shown-$task/seed_00$seed/episodes" \
        "$root-tracking/$task/seed_00$seed" --config.env="metaworld-$task"
    done
  done
}

for experiment in $experiments; do
  $experiment
done
