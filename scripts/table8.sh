#!/usr/bin/env bash
# Table 8: LoRA and RoCoFT at five ranks. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table8_rank.yaml "$@"
