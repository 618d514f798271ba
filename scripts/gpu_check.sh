#!/usr/bin/env bash
# Measures the published systems on one CUDA device, in at most twelve minutes, into bench-results/gpu.json. `d2r` and the
# example `detector_speed` are built before (`D2R`, `D2R_SPEED` name others), and torchvision is there (`make parity-setup`).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/d2r/target}
exec timeout --kill-after 10 720 "${PYTHON:-.venv/bin/python}" tests/bench/gpu_check.py --d2r "${D2R:-$target/debug/d2r}" \
  --speed "${D2R_SPEED:-$target/debug/examples/detector_speed}" --out bench-results/gpu.json "$@"
