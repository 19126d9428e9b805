#!/usr/bin/env bash
# Latent-action baselines and PIDM on the package's cheetah, of results/latent-actions.md: four episodes with actions.
#   bash results/latent-baselines.sh [PYTHON [METHODS]]
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
methods=${2:-bco clam lapo laom pidm bcv_lr}
bundle=experiments/data/bundled/cheetah

baseline() { # METHOD [FLAGS]
  $python -m experiments baseline --config=baseline:"$1"-small --config.num_seeds=3 --workdir="runs/latent-baselines/$1" \
    --config.demonstrations=$bundle/demonstrations "${@:2}"
}
baseline bc --config.demonstrations=$bundle/oracle # one demonstration with actions
for method in $methods; do
  baseline "$method" --config.embodiment=$bundle/body
done
