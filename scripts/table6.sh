#!/usr/bin/env bash
# Table 6: GLUE with RoBERTa-large. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table6_roberta_large.yaml "$@"
