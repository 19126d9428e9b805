#!/usr/bin/env bash
# Latent-action baselines, PIDM and chunks on the package's cheetah, of results/latent-actions.md: four episodes with actions.
#   bash results/latent-baselines.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
bundle=experiments/data/bundled/cheetah

baseline() { # NAME METHOD [FLAGS]
  $python -m experiments baseline --config=baseline:"$2"-small --config.num_seeds=3 --workdir="runs/latent-baselines/$1" \
    --config.demonstrations=$bundle/demonstrations "${@:3}"
}
baseline bc bc --config.demonstrations=$bundle/oracle # one demonstration with actions
for method in bco clam lapo laom pidm; do
  baseline "$method" "$method" --config.embodiment=$bundle/body
done
baseline bco-chunks bco --config.embodiment=$bundle/body --config.chunk=8
baseline bcv_lr bcv_lr --config.embodiment=$bundle/body --config.num_seeds=1
