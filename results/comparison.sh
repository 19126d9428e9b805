#!/usr/bin/env bash
# The comparisons of results/comparison.md. After results/experts.sh:
#   bash results/comparison.sh [PYTHON]
# Three hours and more on one core. Finished runs are skipped; the same command continues.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
experts=runs/experts
out=runs/comparison
most="('aime','bco','iidm','mbbc','bc')"

for kind in uniform coloured; do # flailing: 100 episodes of each
  $python -m experiments collect --config=collect:$kind --config.env=cheetah-run \
    --config.num_episodes=100 --config.seed=1 --workdir=$out/cheetah-$kind
done
$python -m experiments collect --config=collect:mix --workdir=$out/cheetah-random \
  --config.sources="('$out/cheetah-uniform','$out/cheetah-coloured')"

cell() { # NAME PRESET EMBODIMENT DEMONSTRATED PUBLISHED-DATA SETUP METHODS [FLAGS]
  $python -m experiments compare --config=compare:"$2" --workdir="$out/$1" \
    --config.embodiment="$3/episodes" --config.demonstrations="$experts/$4/demonstrations" \
    --config.published_data="$5" --config.setup="$6" --config.methods="$7" "${@:8}"
}

# Running backwards, from flailing and from the replay of a forward runner, without and with velocities.
all="('aime','bco','bco_alpha','iidm','gaifo','ot','mbbc','bc')"
cell backward-random-lpomdp small $out/cheetah-random cheetah-runbackward random lpomdp "$all"
cell backward-run-lpomdp small $experts/cheetah-run cheetah-runbackward run lpomdp "$most"
cell backward-random-mdp small $out/cheetah-random cheetah-runbackward random mdp "$most"
cell backward-run-mdp small $experts/cheetah-run cheetah-runbackward run mdp "$most"

# With velocities AIME's seeds spread. Is it the noise on what the policy sees, the world model, or what it says of velocities?
$python -m experiments pretrain --config=pretrain:small --config.setup=mdp --config.num_seeds=3 \
  --config.embodiment=$out/cheetah-random/episodes --workdir=$out/model-mdp
aime() { # NAME MODEL [FLAGS]
  $python -m experiments imitate --config=imitate:small --config.num_seeds=3 --config.model="$2" \
    --config.demonstrations=$experts/cheetah-runbackward/demonstrations --config.evaluation.every=0 --workdir="$out/$1" "${@:3}"
}
for noise in 0.04 0.0; do
  aime aime-mdp-noise$noise $out/model-mdp --config.loss.observation_noise=$noise
done
for seed in 0 2; do # three policies of one world model
  $python -m experiments export --config=export --config.seed=$seed --run=$out/model-mdp \
    --to=$out/model-mdp-seed$seed
  aime aime-mdp-model$seed $out/model-mdp-seed$seed --config.loss.observation_noise=0.0 --config.seed=10
done
aime aime-mdp-kl-only $out/model-mdp --config.loss.observation_noise=0.0 --config.loss.kl_only=True

# Walking, from the replay of a runner, and standing from that of a walker.
longer="--config.pretrain.num_updates=3000 --config.aime.num_updates=1500"
cell walk-run-lpomdp small $experts/walker-run walker-walk run lpomdp "$most" $longer
cell stand-walk-lpomdp small $experts/walker-walk walker-stand walk lpomdp "$most" $longer
cell stand-walk-mdp small $experts/walker-walk walker-stand walk mdp "$most" $longer

# The same from 150 episodes with the expert's own noise, in which it shows how it recovers.
cell stand-walk-noisy-lpomdp small $experts/walker-walk-noisy walker-stand-noisy walk lpomdp "$most" $longer
cell stand-walk-noisy-mdp small $experts/walker-walk-noisy walker-stand-noisy walk mdp "$most" $longer
cell walk-run-noisy-lpomdp small $experts/walker-run-noisy walker-walk-noisy run lpomdp "$most" $longer

# Walking with velocities, from the replay of a walker that learns it and a few episodes of standing, in a larger model.
$python -m experiments collect --config=collect:mix --workdir=$out/walker-stand-part \
  --config.sources="('$experts/walker-stand-noisy',)" --config.limit=30 --config.mode=uniform
$python -m experiments collect --config=collect:mix --workdir=$out/walker-body \
  --config.sources="('$experts/walker-walk-noisy','$out/walker-stand-part')"
cell walk-walk-noisy-mdp small-walker $out/walker-body walker-walk-noisy walk mdp "$most" --config.relevance=False \
  --config.pretrain.num_updates=9000 --config.num_seeds=3

# Running backwards again, from what curiosity has found.
$python -m experiments dreamer --config=dreamer:p2e-small --config.env=cheetah-run \
  --config.num_episodes=100 --config.updates_per_step=0.1 --config.evaluation.every=0 --workdir=$out/p2e
cell backward-p2e-lpomdp small $out/p2e cheetah-runbackward p2e lpomdp "$most"
cell backward-p2e-mdp small $out/p2e cheetah-runbackward p2e mdp "$most"

cells=$(for run in "$out"/backward-* "$out"/stand-* "$out"/walk-*; do printf "'%s'," "$run"; done)
$python -m experiments aggregate --config.runs="($cells)" --workdir=$out/all
