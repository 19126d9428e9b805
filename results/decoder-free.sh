#!/usr/bin/env bash
# The table of results/decoder-free.md: AIME on the cheetah of the demo from state, by what teaches the world model.
#   bash results/decoder-free.sh [PYTHON [SEEDS]]
# Demonstrations are those of the package. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
seeds=${2:-1}
runs=runs/decoder-free
shown=experiments/data/bundled/cheetah/demonstrations

main() { # NAME COMMAND CONFIG [FLAGS]
  $python -m experiments "$2" --config="$3" --workdir="$runs/$1" "${@:4}"
}

task=--config.env=cheetah-runbackward
main random collect collect:uniform $task --config.num_episodes=100 --config.seed=100
main coloured collect collect:coloured $task --config.num_episodes=100 --config.seed=200
for name in reconstruction barlow infonce sigreg; do
  case $name in
    reconstruction) weights=() && kl=1.0 ;;
    barlow) weights=(--config.world_model.representation.barlow.scale=10.0) && kl=0.1 ;;
    infonce) weights=() && kl=0.1 ;;
    sigreg) weights=(--config.world_model.representation.sigreg.{size=8,std=0.1,num_projections=64}) && kl=1.0 ;;
  esac
  main "$name/model" pretrain pretrain:small --config.embodiment="$runs/random/episodes,$runs/coloured/episodes" \
    --config.num_seeds="$seeds" --config.world_model.representation.name=$name --config.loss.kl_scale=$kl "${weights[@]}"
  main "$name/aime" imitate imitate:small --config.model="$runs/$name/model" --config.demonstrations=$shown \
    --config.num_seeds="$seeds" --config.loss.kl_scale=$kl --config.evaluation.every=0
done
$python results/decoder_free_times.py state
$python results/decoder_free_times.py images
