#!/usr/bin/env bash
# Does training as RoCoFT's published code does differ? Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/evidence_published.yaml --plugin scripts/published_rocoft.py "$@"
