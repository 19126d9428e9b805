#!/usr/bin/env bash
# The tables of results/decoder-free.md: AIME on the cheetah of the demo, by what teaches the world model.
#   bash results/decoder-free.sh [PYTHON [SEEDS [EXPERIMENTS]]]
# EXPERIMENTS, all by default, with minutes of one core:
#   state   from joint positions, demonstrations of the package, SEEDS models and policies each; 20 for three
#   images  from images of 32 x 32 alone, as demo:visual, one model and policy each; 60
#   times   of updates; 10
# Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
seeds=${2:-1}
experiments=${3:-state images times}
runs=runs/decoder-free

main() { # NAME COMMAND CONFIG [FLAGS]
  $python -m experiments "$2" --config="$3" --workdir="$runs/$1" "${@:4}"
}

compare() { # SEEN PRESET EMBODIMENT DEMONSTRATIONS SEEDS [SETUP]
  for name in reconstruction barlow infonce sigreg; do
    local kl=() weights=()
    case $name in
      barlow) weights=(--config.world_model.representation.barlow.scale=10.0) && kl=(--config.loss.kl_scale=0.1) ;;
      infonce) kl=(--config.loss.kl_scale=0.1) ;;
      sigreg)
        weights=(--config.world_model.representation.sigreg.{size=8,std=0.1,num_projections=64})
        kl=(--config.loss.kl_scale=1.0)
        ;;
    esac
    main "$1/$name/model" pretrain "pretrain:$2" --config.embodiment="$3" --config.num_seeds="$5" \
      --config.world_model.representation.name=$name "${kl[@]}" "${weights[@]}" "${@:6}"
    main "$1/$name/aime" imitate "imitate:$2" --config.model="$runs/$1/$name/model" --config.demonstrations="$4" \
      --config.num_seeds="$5" "${kl[@]}" --config.evaluation.every=0 --config.evaluation.final_episodes=10
  done
}

task=--config.env=cheetah-runbackward

state() {
  main random collect collect:uniform $task --config.num_episodes=100 --config.seed=100
  main coloured collect collect:coloured $task --config.num_episodes=100 --config.seed=200
  compare state small "$runs/random/episodes,$runs/coloured/episodes" experiments/data/bundled/cheetah/demonstrations "$seeds"
}

images() {
  local seen=(--config.image_size=32 --config.render_quality=fast)
  main images/expert collect collect:sac $task --config.demonstrations.num_episodes=0
  main images/random collect collect:uniform $task --config.num_episodes=20 "${seen[@]}"
  main images/coloured collect collect:coloured $task --config.num_episodes=100 --config.seed=1 "${seen[@]}"
  main images/shown collect collect:demonstrations --config.source="$runs/images/expert" --config.num_episodes=60 \
    --config.with_actions=False "${seen[@]}"
  compare images visual-small "$runs/images/random/episodes,$runs/images/coloured/episodes" \
    "$runs/images/shown/episodes" 1
}

times() {
  $python results/decoder_free_times.py state
  $python results/decoder_free_times.py images
}

for experiment in $experiments; do
  $experiment
done
