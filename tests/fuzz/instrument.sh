#!/usr/bin/env bash
# Stands in for rustc while the fuzz program is built: the crates that read foreign bytes get libFuzzer's coverage counters.
set -euo pipefail
rustc=$1
shift
# Crates that build scripts use too (flate2, serde_json) cannot have them: a build script has no libFuzzer.
counted='d2r_contracts d2r_batch d2r_viewer d2r_fuzz hayro_jpeg2000 jpeg_decoder zune_jpeg png dicom_core fdeflate csv csv_core roxmltree
 safetensors arrow2 arrow_format planus tract_onnx tract_hir'
name=
for ((i = 1; i < $#; i++)); do
  if [ "${!i}" = --crate-name ]; then j=$((i + 1)) && name=${!j}; fi
done
if [[ " ${counted//$'\n'/} " == *" $name "* ]]; then
  exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
fi
exec "$rustc" "$@"
