#!/usr/bin/env bash
# Remakes the records under results/. Needs GLUE's rows in ./data (glue/rte/train.jsonl, …).
set -euo pipefail
cd "$(dirname "$0")/.."
rocoft demo
rocoft demo --family all
rocoft evaluate results/demo/word-problems --protocol published
for task in rte cola; do
  rocoft train glue --task "$task" --rank 3 --mode row --model demo-minilm --data-dir data --epochs 3 \
    --output "results/glue-$task"
done
rocoft report results/
