#!/usr/bin/env bash
# Rows chosen anew during training, beside ones that stay. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/dynamic_selection.yaml "$@"
