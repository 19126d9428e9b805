#!/usr/bin/env bash
# What a weak result is due to, by the cheapest runs that can tell:
#   bash results/weak-results.sh [PYTHON [EXPERIMENTS [OUT [FOLDER [FOLDER]]]]]
# EXPERIMENTS, all by default, with minutes of one core and what their folders are:
#   velocities  AIME with velocities, cheetah, 3 seeds; 30; DATA and DEMONSTRATIONS, those of `make demo`
#   hopper      hopper-stand by SAC, longer, with noise, with smaller steps; 35
#   cartpole    Dreamer on cartpole-swingup from images, from vectors with the same networks, from both; 70
#   walker      AIME, walking from images, KL scales 0.25, 1 and 0.03, and kl_only; 120; the folder of results/experts.sh
# Runs stand in the order of what they promise. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
experiments=${2:-velocities hopper cartpole walker}
out=${3:-runs/weak-results}

run() { # COMMAND PRESET NAME [FLAGS]
  echo "$3"
  $python -m experiments "$1" --config="$1:$2" --workdir="$out/$3" "${@:4}"
}

velocities() { # [DATA [DEMONSTRATIONS]]: the folders of episodes of a demo; what decides, data or size?
  local data=${1:-runs/demo/embodiment/episodes}
  local shown=${2:-runs/demo/demonstrations/episodes}
  local noise=("${data/embodiment/random}" "$out/velocities/coloured/episodes")
  model() { # PRESET NAME DATA
    run pretrain "$1" "velocities/model-$2" --config.setup=mdp --config.num_seeds=3 --config.embodiment="$3"
  }
  aime() { # PRESET NAME MODEL [FLAGS]
    run imitate "$1" "velocities/$2" --config.model="$out/velocities/model-$3" --config.demonstrations="$shown" \
      --config.num_demonstrations=100 --config.num_seeds=3 --config.evaluation.every=0 "${@:4}"
  }
  model medium rhythms "$data"
  aime medium rhythms rhythms
  aime medium rhythms-kl-only rhythms --config.loss.kl_only=True
  run baseline bco-small velocities/bco --config.setup=mdp --config.num_seeds=3 --config.embodiment="$data" \
    --config.demonstrations="$shown"
  model small rhythms-small "$data"
  aime small rhythms-small rhythms-small
  run collect coloured velocities/coloured --config.env=cheetah-runbackward --config.num_episodes=300 --config.seed=1
  model medium noise "${noise[0]},${noise[1]}"
  aime medium noise noise
}

hopper() { # one change at a time to the settings that stand, 632, in results/experts.md
  expert() { # NAME [FLAGS]
    run collect sac "hopper/$1" --config.env=hopper-stand --config.agent_steps=300000 --config.sac.target_entropy=0.0 \
      --config.rounds.num_steps=3 --config.evaluate_every=20000 --config.evaluation_episodes=10 "${@:2}"
  }
  expert longer
  expert small-steps --config.sac.learning_rate=3e-4
  expert disturbed --config.disturbed_share=0.5
}

cartpole() { # if vectors with the same networks and updates do well, it is not the actor-critic
  swing() { # PRESET NAME SETUP [FLAGS]
    run dreamer "$1" "cartpole/$2" --config.setup="$3" --config.num_episodes=80 --config.updates_per_step=0.4 "${@:4}"
  }
  swing visual-small mdp mdp
  swing visual-small visual visual
  swing visual-small-v3 visual-v3 visual          # DreamerV3's actor-critic
  swing visual-small repeat-4 visual --config.action_repeat=4 # twice as many steps and updates
  swing visual-small full full
}

walker() { # [EXPERTS]
  local experts=${1:-runs/experts}
  draw() { # NAME EPISODES
    run dataset render "walker/$1" --config.data="$2" --config.workers=1 --config.image_size=32 --config.render_quality=fast
  }
  run collect mix walker/stand --config.sources="('$experts/walker-stand-noisy',)" --config.limit=30 --config.mode=uniform
  run collect mix walker/body --config.sources="('$experts/walker-walk-noisy','$out/walker/stand')"
  run collect mix walker/shown --config.sources="('$experts/walker-walk-noisy/demonstrations',)" --config.limit=100
  draw body-seen "$out/walker/body/episodes"
  draw shown-seen "$out/walker/shown/episodes"
  aime() { # NAME SCALE [FLAGS]
    run imitate visual-small "walker/$1" --config.model="$out/walker/model-$2" --config.loss.kl_scale="$2" \
      --config.demonstrations="$out/walker/shown-seen/episodes" --config.num_updates=1500 "${@:3}"
  }
  for scale in 0.25 1.0 0.03; do # the last is the preset's
    run pretrain visual-small walker/model-$scale --config.loss.kl_scale=$scale --config.num_updates=3000 \
      --config.embodiment="$out/walker/body-seen/episodes"
    aime $scale $scale
    aime $scale-kl-only $scale --config.loss.kl_only=True
  done
}

for experiment in $experiments; do
  $experiment "${@:4}"
done
