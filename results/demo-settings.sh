#!/usr/bin/env bash
# What raises the demo's score, of results/cheetah-demo.md: data, demonstrations and updates for one expert. After its
# repetition by results/demo-repetitions.sh:
#   bash results/demo-settings.sh [PYTHON [RUNS [EXPERT]]]
# Three world models and policies a row; scores of each alone and of the three together end on the screen.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
runs=${2:-runs/demo-repetitions}
expert=${3:-1}
source=$runs/$expert-AVX512/expert
out=runs/demo-settings/$expert
export XLA_FLAGS="--xla_cpu_max_isa=AVX512"

collect() { # NAME PRESET EPISODES SEED [FLAGS]
  $python -m experiments collect --config=collect:"$2" --config.num_episodes="$3" --config.seed="$4" --workdir="$out/$1" "${@:5}"
}
noise() { collect "$1" "$2" "$3" "$4" --config.env=cheetah-runbackward; }
noise uniform uniform 100 $((100 + expert))
noise coloured coloured 100 $((200 + expert))
noise rhythmic rhythmic 301 $((300 + expert))
noise more-rhythmic rhythmic 601 $((300 + expert))
for number in 20 100; do
  collect shown-$number demonstrations $number "$expert" --config.source="$source" --config.with_actions=False
done

model() { # NAME DATA UPDATES LENGTH UNITS LATENT
  local units=world_model.rssm.deter_size=$5,world_model.rssm.hidden_size=$5,world_model.rssm.stoch_size=$6 flags=()
  units+=$(printf ',world_model.%s.hidden_size='"$5" encoder decoder probe idm)
  for flag in ${units//,/ }; do flags+=("--config.$flag"); done
  $python -m experiments pretrain --config=pretrain:small --config.embodiment="$out/uniform/episodes,$out/$2/episodes" \
    --config.num_seeds=3 --config.seed=$((6 * expert)) --config.num_updates="$3" --config.length="$4" "${flags[@]}" \
    --workdir="$out/$1/model"
}
row() { # NAME DEMONSTRATIONS UPDATES LENGTH RATE
  local name=$out/$1/aime-$2-$3-$4-$5
  $python -m experiments imitate --config=imitate:small --config.model="$out/$1/model" --config.num_seeds=3 \
    --config.demonstrations="$out/shown-$2/episodes" --config.seed=$((6 * expert)) --config.evaluation.every=450 \
    --config.num_updates="$3" --config.length="$4" --config.optimizer.learning_rate="$5" --workdir="$name"
  echo "== $1, $2 demonstrations, $3 updates on windows of $4 with a learning rate of $5"
  $python results/ensembles.py "$name" 0 1 2 0+1+2
}
model coloured coloured 1500 50 64 16
row coloured 20 900 50 1e-3
row coloured 100 900 50 1e-3
model rhythmic rhythmic 1500 50 64 16
row rhythmic 20 900 50 1e-3
row rhythmic 20 1800 25 1e-3
row rhythmic 100 1800 50 1e-3
row rhythmic 100 2400 25 1e-3
model more-rhythmic more-rhythmic 2500 50 64 16
row more-rhythmic 100 1800 50 1e-3
model rhythmic-25 rhythmic 3000 25 64 16
row rhythmic-25 20 1800 25 1e-3
row rhythmic-25 100 2400 25 1e-3
row rhythmic-25 100 2400 25 3e-3
model larger rhythmic 3000 25 128 32
row larger 100 2400 25 3e-3
