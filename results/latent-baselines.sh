#!/usr/bin/env bash
# Latent-action baselines on the package's cheetah, of results/latent-actions.md: four labelled episodes, fifty without labels.
#   bash results/latent-baselines.sh [PYTHON [METHODS]]
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
methods=${2:-bco clam lapo laom}
bundle=experiments/data/bundled/cheetah
runs=runs/latent-baselines

baseline() { # NAME METHOD [FLAGS]
  $python -m experiments baseline --config=baseline:"$2"-small --config.num_seeds=3 --workdir="$runs/$1" \
    --config.demonstrations=$bundle/demonstrations "${@:3}"
}
$python -m experiments collect --config=collect:coloured --config.env=cheetah-runbackward --config.num_episodes=50 \
  --config.seed=7 --workdir=$runs/video
baseline bc bc --config.demonstrations=$bundle/oracle # one demonstration with actions
for method in $methods; do
  baseline "$method" "$method" --config.embodiment=$bundle/body
  case $method in clam | lapo | laom) # with video
    baseline "$method-video" "$method" --config.embodiment=$bundle/body --config.unlabelled=$runs/video/episodes ;;
  esac
done
baseline bco-all bco --config.embodiment="$bundle/body,$runs/video/episodes" # all of it labelled
