#!/usr/bin/env bash
# The tables of results/exogenous.md: what exogenous noise hides from whom, and what EIL's filter finds.
#   bash results/exogenous.sh [PYTHON]
# Nothing is trained. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
runs=runs/exogenous

collect() { # NAME CONFIG [FLAGS]
  $python -m experiments collect --config="collect:$2" --workdir="$runs/$1" "${@:3}"
}

noisy=() parted=()
for number in 0 4 16; do
  varied=$([ $number = 0 ] || echo "?exogenous=$number")
  collect points-$number rhythmic --config.env="cheetah-runbackward$varied" --config.num_episodes=40
  noisy+=("$runs/points-$number/episodes")
done
for task in button-press-topdown drawer-close; do
  for share in 0 0.25 0.5; do
    collect $task-$share scripted-demonstrations --config.tasks=$task --config.num_episodes=50 \
      --config.extraneous.share=$share --config.extraneous.length=15
    parted+=("$runs/$task-$share/episodes/metaworld-$task")
  done
done
$python results/exogenous.py noise "${noisy[@]}"
$python results/exogenous.py filter "${parted[@]}"
