#!/usr/bin/env bash
# The tables of results/decoder-free.md: AIME on the cheetah of the demo, by what teaches the world model.
#   bash results/decoder-free.sh [PYTHON [SEEDS [EXPERIMENTS]]]
# EXPERIMENTS, all by default, with minutes of one core:
#   state   from joint positions, demonstrations of the package, SEEDS models and policies each; 20 for three
#   images  from images of 32 x 32 alone, as demo:visual, one model and policy each; 60
#   varied  the same where colours, light, camera and background vary, but not in the demonstrations; BCO(0) in both; not run yet
#   times   of updates; 10
# Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
seeds=${2:-1}
experiments=${3:-state images varied times}
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
      --config.num_seeds="$5" "${kl[@]}" --config.evaluation.every=0 --config.evaluation.final_episodes=10 "${acts[@]}"
  done
}

task=--config.env=cheetah-runbackward
acts=() # where the policies act, if not where the demonstrations do

state() {
  main random collect collect:uniform $task --config.num_episodes=100 --config.seed=100
  main coloured collect collect:coloured $task --config.num_episodes=100 --config.seed=200
  compare state small "$runs/random/episodes,$runs/coloured/episodes" experiments/data/bundled/cheetah/demonstrations "$seeds"
}

seen=(--config.image_size=32 --config.render_quality=fast)

shown() { # demonstrations in images, and the expert
  main images/expert collect collect:sac $task --config.demonstrations.num_episodes=0
  main images/shown collect collect:demonstrations --config.source="$runs/images/expert" --config.num_episodes=60 \
    --config.with_actions=False "${seen[@]}"
}

flail() { # NAME ENVIRONMENT
  main "$1/random" collect collect:uniform "$2" --config.num_episodes=20 "${seen[@]}"
  main "$1/coloured" collect collect:coloured "$2" --config.num_episodes=100 --config.seed=1 "${seen[@]}"
}

imitate() { # NAME, which has flailed
  compare "$1" visual-small "$runs/$1/random/episodes,$runs/$1/coloured/episodes" "$runs/images/shown/episodes" 1
}

clone() { # NAME, which has flailed
  main "$1/bco" baseline baseline:bco-small --config.setup=visual --config.network.image_encoder.width=8 \
    --config.embodiment="$runs/$1/random/episodes,$runs/$1/coloured/episodes" \
    --config.demonstrations="$runs/images/shown/episodes" "${acts[@]}"
}

images() {
  shown
  flail images "$task"
  imitate images
}

varied() {
  shown
  flail images "$task"
  clone images
  acts=("$task?colours=0.5&light=0.5&camera=0.1&background=0.5")
  flail varied "${acts[0]}"
  clone varied
  imitate varied
  acts=()
}

times() {
  $python results/decoder_free_times.py state
  $python results/decoder_free_times.py images
}

for experiment in $experiments; do
  $experiment
done
