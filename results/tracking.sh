#!/usr/bin/env bash
# Planning that follows a demonstration, beside AIME on the same world models:
#   bash results/tracking.sh [PYTHON [EXPERIMENTS [ROOT [TASKS [SEEDS]]]]]
# EXPERIMENTS, all by default, with minutes of one core for ten episodes:
#   cheetah    the model that is part of the package; five
#   temporal   a model of 64 units that also counts steps, learnt from noise; 25, of which five for data and model
#   metaworld  models of the suite metaworld6-state, whose ROOT has its cells of AIME; one
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
experiments=${2:-cheetah temporal metaworld}
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

temporal() {
  local out=runs/tracking/temporal task=--config.env=cheetah-runbackward
  local model=$out/model shown=experiments/data/bundled/cheetah/demonstrations
  $python -m experiments collect --config=collect:uniform $task --config.num_episodes=100 --config.seed=100 --workdir=$out/uniform
  $python -m experiments collect --config=collect:coloured $task --config.num_episodes=100 --config.seed=200 --workdir=$out/coloured
  $python -m experiments pretrain --config=pretrain:small --config.embodiment=$out/uniform/episodes,$out/coloured/episodes \
    --config.num_updates=3000 --config.world_model.temporal_distance.size=32 --workdir=$model
  $python -m experiments imitate --config=imitate:small --config.model=$model --config.demonstrations=$shown --workdir=$out/aime
  count() { # NAME OPTIONS
    play $model $shown $out/"$1" --config.planner=tracking --config.options.num_candidates=128 "${@:2}"
  }
  count time
  count temporal --config.options.cost=temporal
  count temporal-transport --config.options.cost=temporal --config.options.distance=transport
  count temporal-nearest --config.options.cost=temporal --config.options.replay=nearest
  count nearest --config.options.replay=nearest
  $python results/temporal_distance.py $model $out/coloured/episodes
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
