#!/usr/bin/env bash
# BCV-LR beside AIME and AIME-v2 from images of 32 x 32, the same data and about as many steps for both: results/latent-images.md.
#   bash results/latent-images.sh [PYTHON [EXPERIMENTS [SEED]]]
# EXPERIMENTS, both by default:
#   metaworld  the four tasks of BCV-LR, a body that has seen ten others; about an hour of one core a task, and one before
#   dmc        finger-spin and reacher-hard, bodies that have flailed; not run yet
# Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
experiments=${2:-metaworld dmc}
seed=${3:-0}
runs=runs/latent-images/seed_00$seed
seen="--config.image_size=32 --config.render_quality=fast"
small="--config.setup=visual --config.network.image_encoder.width=8"

main() { # NAME COMMAND CONFIG [FLAGS]
  $python -m experiments "$2" --config="$3" --workdir="$runs/$1" "${@:4}"
}

model() { # NAME
  main "$1/model" pretrain pretrain:visual-small --config.embodiment="$runs/$1/body/episodes" --config.seed="$seed"
}

methods() { # NAME BODY DEMONSTRATIONS EPISODES_PER_ROUND EPISODES [FLAGS]
  local data=(--config.demonstrations="$3" --config.seed="$seed")
  local offline=(--config.evaluation.every=0 --config.evaluation.final_episodes=20)
  main "$1/bcv_lr" baseline baseline:bcv_lr-small "${data[@]}" --config.embodiment="$runs/$2/body/episodes" \
    $small --config.episodes_per_round="$4" --config.video.max_updates=1000 --config.fit.min_updates=300 \
    --config.fit.max_updates=300 --config.evaluation.final_episodes=20
  main "$1/bco" baseline baseline:bco-small "${data[@]}" --config.embodiment="$runs/$2/body/episodes" \
    $small --config.fit.max_updates=1500 --config.evaluation.final_episodes=20
  main "$1/aime" imitate imitate:visual-small "${data[@]}" --config.model="$runs/$2/model" "${offline[@]}"
  for variant in "ail 1" "ail 0.1" "none 1"; do
    read -r reward weight <<< "$variant"
    main "$1/aime_v2-$reward-$weight" online online:medium "${data[@]}" --config.model="$runs/$2/model" --config.policy_from="$runs/$1/aime" \
      --config.embodiment="$runs/$2/body/episodes" --config.num_episodes="$5" --config.reward.name="$reward" \
      --config.value_scale="$weight" --config.length=24 \
      --config.policy.hidden_size=128 --config.loss.kl_scale=0.03 --config.loss.observation_noise=0 --config.evaluation.video=False \
      --config.evaluation.every=25 --config.evaluation.episodes=10 --config.evaluation.final_episodes=20 "${@:6}"
  done
}

metaworld() {
  local tasks="faucet-open reach drawer-open faucet-close"
  local others=door-open,window-open,window-close,button-press,plate-slide,coffee-button,handle-press,drawer-close,push,peg-unplug-side
  main metaworld/body collect collect:scripted --config.tasks=$others --config.num_episodes=12 --config.seed="$seed" $seen
  main metaworld/shown collect collect:scripted-demonstrations --config.tasks="${tasks// /,}" --config.num_episodes=30 \
    --config.success_at=ever --config.seed=$((seed + 1000)) $seen
  model metaworld
  for task in $tasks; do
    methods "metaworld/$task" metaworld "$runs/metaworld/shown/episodes/metaworld-$task" 10 50 \
      --config.updates_per_episode=20 --config.entropy_scale=0.03
  done
}

dmc() {
  for task in finger-spin reacher-hard; do
    main $task/expert collect collect:sac --config.env=$task --config.demonstrations.num_episodes=0 --config.seed="$seed" \
      --config.agent_steps=180000
    main $task/body collect collect:coloured --config.env=$task --config.num_episodes=60 --config.seed="$seed" $seen
    main $task/shown collect collect:demonstrations --config.source="$runs/$task/expert" --config.num_episodes=40 \
      --config.with_actions=False --config.seed=$((seed + 1000)) $seen
    model $task
    methods $task $task "$runs/$task/shown/episodes" 4 20 --config.entropy_scale=0.1
  done
}

for experiment in $experiments; do
  $experiment
done
