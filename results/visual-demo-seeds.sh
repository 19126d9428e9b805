#!/usr/bin/env bash
# Further policies of the demo from images, of results/visual-demo.md. After the demo:
#   bash results/visual-demo-seeds.sh [PYTHON [DEMO [SEEDS]]]
# AIME with the demo's world model, BCO(0) with an inverse model of its own, everything else as there.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
demo=${2:-runs/demo-visual}
seeds=${3:-1 2 3}
shown=$demo/demonstrations/episodes

for seed in $seeds; do
  $python -m experiments imitate --config=imitate:visual-small --config.seed="$seed" \
    --config.model="$demo/pretrain" --config.demonstrations="$shown" --workdir="$demo/aime-seed$seed"
  $python -m experiments baseline --config=baseline:bco-small --config.seed="$seed" \
    --config.setup=visual --config.standardize=True --config.embodiment="$demo/embodiment/episodes" \
    --config.demonstrations="$shown" --config.fit.max_updates=3000 --config.evaluation.final_episodes=10 \
    --config.network.image_encoder="{'name': 'dreamer_resnet', 'width': 8, 'blocks': 0, 'minres': 4}" \
    --workdir="$demo/bco-seed$seed"
done
