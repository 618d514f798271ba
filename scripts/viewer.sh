#!/usr/bin/env bash
# Puts the browser viewer together: `viewer.sh SITE [BUNDLE]` makes SITE/pkg (the library, npm-shaped) and around it the
# page with BUNDLE (a folder of `d2r export preview`) as SITE/preview. `viewer.sh SITE BUNDLE packed` shrinks the modules
# and puts a Brotli-packed copy beside each file, for servers that send such copies; it takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

site=${1:?usage: viewer.sh SITE BUNDLE [packed]}
bundle=${2:?usage: viewer.sh SITE BUNDLE [packed]}
build=${CARGO_TARGET_DIR:-target}

say() { printf 'viewer: %s\n' "$*" >&2; }

[ -f "$bundle/card.json" ] || { say "no bundle at $bundle; make one with: d2r export preview"; exit 66; }
modules=$(scripts/wasm.sh)
if [ "${3:-}" = packed ]; then
  command -v npm >/dev/null || { say "missing: npm, for Binaryen's wasm-opt"; exit 1; }
  (cd wasm-viewer/pack && npm ci --no-audit --no-fund --loglevel=error >&2)
  export WASM_OPT=$PWD/wasm-viewer/pack/node_modules/.bin/wasm-opt
fi
pack=$build/pack/release/d2r-viewer-pack

fresh=$site.new-$$
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/pkg"
cp wasm-viewer/npm/* LICENSE "$fresh/pkg/"
"$pack" glue "$fresh/pkg" $modules ${3:-}
cp wasm-viewer/www/* "$fresh/"
mkdir "$fresh/preview"
cp "$bundle"/* "$fresh/preview/"
"$pack" site "$fresh"
[ "${3:-}" != packed ] || "$pack" brotli "$fresh"
rm -rf "$site"
mkdir -p "$(dirname "$site")"
mv "$fresh" "$site"
say "$site is ready"
