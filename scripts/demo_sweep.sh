#!/usr/bin/env bash
# The demo sweep: four methods, three seeds, no network. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/demo.yaml "$@"
