#!/usr/bin/env bash
# Chunks and flows of BC and BCO(0) on the demo's data, of results/latent-actions.md: one seed a row. After a repetition
# of the demo by results/demo-repetitions.sh, or with the directory of another run of it:
#   bash results/chunk-heads.sh [PYTHON [DEMO [METHODS]]]
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
demo=${2:-runs/demo-repetitions/0-AVX2}
declare -A data=(
  [bc]="--config.demonstrations=$demo/oracle/episodes"
  [bco]="--config.demonstrations=$demo/demonstrations/episodes --config.embodiment=$demo/embodiment/episodes"
)

row() { # METHOD NAME [FLAGS]
  # shellcheck disable=SC2086
  $python -m experiments baseline --config=baseline:"$1"-small ${data[$1]} --workdir="runs/chunk-heads/$1-$2" "${@:3}"
}
for method in ${3:-bc bco}; do
  row "$method" flow-8 --config.head=flow --config.chunk=8
  row "$method" chunk-1
  row "$method" chunk-8 --config.chunk=8
  row "$method" flow-1 --config.head=flow
done
