#!/usr/bin/env bash
# The two dynamics of results/dynamics.md on one cell, three seeds of each in one program, on the data of the demo:
#   bash results/dynamics.sh [PYTHON]
# Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
out=runs/dynamics

main() { # NAME MAIN CONFIG [FLAGS]
  $python -m experiments "$2" --config="$3" --workdir="$out/$1" "${@:4}"
}

task=--config.env=cheetah-runbackward
main expert collect collect:sac $task --config.agent_steps=60000 --config.demonstrations.num_episodes=0
main random collect collect:uniform $task --config.num_episodes=100
main coloured collect collect:coloured $task --config.num_episodes=100 --config.seed=1
main shown collect collect:demonstrations --config.source="$out/expert" --config.num_episodes=20 \
  --config.with_actions=False
main body collect collect:mix --config.sources="('$out/random','$out/coloured')"
for dynamics in rssm min_gru; do
  main "$dynamics-model" pretrain pretrain:small --config.embodiment="$out/body/episodes" --config.num_seeds=3 \
    --config.world_model.dynamics.name=$dynamics
  main "$dynamics-policy" imitate imitate:small --config.model="$out/$dynamics-model" \
    --config.demonstrations="$out/shown/episodes" --config.num_seeds=3
done
