#!/usr/bin/env bash
# Experts from state by SAC, from nothing, on the tasks of results/experts.md, one after the other:
#   bash results/experts.sh [PYTHON]
# About fifty minutes on one core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
out=runs/experts

expert() { # NAME TASK [FLAGS]
  echo "$1"
  $python -m experiments.collect --config=experiments/configs/collect.py:sac --config.env="$2" --workdir="$out/$1" \
    --config.evaluate_every=5000 "${@:3}"
}

for task in cheetah-runbackward cheetah-run walker-stand walker-walk walker-run cartpole-swingup reacher-easy \
  finger-spin hopper-stand; do
  expert $task $task
done
# Those that were still rising, with three times the steps.
for task in hopper-stand cheetah-run walker-run finger-spin; do
  expert $task-longer $task --config.agent_steps=180000
done
$python -m experiments.run_rates $out --out=results/experts
