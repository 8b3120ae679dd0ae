#!/usr/bin/env bash
# Table 1: every method on GLUE with RoBERTa-base. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table1_roberta_base.yaml "$@"
