#!/usr/bin/env bash
# The curve of results/online-walker.md: AIME-v2 on walker-walk from 80 episodes of standing and flailing, with which
# offline AIME falls. After `make demo-walker` and `bash results/walker-transfer.sh`:
#   bash results/online-walker.sh [PYTHON [FOLDER OF THE RUNS]]
# About ten minutes of one core. The same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
runs=${2:-runs}
$python -m experiments online --config=online:small --workdir=runs/online-walker \
  --config.model="$runs/walker-transfer/models/episodes-80" \
  --config.embodiment="$runs/walker-transfer/data-60/episodes" \
  --config.demonstrations="$runs/demo-walker/demonstrations/episodes" \
  --config.analysis.demonstrations="$runs/demo-walker/oracle/episodes" \
  --config.reward.name=ail --config.entropy_scale=0.1 --config.loss.observation_noise=0 \
  --config.batch_size=32 --config.length=24 --config.policy.hidden_size=128 --config.critic.hidden_size=128 \
  --config.num_episodes=100 --config.updates_per_episode=25 --config.policy_pretraining=600 \
  --config.evaluation.every=10 --config.evaluation.episodes=5 --config.evaluation.final_episodes=10
