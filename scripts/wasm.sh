#!/usr/bin/env bash
# Builds the browser crate for wasm32 twice, with SIMD and with relaxed SIMD, and prints the paths of the two modules. Uses
# Debian's rustc-web, cargo-web, rust-web-src (the standard library's source) and lld where they are installed, else rustup's
# target, else installs Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
root=${CARGO_TARGET_DIR:-target}/wasm

say() { printf 'wasm: %s\n' "$*" >&2; }

has_target() { command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$target"; }

extra=()
packages="rustc-web cargo-web rust-web-src lld-22"
has_packages() { command -v dpkg >/dev/null && dpkg -s $packages >/dev/null 2>&1; }
if has_packages; then
  linker=/usr/bin/wasm-ld-22
elif has_target || { command -v rustup >/dev/null && timeout 120 rustup target add "$target" >/dev/null 2>&1 && has_target; }; then
  say "with rustup's $target"
  linker=$(rustc --print sysroot)/lib/rustlib/$(rustc --print host-tuple)/bin/rust-lld
else
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "rustup cannot add $target; install it, or Debian's: sudo apt-get install $packages"
    exit 1
  fi
  say "installing $packages"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null
  linker=/usr/bin/wasm-ld-22
fi

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/pack cargo build --locked --release --manifest-path wasm-viewer/pack/Cargo.toml >&2
D2R_PACK=$(realpath "${CARGO_TARGET_DIR:-target}/pack/release/d2r-viewer-pack")
export D2R_PACK D2R_WASM_LD=$linker CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$PWD/scripts/linker/wasm-ld

. scripts/auditable.sh

if [ "$linker" = /usr/bin/wasm-ld-22 ]; then
  say "with Debian's rustc-web"
  export PATH=/usr/bin:$PATH RUSTC_BOOTSTRAP=1
  extra=(-Zbuild-std=std,panic_abort)
fi

# `cargo rustc` with a single crate type: with an rlib beside it, cargo skips link-time optimisation.
for kind in simd relaxed; do
  features=+simd128
  [ "$kind" = relaxed ] && features=+simd128,+relaxed-simd
  RUSTFLAGS="-C target-feature=$features" CARGO_TARGET_DIR=$root/$kind \
    "${build[@]}" rustc --locked -p d2r-viewer --lib --crate-type cdylib --profile wasm-release --target "$target" "${extra[@]}" >&2
  module=$root/$kind/$target/wasm-release/d2r_viewer.wasm
  say "$kind: $(wc -c <"$module") bytes"
  echo "$module"
done
