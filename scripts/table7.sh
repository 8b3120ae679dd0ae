#!/usr/bin/env bash
# Table 7: question answering and summarization. Options go to `rocoft sweep`, e.g. --dry-run.
exec "$(dirname "$0")/sweep_and_report.sh" configs/table7_qa_summarization.yaml "$@"
