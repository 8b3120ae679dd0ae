#!/usr/bin/env bash
# RoCoFT over an NF4 and an int8 base beside the plain one, three seeds. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/quantised_bases.yaml "$@"
