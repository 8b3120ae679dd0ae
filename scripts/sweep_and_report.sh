#!/usr/bin/env bash
# scripts/sweep_and_report.sh configs/FILE.yaml [OPTIONS of rocoft sweep]
# Runs what of a sweep is not yet done, below results/, then shows all results there; ends as the sweep did.
set -uo pipefail
cd "$(dirname "$0")/.."
rocoft sweep "$@"
status=$?
rocoft report results
exit "$status"
