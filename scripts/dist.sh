#!/usr/bin/env bash
# What is published, into dist/: the Airflow package as a wheel, the browser library as an npm tarball, a bill of materials
# (CycloneDX) per Rust package, SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'dist: %s\n' "$*" >&2; }

version=0.5.9
tools=${XDG_CACHE_HOME:-$HOME/.cache}/d2r/tools/cargo-cyclonedx-$version
if [ ! -x "$tools/bin/cargo-cyclonedx" ]; then
  say "building cargo-cyclonedx $version into $tools (once, some minutes)"
  build=$(mktemp -d)
  CARGO_TARGET_DIR=$build cargo install --quiet --locked --root "$tools" --version "=$version" cargo-cyclonedx
  rm -rf "$build"
fi

rm -rf dist dist.new
mkdir dist.new
.venv/bin/uv build -q --wheel --out-dir dist.new dags
rm -f dist.new/.gitignore

work=$(mktemp -d)
trap 'rm -rf "$work" dist.new' EXIT
scripts/viewer_package.sh "$work/package"
release=$(sed -n 's/^  "version": "\(.*\)",/\1/p' wasm-viewer/npm/package.json)
# Names and times are fixed: the same files give the same archive.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work" -cf - package | gzip -n > "dist.new/d2r-viewer-$release.tgz"

for package in d2r-batch d2r-viewer; do
  folder=$([ "$package" = d2r-batch ] && echo batch || echo wasm-viewer)
  "$tools/bin/cargo-cyclonedx" cyclonedx --manifest-path "$folder/Cargo.toml" --format json --override-filename "$package.cdx" >&2
  mv "$folder/$package.cdx.json" dist.new/
done
find . -name 'd2r-*.cdx.json' -not -path './dist.new/*' -not -path './.venv*' -delete
(cd dist.new && sha256sum -- * > SHA256SUMS)
mv dist.new dist
say "dist/ holds: $(ls dist | tr '\n' ' ')"
