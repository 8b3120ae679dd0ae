#!/usr/bin/env bash
# Figure 4: four ways to choose the rows or columns. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/figure4_selection.yaml "$@"
