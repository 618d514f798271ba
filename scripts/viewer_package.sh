#!/usr/bin/env bash
# The browser library as an npm package in a folder: `viewer_package.sh FOLDER`.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: viewer_package.sh FOLDER}
modules=$(scripts/wasm.sh)
mkdir -p "$folder"
cp wasm-viewer/npm/* LICENSE "$folder/"
"${CARGO_TARGET_DIR:-target}/pack/release/d2r-viewer-pack" glue "$folder" $modules
