#!/usr/bin/env bash
# Puts the browser viewer together: `viewer.sh SITE [BUNDLE]` makes SITE/pkg (the library, npm-shaped) and around it the
# page with BUNDLE (a folder of `d2r export preview`) as SITE/preview. Without BUNDLE the page finds none.
set -euo pipefail
cd "$(dirname "$0")/.."

site=${1:?usage: viewer.sh SITE [BUNDLE]}
bundle=${2:-}
build=${CARGO_TARGET_DIR:-target}

say() { printf 'viewer: %s\n' "$*" >&2; }

modules=$(scripts/wasm.sh)
CARGO_TARGET_DIR=$build/pack cargo build --locked --release --manifest-path wasm-viewer/pack/Cargo.toml
pack=$build/pack/release/d2r-viewer-pack

fresh=$site.new-$$
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/pkg"
cp wasm-viewer/npm/* LICENSE "$fresh/pkg/"
"$pack" glue "$fresh/pkg" $modules
cp wasm-viewer/www/* "$fresh/"
if [ -n "$bundle" ]; then
  [ -f "$bundle/card.json" ] || { say "no bundle at $bundle; make one with: d2r export preview"; exit 66; }
  mkdir "$fresh/preview"
  cp "$bundle"/* "$fresh/preview/"
fi
"$pack" site "$fresh"
rm -rf "$site"
mkdir -p "$(dirname "$site")"
mv "$fresh" "$site"
say "$site is ready"
