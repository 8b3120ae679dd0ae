#!/usr/bin/env bash
# Is RoCoFT comparable to LoRA and to full fine-tuning? sst2, small model, tuned. Options go to rocoft sweep.
exec "$(dirname "$0")/sweep_and_report.sh" configs/evidence_sst2.yaml "$@"
