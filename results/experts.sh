#!/usr/bin/env bash
# Experts from state by SAC, from nothing, on the tasks of results/experts.md, one after the other:
#   bash results/experts.sh [PYTHON [NAMES]]
# About an hour and a quarter on one core; with NAMES ("walker-walk walker-run") those experts alone.
# Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
names=${2:-}
out=runs/experts

expert() { # NAME TASK [FLAGS]
  [[ -z $names || " $names " == *" $1 "* ]] || return 0
  echo "$1"
  $python -m experiments collect --config=collect:sac --config.env="$2" --workdir="$out/$1" \
    --config.evaluate_every=5000 "${@:3}"
}

for task in cheetah-runbackward cheetah-run walker-stand walker-walk walker-run cartpole-swingup reacher-easy \
  finger-spin hopper-stand; do
  expert $task $task
done
# Those that were still rising, with three times the steps; and hopper-stand, which finds its first reward with more noise only.
expert cheetah-run-longer cheetah-run --config.agent_steps=180000
expert finger-spin-longer finger-spin --config.agent_steps=180000
expert walker-run-noisy walker-run --config.agent_steps=180000 --config.sac.target_entropy=0.0 --config.evaluate_every=20000
expert hopper-stand-longer hopper-stand --config.agent_steps=180000
expert hopper-stand-noisier hopper-stand --config.agent_steps=120000 --config.sac.target_entropy=0.0 \
  --config.rounds.num_steps=3
# Walkers that show how they recover from their own noise, for results/comparison.sh: 150 episodes, sampled.
noisy="--config.sac.target_entropy=0.0 --config.demonstrations.num_episodes=150 --config.demonstrations.sample=True"
expert walker-walk-noisy walker-walk $noisy --config.agent_steps=120000 --config.evaluate_every=20000
expert walker-stand-noisy walker-stand $noisy --config.evaluate_every=20000
