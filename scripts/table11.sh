#!/usr/bin/env bash
# Table 11: random entries on GLUE. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table11_random.yaml "$@"
