#!/usr/bin/env bash
# Every method on a small real model: SST-2 with three seeds (600 rows, 3 epochs), and RTE, MRPC and CoLA run through
# once (300 rows, 1 epoch). Remakes results/baselines/.
# Needs the `demo` and `quant` extras and GLUE's rows in ./data (glue/sst2/train.jsonl, …).
# JOBS runs at a time, one thread each; finished ones are left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1

run() { # method task seed rows epochs
  # these train for two orders of magnitude more steps where their rates are from
  local rate=()
  case "$1" in
    rocoft) rate=(--learning-rate 3e-3) ;; # the demo's; Table 10's is for all rows
    mam | propetl-prefix) rate=(--learning-rate 2e-3) ;;
    propetl-lora) rate=(--learning-rate 5e-4) ;;
    diff-pruning) rate=(--learning-rate 3e-4) ;;
  esac
  rocoft train glue --task "$2" --method "$1" --model demo-minilm --data-dir data --seed "$3" \
    --epochs "$5" --batch-size 16 --set training.warmup_steps=10 --set training.evaluate=end \
    --set task.max_length=128 --set task.max_train_rows="$4" "${rate[@]}" --output "results/baselines/$2-$1-$3" >/dev/null
}
export -f run

methods=$(rocoft ls methods | tail -n +2 | cut -d' ' -f1)
for method in $methods; do
  for seed in 0 1 2; do echo "$method sst2 $seed 600 3"; done
  for task in rte mrpc cola; do echo "$method $task 0 300 1"; done
done | xargs -P "${JOBS:-2}" -L 1 bash -c 'run "$@" || echo "failed: $*" >&2' run
rocoft report results/baselines
