#!/usr/bin/env bash
# `shipped_models.sh D2R OUT`: exports the report model of a finished demo in OUT, distils and exports its preview model, and
# puts both into batch/models.
set -euo pipefail
cd "$(dirname "$0")/.."
d2r=${1:?usage: shipped_models.sh D2R OUT}
out=${2:?usage: shipped_models.sh D2R OUT}
reporter=$(ls -d "$out"/runs/reporter-* | tail -n 1)
rm -rf batch/models/reporter batch/models/preview
"$d2r" export model --reporter "$reporter" --out batch/models/reporter
"$d2r" distill --preset demo --lake "$out/lake" --runs "$out/runs" --reporter "$reporter"
"$d2r" export preview --preset demo --lake "$out/lake" --preview-model "$(ls -d "$out"/runs/preview-* | tail -n 1)" --out batch/models/preview

"$d2r" --version --verbose | grep -E '^(d2r|sources|libtorch)' | sed 's| at /.*||' > batch/models/MADE_BY.txt
cp "$out/summary.json" batch/models/demo-summary.json
