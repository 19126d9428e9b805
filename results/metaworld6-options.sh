#!/usr/bin/env bash
# One change at a time to AIME-v2 of the suite metaworld6-state, begun from the same offline policies:
#   bash results/metaworld6-options.sh [PYTHON [ROOT [TASKS [SEEDS]]]]
# ROOT is the suite's; each option has ROOT-OPTION beside it. Four minutes of one core a run.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
root=${2:-runs/metaworld6-state}
tasks=${3:-sweep,disassemble,hand-insert,hammer}
seeds=${4:-0}

sweep() { # ROOT METHODS [SETTINGS]
  $python -m launch.sweep run metaworld6-state --root="$1" --jobs=2 task="$tasks" seed="$seeds" method="$2" "${@:3}"
}

option() { # NAME SETTINGS
  mkdir -p "$root-$1"
  cp -rln "$root"/metaworld6-state-{data,model} "$root-$1" 2> /dev/null || true
  for task in ${tasks//,/ }; do
    mkdir -p "$root-$1/metaworld6-state-$task"
    cp -rln "$root/metaworld6-state-$task/aime-mt39-mdp" "$root-$1/metaworld6-state-$task" 2> /dev/null || true
  done
  sweep "$root-$1" aime-nob-ail "${@:2}"
}

sweep "$root" aime,aime-nob-ail
option no-average ail.average=0
option rates-of-small ail.average=0 ail.policy_optimizer.learning_rate=1e-3 ail.model_lr_from_pretraining=False
option part-clip ail.part_clip=10.0
