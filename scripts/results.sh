#!/usr/bin/env bash
# Remakes the records under results/. Needs the rows of GLUE and SQuAD in ./data (glue/rte/train.jsonl, …).
set -euo pipefail
cd "$(dirname "$0")/.."
rocoft demo
rocoft demo --family all
rocoft evaluate results/demo/word-problems --protocol published
for task in rte cola; do
  rocoft train glue --task "$task" --rank 3 --mode row --model demo-minilm --data-dir data --epochs 3 \
    --output "results/glue-$task"
done
rocoft train squad --task v1.1 --rank 3 --mode row --model demo-minilm --data-dir data \
  --learning-rate 4e-3 --epochs 3 --set training.warmup_steps=20 --set training.evaluate_before=true \
  --set task.max_length=192 --set task.doc_stride=64 --output results/squad-v1.1
rocoft report results/ --markdown results/report.md
