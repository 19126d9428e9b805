#!/usr/bin/env bash
# Offline baselines on the package's cheetah, four episodes of flailing, and with one episode of the expert among them:
#   bash results/dice.sh [PYTHON [RUNS]]
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
runs=${2:-runs/dice}
robot=experiments/data/bundled/cheetah
# What the episode of the expert is worth alone.
$python -m experiments baseline --config=baseline:bc-small --config.num_seeds=2 \
  --config.demonstrations=$robot/oracle --workdir="$runs/bc-expert"
for method in smodice lobsdice; do
  for data in expert flailing; do
    case $data in
      expert) body=$robot/body,$robot/oracle ;;
      flailing) body=$robot/body ;;
    esac
    $python -m experiments baseline --config=baseline:$method-small --config.num_updates=3000 --config.num_seeds=2 \
      --config.embodiment=$body --config.demonstrations=$robot/demonstrations --workdir="$runs/$method-$data"
  done
done
