#!/usr/bin/env bash
# Runs cargo-deny over every lock file of the project. Installs it once, into the cache folder, from the package registry.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tools=${XDG_CACHE_HOME:-$HOME/.cache}/d2r/tools/cargo-deny-$version
deny=$tools/bin/cargo-deny
if [ ! -x "$deny" ]; then
  echo "deny: building cargo-deny $version into $tools (once, some minutes)" >&2
  CARGO_TARGET_DIR=$(mktemp -d) && export CARGO_TARGET_DIR
  trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT
  cargo install --quiet --locked --root "$tools" --version "=$version" --no-default-features cargo-deny
fi

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
