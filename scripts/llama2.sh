#!/usr/bin/env bash
# Table 2's rows of LLaMA-2 7B and 13B. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/llama2.yaml "$@"
