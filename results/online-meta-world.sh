#!/usr/bin/env bash
# The trials of results/online-meta-world.md: what AIME-v2 on Meta-World depends on.
#   bash results/online-meta-world.sh [PYTHON]
# About half an hour of one core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
out=runs/online-meta-world
raw="--config.setup=mdp --config.world_model.standardize=False --config.world_model.decoder.std=0.03"

$python -m experiments collect --config=collect:scripted --config.num_episodes=40 --workdir=$out/body \
  --config.tasks=reach,drawer-close,window-open,door-open,faucet-open,handle-press,plate-slide,coffee-button
$python -m experiments collect --config=collect:scripted-demonstrations --config.seed=1 \
  --config.tasks=button-press-topdown,drawer-open,window-close --config.num_episodes=50 --config.with_actions=True --workdir=$out/oracle
$python -m experiments pretrain --config=pretrain:small $raw --config.num_updates=2000 --config.length=32 \
  --config.embodiment=$out/body/episodes --workdir=$out/model

trial() { # NAME TASK REWARD EPISODES UPDATES_PER_EPISODE PRETRAINING ENTROPY [FLAGS]
  local name=$1 shown=$out/oracle/episodes/metaworld-$2
  $python -m experiments online --config=online:small --workdir="$out/$name" \
    --config.model=$out/model --config.embodiment=$out/body/episodes \
    --config.demonstrations="$shown" --config.analysis.demonstrations="$shown" --config.reward.name="$3" \
    --config.loss.observation_noise=0 --config.evaluation.video=False --config.evaluation.every=20 \
    --config.num_episodes="$4" --config.updates_per_episode="$5" --config.policy_pretraining="$6" --config.entropy_scale="$7" "${@:8}"
}

button=button-press-topdown
trial entropy-0.0001 $button ail 40 10 100 0.0001
trial entropy-1 $button ail 40 10 100 1
trial entropy-5 $button ail 100 10 100 5
trial button-ail $button ail 100 20 0 1
trial button-none $button none 100 20 0 1
trial button-ail-5 $button ail 100 20 0 1 --config.num_demonstrations=5
trial button-none-5 $button none 100 20 0 1 --config.num_demonstrations=5
trial drawer-ail drawer-open ail 160 20 200 1
trial drawer-ot drawer-open ot 100 20 200 1
trial drawer-none drawer-open none 100 20 200 1
trial window-ail window-close ail 100 20 200 1
trial window-none window-close none 100 20 200 1
