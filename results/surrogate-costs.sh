#!/usr/bin/env bash
# Rewards of whole episodes and what they cost between: results/comparison.md, "Why optimal transport did not learn".
#   bash results/surrogate-costs.sh [PYTHON [DEMONSTRATIONS [OUT]]]
# Ten demonstrations, two agents each, 20,000 agent steps; four to seven minutes of one core a row. Finished runs are skipped.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
shown=${2:-experiments/data/bundled/cheetah/demonstrations}
out=${3:-runs/surrogate-costs}

agent() { # NAME PRESET [FLAGS]
  $python -m experiments surrogate --config=surrogate:"$2"-small --config.demonstrations="$shown" \
    --config.num_demonstrations=10 --config.num_seeds=2 --config.evaluation.every=4000 --config.evaluation.episodes=3 \
    --workdir="$out/$1" "${@:3}"
}
names=(ot ot-no-schedule temporal_ot orca ot-euclidean temporal_ot-euclidean ot-hot temporal_ot-hot orca-hot orca-no-time orca-after)
agent ot ot
agent ot-no-schedule ot --config.use_schedule=False
agent temporal_ot temporal_ot
agent orca orca
agent ot-euclidean ot --config.transport.cost=euclidean
agent temporal_ot-euclidean temporal_ot --config.transport.cost=euclidean
for method in ot temporal_ot orca; do
  agent $method-hot $method --config.sac.initial_temperature=0.1
done
agent orca-no-time orca --config.show_time=False
agent orca-after orca --config.show_time=False --config.policy_from="$out/temporal_ot" --config.sac.actor_after=3000
$python -m experiments curves "${names[@]/#/$out/}" --config.metric=eval/return --config.clock=agent_step --workdir="$out/curves"
