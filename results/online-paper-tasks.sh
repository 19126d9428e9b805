#!/usr/bin/env bash
# The six Meta-World tasks of the AIME-v2 paper, online from state at the size of a CPU: results/online-paper-tasks.md.
#   bash results/online-paper-tasks.sh [PYTHON [SEEDS]]
# About five hours of one core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
seeds=${2:-0 1 2}
out=runs/online-paper-tasks
tasks="hammer push hand-insert sweep assembly disassemble"
raw="--config.setup=mdp --config.world_model.standardize=False --config.world_model.decoder.std=0.03"

# What the robot knows: the 39 tasks of the paper's set, which hold sweep and hammer and not the other four, 20 episodes each.
$python -m experiments collect --config=collect:scripted --config.num_episodes=20 \
  --config.tasks=mt39 --workdir=$out/body
$python -m experiments collect --config=collect:scripted-demonstrations --config.seed=1 \
  --config.tasks="${tasks// /,}" --config.num_episodes=50 --config.with_actions=True --workdir=$out/oracle
$python -m experiments pretrain --config=pretrain:small $raw --config.num_updates=6000 \
  --config.length=32 --config.embodiment=$out/body/episodes --workdir=$out/model

online() { # FOLDER TASK REWARD SEED [FLAGS]
  local shown=$out/oracle/episodes/metaworld-$2
  $python -m experiments online --config=online:small --workdir="$1/$2/$3/seed_00$4" \
    --config.model=$out/model --config.embodiment=$out/body/episodes --config.demonstrations="$shown" \
    --config.analysis.demonstrations="$shown" --config.reward.name="$3" --config.seed="$4" \
    --config.loss.observation_noise=0 --config.entropy_scale=1 --config.policy_pretraining=200 \
    --config.num_episodes=100 --config.updates_per_episode=20 --config.evaluation.video=False \
    --config.evaluation.every=20 --config.evaluation.episodes=10 --config.evaluation.final_episodes=20 "${@:5}"
}

for seed in $seeds; do
  for task in $tasks; do
    $python -m experiments imitate --config=imitate:small --workdir="$out/$task/aime/seed_00$seed" \
      --config.model=$out/model --config.demonstrations=$out/oracle/episodes/metaworld-$task --config.seed="$seed" \
      --config.length=32 --config.loss.observation_noise=0 --config.loss.entropy_scale=1 --config.evaluation.every=0 \
      --config.evaluation.final_episodes=20
    online $out $task ail "$seed"
  done
done

# The other rewards: VIPER, whose model has seen the demonstrations only, optimal transport, and the true one (an oracle).
for task in $tasks; do
  $python -m experiments pretrain --config=pretrain:viper-small $raw --workdir="$out/viper-models/$task" \
    --config.embodiment=$out/oracle/episodes/metaworld-$task
done
for seed in $seeds; do
  for task in $tasks; do
    online $out $task viper "$seed" --config.reward.model="$out/viper-models/$task"
    for reward in ot true; do
      online $out $task $reward "$seed"
    done
  done
done

# Without the regulariser, and without any reward.
for seed in $seeds; do
  for task in $tasks; do
    online $out-no-regularizer $task ail "$seed" --config.embodiment=""
    online $out-no-reward $task none "$seed"
  done
done
$python -m experiments report $out --config.title="Six tasks of Meta-World"

# The value gradient at a tenth of its weight, that of the first version of AIME-v2.
for seed in $seeds; do
  for task in $tasks; do
    online $out-value0.1 $task ail "$seed" --config.value_scale=0.1
  done
done

# Do the published learning rates hold what has been learnt?
for seed in $seeds; do
  for task in disassemble sweep hammer; do
    online $out-published-rates $task ail "$seed" --config.model_optimizer.learning_rate=3e-4 \
      --config.policy_optimizer.learning_rate=3e-4 --config.critic_optimizer.learning_rate=8e-5 \
      --config.reward.ail.learning_rate=1e-4
  done
done
