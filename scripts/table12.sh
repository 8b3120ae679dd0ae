#!/usr/bin/env bash
# Table 12: random entries with four language models. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table12_random_llms.yaml "$@"
