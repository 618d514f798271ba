#!/usr/bin/env bash
# Builds the browser crate for wasm32 with SIMD. Two ways: rustup's own target where it can be had; else Debian's
# rustc-web, cargo-web and rust-web-src, which carry the standard library's source, and lld.
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
flags="-C target-feature=+simd128"
out=${CARGO_TARGET_DIR:-target}/wasm

say() { printf 'wasm: %s\n' "$*" >&2; }

has_target() { command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$target"; }

if has_target || { command -v rustup >/dev/null && timeout 120 rustup target add "$target" >/dev/null 2>&1 && has_target; }; then
  say "with rustup's $target"
  RUSTFLAGS=$flags CARGO_TARGET_DIR=$out cargo build --locked -p d2r-viewer --lib --target "$target"
else
  packages="rustc-web cargo-web rust-web-src lld-22"
  if ! dpkg -s $packages >/dev/null 2>&1; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
      say "rustup cannot add $target; install it, or Debian's: sudo apt-get install $packages"
      exit 1
    fi
    say "installing $packages"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null
  fi
  say "with Debian's rustc-web"
  PATH=/usr/bin:$PATH RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
    CARGO_TARGET_DIR=$out cargo build --locked -p d2r-viewer --lib --target "$target" -Zbuild-std=std,panic_abort
fi
module=$out/$target/debug/d2r_viewer.wasm
say "$(wc -c <"$module") bytes at $module"
