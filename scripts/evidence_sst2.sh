#!/usr/bin/env bash
# RoCoFT beside LoRA, full fine-tuning and the head alone on sst2, each tuned. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/evidence_sst2.yaml "$@"
