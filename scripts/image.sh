#!/usr/bin/env bash
# A container image of the installed command: `image.sh NAME [BASE]`, by podman or docker, or by CONTAINER_TOOL. The tree that
# goes into it is what `make install` makes, with a bill of materials; its libtorch is the one that `make setup` put here.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'image: %s\n' "$*" >&2; }

name=${1:?usage: image.sh NAME [BASE]}
base=${2:-debian:stable-slim}
tool=${CONTAINER_TOOL:-$(command -v podman || command -v docker || true)}
[ -n "$tool" ] || { say "missing: podman or docker; CONTAINER_TOOL names another one"; exit 1; }

torch=$(realpath "${LIBTORCH:-.libtorch}")
case $torch in
  "$PWD"/*) ;;
  *) say "libtorch is at $torch, outside this clone: it would not be in the image; run make setup without LIBTORCH"; exit 1 ;;
esac
if ls "$torch"/lib/libtorch_cuda.so >/dev/null 2>&1; then gpus=all; else gpus=void; fi

tree=${CARGO_TARGET_DIR:-target}/image
rm -rf "$tree"
scripts/install.sh "$tree"
scripts/sbom.sh d2r-batch "$tree/share/doc/d2r/d2r-batch.cdx.json"
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
version=$("$tree/bin/d2r" --version | cut -d' ' -f2)
say "$tool builds $name from $base, GPUs: $gpus"
"$tool" build --file Containerfile --build-arg "BASE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
  --build-arg "GPUS=$gpus" --network none --tag "$name" "$tree"
say "$name is there: $tool run --rm $name doctor"
