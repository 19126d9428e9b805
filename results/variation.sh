#!/usr/bin/env bash
# The table of results/variation.md: how AIME and BCO(0), trained on one cheetah, do with bodies and floors that differ.
#   bash results/variation.sh [PYTHON]
# The policy of AIME is that of the package, BCO(0) learns from the same kind of data; each plays ten episodes of
# each variation. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
runs=runs/variation
task=cheetah-runbackward
shown=experiments/data/bundled/cheetah/demonstrations

main() { # NAME COMMAND CONFIG [FLAGS]
  $python -m experiments "$2" --config="$3" --workdir="$runs/$1" "${@:4}"
}

main uniform collect collect:uniform --config.env=$task --config.num_episodes=100 --config.seed=100
main coloured collect collect:coloured --config.env=$task --config.num_episodes=100 --config.seed=200
main bco baseline baseline:bco-small --config.embodiment="$runs/uniform/episodes,$runs/coloured/episodes" \
  --config.demonstrations=$shown
$python results/variation.py "$runs/bco" "$runs/table"
