#!/usr/bin/env bash
# The walker of results/visual-demo.md: walking, learnt and seen in images only. After `make demo-walker`:
#   bash results/visual-walker.sh [PYTHON [DEMO [OUT]]]
# About an hour and a half on one busy core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
demo=${2:-runs/demo-walker}
out=${3:-runs/visual-walker}

run() { # MAIN PRESET NAME OPTIONS...
  local main=$1 preset=$2 name=$3
  shift 3
  $python -m experiments "$main" --config="$main:$preset" --workdir="$out/$name" "$@"
}

draw() { # NAME: what its folder of physics states looks like
  run dataset render "$1-seen" --config.data="$out/$1/episodes" --config.workers=1 \
    --config.image_size=32 --config.render_quality=fast
}

run collect mix stand --config.sources="('$demo/stand',)" --config.limit=60 --config.mode=random
run collect mix body --config.sources="('$demo/random','$demo/expert','$out/stand')"
run collect mix shown --config.sources="('$demo/oracle',)" --config.limit=60
draw body
draw shown
run pretrain visual-small model --config.embodiment="$out/body-seen/episodes" --config.num_updates=7000
run imitate visual-small aime --config.model="$out/model" --config.demonstrations="$out/shown-seen/episodes"
for method in bco bc; do
  body=() && [ $method = bc ] || body=(--config.embodiment="$out/body-seen/episodes")
  run baseline $method-small $method --config.demonstrations="$out/shown-seen/episodes" "${body[@]}" \
    --config.setup=visual --config.fit.max_updates=3000 --config.evaluation.final_episodes=10 \
    --config.network.image_encoder="{'name': 'dreamer_resnet', 'width': 8, 'blocks': 0, 'minres': 4}"
done

# The data of results/gpu-runs.sh seen in vectors, after results/experts.sh: about twenty minutes of a core.
experts=runs/experts
run collect mix stand-part --config.sources="('$experts/walker-stand-noisy',)" --config.limit=30 --config.mode=uniform
run collect mix vectors --config.sources="('$experts/walker-walk-noisy','$out/stand-part')"
run pretrain walker vectors-model --config.embodiment="$out/vectors/episodes" --config.num_updates=9000
run imitate walker vectors-aime --config.model="$out/vectors-model" --config.num_demonstrations=100 \
  --config.demonstrations=$experts/walker-walk-noisy/demonstrations --config.num_seeds=2 --config.evaluation.every=0
