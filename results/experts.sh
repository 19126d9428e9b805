#!/usr/bin/env bash
# Experts from state by SAC, from nothing, on the tasks of results/experts.md, one after the other:
#   bash results/experts.sh [PYTHON]
# About forty minutes on one core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
out=runs/experts
tasks="cheetah-runbackward cheetah-run walker-stand walker-walk walker-run cartpole-swingup reacher-easy finger-spin hopper-stand"

for task in $tasks; do
  echo "$task"
  $python -m experiments.collect --config=experiments/configs/collect.py:sac --config.env="$task" --workdir="$out/$task" \
    --config.evaluate_every=5000
done
