#!/usr/bin/env bash
# Repeats the whole demo: expert, data, world models, policies, for several experts and instruction sets of the processor.
#   bash results/demo-repetitions.sh [PYTHON [RUNS [EXPERTS [INSTRUCTION_SETS]]]]
# Appends a row per seed to results/demo/repetitions.csv; what is there already is not repeated. Minutes per repetition.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
runs=${2:-runs/demo-repetitions}
experts=${3:-0 1 2 3 4}
instruction_sets=${4:-AVX512 AVX2 SSE4_2}

mkdir -p "$runs"
for expert in $experts; do
  for isa in $instruction_sets; do
    workdir=$runs/$expert-$isa
    # Every stage has seeds of its own, so that no two repetitions share a number.
    XLA_FLAGS="--xla_cpu_max_isa=$isa" $python -m experiments demo --config=demo --config.video=False \
      --config.expert.seed="$expert" --config.random.seed=$((100 + expert)) \
      --config.body.rhythmic.seed=$((200 + expert)) --config.pretrain.seed=$((6 * expert)) \
      --config.imitate.seed=$((6 * expert)) --config.bco.seed=$((2 * expert)) --config.bc.seed=$((2 * expert)) \
      --workdir="$workdir" > "$workdir.log" 2>&1 || { tail -n 3 "$workdir.log"; exit 1; }
    $python - "$workdir" "$expert" "$isa" results/demo/repetitions.csv << 'PYTHON'
import csv, json, pathlib, sys

workdir, expert, isa, table = sys.argv[1:]
stages = {"aime": "aime", "bco": "bco", "bc": "bc", "aime_1": "aime-1", "bco_1": "bco-1", "bc_1": "bc-1"}
done = {name: json.loads((pathlib.Path(workdir) / stage / "DONE").read_text()) for name, stage in stages.items()}
rows = [
    dict(expert=expert, seed=seed, isa=isa)
    | {name: round(result["by_expert"][seed], 2) for name, result in done.items()}
    | dict(expert_return=round(done["bc"]["expert_return"], 2))
    for seed in range(len(done["aime"]["by_expert"]))
]
path = pathlib.Path(table)
kept = list(csv.DictReader(path.open())) if path.exists() else []
kept = [row for row in kept if (row["expert"], row["isa"]) != (expert, isa)]
with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows([*kept, *rows])
PYTHON
  done
done
