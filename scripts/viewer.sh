#!/usr/bin/env bash
# Builds the browser viewer. `viewer.sh SITE BUNDLE`: the library (an npm package) as SITE/pkg, the page as SITE, and BUNDLE (a
# folder of `d2r export preview`) as SITE/preview. `viewer.sh SITE BUNDLE packed` adds a Brotli-compressed copy of each file.
set -euo pipefail
cd "$(dirname "$0")/.."

site=${1:?usage: viewer.sh SITE BUNDLE [packed]}
bundle=${2:?usage: viewer.sh SITE BUNDLE [packed]}
build=${CARGO_TARGET_DIR:-target}

say() { printf 'viewer: %s\n' "$*" >&2; }

[ -f "$bundle/card.json" ] || { say "no bundle at $bundle; make one with: d2r export preview"; exit 66; }
pack=$build/pack/release/d2r-viewer-pack

fresh=$site.new-$$
trap 'rm -rf "$fresh"' EXIT
scripts/viewer_package.sh "$fresh/pkg"
cp wasm-viewer/www/* "$fresh/"
mkdir "$fresh/preview"
cp "$bundle"/* "$fresh/preview/"
"$pack" site "$fresh"
[ "${3:-}" != packed ] || "$pack" brotli "$fresh"
rm -rf "$site"
mkdir -p "$(dirname "$site")"
mv "$fresh" "$site"
say "$site is ready"
