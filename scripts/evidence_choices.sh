#!/usr/bin/env bash
# What of RoCoFT matters: the choice of rows, their number, biases. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/evidence_choices.yaml "$@"
