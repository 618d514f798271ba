#!/usr/bin/env bash
# Runs cargo-deny over every lock file of the project. The first run builds it.
set -euo pipefail
cd "$(dirname "$0")/.."

deny=$(scripts/cargo_tool.sh cargo-deny)/cargo-deny

for manifest in Cargo.toml wasm-viewer/pack/Cargo.toml; do
  "$deny" --locked --manifest-path "$manifest" --config deny.toml check bans licenses sources
  log=$(mktemp)
  if "$deny" --locked --manifest-path "$manifest" --config deny.toml check advisories 2> "$log"; then
    cat "$log" >&2
  elif grep -qiE 'failed to (fetch|clone|acquire|open)|unable to (fetch|clone)|advisory database' "$log"; then
    echo "deny: $manifest: the advisory database cannot be reached; advisories were NOT checked" >&2
  else
    cat "$log" >&2
    exit 1
  fi
  rm -f "$log"
done
