#!/usr/bin/env bash
# What is published, into dist/: the Airflow package as a wheel, the browser library as an npm tarball, a bill of materials
# (CycloneDX) of each of them and of the command, SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'dist: %s\n' "$*" >&2; }

rm -rf dist dist.new
mkdir dist.new
.venv/bin/uv build -q --wheel --out-dir dist.new --build-constraints requirements/wheel-build-locked.txt --require-hashes dags
rm -f dist.new/.gitignore

work=$(mktemp -d)
trap 'rm -rf "$work" dist.new' EXIT
scripts/viewer_package.sh "$work/package"
release=$(sed -n 's/^  "version": "\(.*\)",/\1/p' wasm-viewer/npm/package.json)
# Names and times are fixed: the same files give the same archive.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work" -cf - package | gzip -n > "dist.new/d2r-viewer-$release.tgz"

for package in d2r-batch d2r-viewer; do scripts/sbom.sh "$package" "dist.new/$package.cdx.json"; done
.venv/bin/python scripts/package_lists.py wheel dist.new/d2r_airflow-*.whl requirements/airflow-locked.txt > dist.new/d2r-airflow.cdx.json
for module in simd relaxed; do
  .venv/bin/python scripts/package_lists.py binary "$work/package/$module/d2r_viewer_bg.wasm" >&2
done
(cd dist.new && sha256sum -- * > SHA256SUMS)
mv dist.new dist
say "dist/ holds: $(ls dist | tr '\n' ' ')"
