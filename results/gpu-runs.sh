#!/usr/bin/env bash
# Training runs on one GPU, all at the same time, of results/gpu.md. After results/experts.sh and the visual demo:
#   bash results/gpu-runs.sh [PYTHON]
# About a quarter of an hour on an H100 with 16 cores. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
out=runs/gpu
experts=runs/experts
export MUJOCO_GL=egl XLA_PYTHON_CLIENT_PREALLOCATE=false

run() { # MAIN PRESET NAME [FLAGS]
  $python -m experiments "$1" --config="$1:$2" --workdir="$out/$3" "${@:4}"
}

draw() { # NAME EPISODES SIZE: images of a folder's physics states
  run dataset render "$1" --config.data="$2" --config.workers=5 --config.image_size="$3" --config.render_quality=fast
}

walker() { # walking, from the replay of walkers, in images of 64 x 64
  run collect mix stand-part --config.sources="('$experts/walker-stand-noisy',)" --config.limit=30 --config.mode=uniform
  draw walk $experts/walker-walk-noisy/episodes 64 & draw stand $out/stand-part/episodes 64 & wait
  draw shown $experts/walker-walk-noisy/demonstrations 64
  run collect mix body --config.sources="('$out/walk','$out/stand')"
  run pretrain visual-small walker-model --config.embodiment=$out/body/episodes --config.num_updates=9000 \
    --config.batch_size=50 --config.length=32 --config.save_every=5000 --config.optimizer.learning_rate=5e-4 \
    --config.world_model.use_probes=False --config.world_model.rssm.deter_size=512 \
    --config.world_model.rssm.hidden_size=512 --config.world_model.rssm.stoch_size=32 \
    --config.world_model.image_encoder="{'name': 'cnn_ha', 'width': 32}" \
    --config.world_model.image_decoder="{'name': 'cnn_ha', 'width': 32, 'sigmoid': False}"
  run imitate visual-small walker-aime --config.model=$out/walker-model --config.demonstrations=$out/shown/episodes \
    --config.num_demonstrations=100 --config.num_seeds=2 --config.num_updates=3500 --config.batch_size=32 \
    --config.length=32 --config.save_every=2000 --config.evaluation.every=2000 --config.evaluation.episodes=2
}

cheetah() { # running, from flailing, online, in images of 32 x 32; the world model is that of the visual demo
  draw run $experts/cheetah-run/demonstrations 32
  local common="--config.model=runs/demo-visual/pretrain --config.demonstrations=$out/run/episodes"
  run imitate visual-small cheetah-aime $common --config.evaluation.every=0 --config.evaluation.final_episodes=10 &
  run online small cheetah-online $common --config.embodiment=runs/demo-visual/embodiment/episodes \
    --config.regularizer.num_episodes=80 --config.regularizer.sampling=uniform \
    --config.reward.name=ail --config.loss.kl_scale=0.03 --config.loss.observation_noise=0.0 --config.length=24 \
    --config.num_envs=4 --config.num_episodes=140 --config.updates_per_episode=100 --config.updates_per_dispatch=50 \
    --config.entropy_scale=0.1 --config.policy_pretraining=2000 --config.policy.hidden_size=128 \
    --config.policy_optimizer.learning_rate=3e-4 --config.critic_optimizer.learning_rate=3e-4 \
    --config.evaluation.every=20 --config.evaluation.episodes=4 --config.evaluation.final_episodes=10
  wait
}

experts() { # Dreamer from images, then experts from state by SAC
  run dreamer visual-small dreamer --config.num_episodes=120 --config.updates_per_step=0.4 --config.loss.kl_scale=0.03
  for task in walker-stand cheetah-run walker-walk; do
    run collect sac "sac/$task" --config.env=$task --config.demonstrations.num_episodes=2
  done
  for task in walker-run cartpole-swingup reacher-easy finger-spin hopper-stand cheetah-runbackward; do
    run collect sac "sac/$task" --config.env=$task --config.demonstrations.num_episodes=2 &
  done
  wait
}

walker & cheetah & experts & wait
run collect sac sac/alone-walker-stand --config.env=walker-stand --config.demonstrations.num_episodes=2
