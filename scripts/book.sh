#!/usr/bin/env bash
# Builds docs/ as a site with search into book/, by mdbook, which the first run builds.
set -euo pipefail
cd "$(dirname "$0")/.."

mdbook=$(scripts/cargo_tool.sh mdbook)/mdbook
rm -rf book
"$mdbook" build docs
echo "book: open book/index.html" >&2
