#!/usr/bin/env bash
# Table 2: commonsense and math with four language models. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table2_llms.yaml "$@"
