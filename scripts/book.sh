#!/usr/bin/env bash
# Builds docs/ as a site with search into book/, by mdbook. Installs mdbook once, into the cache folder, from the package registry.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.5.4
tools=${XDG_CACHE_HOME:-$HOME/.cache}/d2r/tools/mdbook-$version
mdbook=$tools/bin/mdbook
if [ ! -x "$mdbook" ]; then
  echo "book: building mdbook $version into $tools (once, some minutes)" >&2
  CARGO_TARGET_DIR=$(mktemp -d) && export CARGO_TARGET_DIR
  trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT
  cargo install --quiet --debug --locked --root "$tools" --version "=$version" --no-default-features --features search mdbook
fi

rm -rf book
"$mdbook" build docs
echo "book: open book/index.html" >&2
