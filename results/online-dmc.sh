#!/usr/bin/env bash
# DeepMind Control online, from state at the size of a CPU: results/online-dmc.md. After results/experts.sh and the
# Plan2Explore run of results/comparison.sh:
#   bash results/online-dmc.sh [PYTHON [SEEDS]]
# About two hours of one core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
seeds=${2:-0 1 2}
out=runs/online-dmc
experts=runs/experts

flailing() { # TASK: what the robot knows, 20 episodes of uniform and 40 of coloured noise
  $python -m experiments collect --config=collect:uniform --config.env="$1" \
    --config.num_episodes=20 --config.seed=1 --workdir="$out/$1/uniform"
  $python -m experiments collect --config=collect:coloured --config.env="$1" \
    --config.num_episodes=40 --config.seed=2 --workdir="$out/$1/coloured"
  $python -m experiments collect --config=collect:mix \
    --config.sources="('$out/$1/uniform','$out/$1/coloured')" --workdir="$out/$1/body"
}

offline() { # TASK EMBODIMENT EXPERT: the world model, and AIME
  local folder=$out/$1 data=$2/episodes shown=$experts/$3/demonstrations
  $python -m experiments pretrain --config=pretrain:small --config.num_updates=3000 \
    --config.embodiment="$data" --workdir="$folder/model"
  for seed in $seeds; do
    $python -m experiments imitate --config=imitate:small --config.model="$folder/model" \
      --config.demonstrations="$shown" --config.num_demonstrations=10 --config.seed="$seed" \
      --config.evaluation.every=0 --config.evaluation.final_episodes=20 --workdir="$folder/aime/seed_00$seed"
  done
}

task() { # TASK EMBODIMENT EXPERT: those, AIME-v2 with a fifth of the published updates per step, and its ablations
  local folder=$out/$1 data=$2/episodes shown=$experts/$3/demonstrations
  offline "$@"
  for seed in $seeds; do
    for method in ail no-regularizer no-reward; do
      local changes=()
      [ $method = no-regularizer ] && changes=(--config.embodiment="")
      [ $method = no-reward ] && changes=(--config.reward.name=none)
      $python -m experiments online --config=online:small --config.model="$folder/model" \
        --config.embodiment="$data" --config.demonstrations="$shown" --config.num_demonstrations=10 \
        --config.reward.name=ail --config.seed="$seed" --config.updates_per_episode=20 --config.entropy_scale=0.1 \
        --config.evaluation.every=20 --config.evaluation.episodes=5 --config.evaluation.video=False \
        --workdir="$folder/$method/seed_00$seed" "${changes[@]}"
    done
  done
}

published_ratio() { # TASK EMBODIMENT EXPERT: the published updates per step, slower policy and critic, more episodes
  local folder=$out/$1 data=$2/episodes shown=$experts/$3/demonstrations
  for seed in 0 1; do
    $python -m experiments online --config=online:small --config.model="$folder/model" \
      --config.embodiment="$data" --config.demonstrations="$shown" --config.num_demonstrations=10 \
      --config.reward.name=ail --config.seed=$seed --config.updates_per_episode=100 --config.entropy_scale=0.1 \
      --config.policy_pretraining=2000 --config.policy_optimizer.learning_rate=3e-4 \
      --config.critic_optimizer.learning_rate=3e-4 --config.num_episodes=250 --config.evaluation.every=20 \
      --config.evaluation.episodes=5 --config.evaluation.video=False --workdir="$folder/ail-updates100/seed_00$seed"
  done
}

task cheetah-run runs/comparison/p2e cheetah-run
published_ratio cheetah-run runs/comparison/p2e cheetah-run

flailing finger-spin
offline finger-spin $out/finger-spin/body finger-spin-longer
published_ratio finger-spin $out/finger-spin/body finger-spin-longer
$python -m experiments report $out --config.title="DeepMind Control, online"
