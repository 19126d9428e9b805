#!/usr/bin/env bash
# The curves of results/walker-transfer.md: what walking learnt from standing depends on. After `make demo-walker`:
#   bash results/walker-transfer.sh [PYTHON]
# About half an hour on two cores. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
demo=runs/demo-walker
out=runs/walker-transfer

model() { # NAME EPISODES UPDATES UNITS
  $python -m experiments pretrain --config=pretrain:walker --workdir="$out/models/$1" \
    --config.embodiment="$2" --config.relevance.demonstrations=$demo/demonstrations/episodes \
    --config.num_updates="$3" --config.world_model.rssm.deter_size="$4" --config.world_model.rssm.hidden_size="$4" \
    --config.world_model.encoder.hidden_size="$4" --config.world_model.decoder.hidden_size="$4"
  policy "$1" "$out/models/$1" 1500 1
}

policy() { # NAME MODEL UPDATES SEEDS [DEMONSTRATIONS]
  $python -m experiments imitate --config=imitate:walker --workdir="$out/policies/$1" \
    --config.model="$2" --config.demonstrations=$demo/demonstrations/episodes --config.num_updates="$3" \
    --config.num_seeds="$4" --config.num_demonstrations="${5:-150}" --config.evaluation.every=0
}

subset() { # EPISODES of standing, drawn at random, beside the 20 of the random policy
  $python -m experiments collect --config=collect:mix --workdir="$out/stand-$1" \
    --config.sources="('$demo/stand',)" --config.limit="$1" --config.mode=random
  $python -m experiments collect --config=collect:mix --workdir="$out/data-$1" \
    --config.sources="('$demo/random','$out/stand-$1')"
}

all=$demo/embodiment/episodes
model updates-4000 $all 4000 160
model updates-1000 $all 1000 160
model units-64 $all 4000 64
subset 60
model episodes-80 $out/data-60/episodes 4000 160
subset 240
model episodes-260 $out/data-240/episodes 4000 160
policy policy-updates-800 $demo/pretrain 800 2
policy demonstrations-50 $demo/pretrain 1500 2 50

runs=$(for run in $demo/aime "$out"/policies/*; do printf "'%s'," "$run"; done)
$python -m experiments curves --config.runs="($runs)" --config.demonstrations=$demo/oracle/episodes \
  --config.title="Walker: walking from standing" --workdir=results/walker-transfer
