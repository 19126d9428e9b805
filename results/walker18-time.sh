#!/bin/sh
# Short runs of the stages of walker18 at the published sizes, for results/walker18-time.md.
#   sh results/walker18-time.sh PYTHON EPISODES DEMONSTRATIONS FOLDER
# fps/updates in the last row of each metrics.jsonl is the rate; the first dispatch holds the compilation.
PY=$1 BODY=$2 SHOWN=$3 RUNS=$4
$PY -m experiments pretrain --config=pretrain:rssm --config.embodiment=$BODY --config.setup=mdp \
    --config.num_updates=30 --config.updates_per_dispatch=10 --workdir=$RUNS/model
$PY -m experiments imitate --config=imitate --config.model=$RUNS/model --config.demonstrations=$SHOWN \
    --config.num_updates=30 --config.updates_per_dispatch=10 --config.evaluation.every=0 \
    --config.evaluation.final_episodes=1 --config.evaluation.video=False --workdir=$RUNS/aime
$PY -m experiments baseline --config=baseline:bco --config.embodiment=$BODY --config.demonstrations=$SHOWN \
    --config.setup=mdp --config.fit.updates_per_epoch=200 --config.fit.max_updates=600 --config.evaluation.every=0 \
    --config.evaluation.final_episodes=1 --workdir=$RUNS/bco
for run in model aime bco; do
    tail -n 1 $RUNS/$run/metrics.jsonl | $PY -c "import json, sys; row = json.loads(sys.stdin.read()); print('$run', row['fps/updates'], 'updates per second')"
done
