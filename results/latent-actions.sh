#!/usr/bin/env bash
# Fewer labels, of results/latent-actions.md: the actions of a few episodes of the coloured noise of `demo:noise` are known, of the rest not.
#   bash results/latent-actions.sh [PYTHON [DEMO [EPISODES_WITH_ACTIONS [SEEDS]]]]      after `demo --config=demo:noise`
# AIME on a model of the labelled episodes alone, and on LAWM, which sees the others without actions.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
demo=${2:-runs/demo-noise}
labelled=${3:-2 5 10 20}
seeds=${4:-3}
runs=runs/latent-actions
shown=$demo/demonstrations/episodes

for number in $labelled; do
  for kind in labelled lawm; do
    unlabelled=""
    [ "$kind" = labelled ] || unlabelled="--config.unlabelled=$demo/embodiment/episodes"
    $python -m experiments pretrain --config=pretrain:small --config.num_seeds="$seeds" $unlabelled \
      --config.embodiment="$demo/coloured/episodes" --config.num_episodes="$number" --workdir="$runs/$kind-$number/model"
    $python -m experiments imitate --config=imitate:small --config.num_seeds="$seeds" \
      --config.model="$runs/$kind-$number/model" --config.demonstrations="$shown" --workdir="$runs/$kind-$number/aime"
  done
done
