#!/usr/bin/env bash
# Builds the optimised command and installs it with its libtorch, manual pages, completions and presets:
# `install.sh PREFIX`. The installed folder does not need this clone any more; it can be moved as a whole.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${1:?usage: install.sh PREFIX}
mkdir -p "$prefix"
prefix=$(realpath "$prefix")
target=${CARGO_TARGET_DIR:-target}
say() { printf 'install: %s\n' "$*" >&2; }

torch=$(realpath "${LIBTORCH:-.libtorch}")
case $torch in
  "$PWD"/*)
    # The wheel of this clone: its libraries go along.
    libraries=$prefix/lib/d2r/site-packages
    rpath='$ORIGIN/../lib/d2r/site-packages/torch/lib'
    ;;
  *)
    libraries=""
    rpath=$torch/lib
    ;;
esac

. scripts/auditable.sh
D2R_LIBTORCH_RPATH=$rpath "${build[@]}" build --locked --release -p d2r-batch --bin d2r
if [ ${#build[@]} = 2 ]; then
  listed=$(.venv/bin/python scripts/package_lists.py binary "$target/release/d2r")
  say "$listed"
fi

if [ -n "$libraries" ]; then
  rm -rf "$libraries.new"
  mkdir -p "$libraries.new/torch"
  # Hard links take no space; another file system gets copies.
  link() { cp -al "$@" 2>/dev/null || cp -a "$@"; }
  link "$torch/lib" "$torch/version.py" "$libraries.new/torch/"
  for folder in "$torch"/../nvidia/*/lib; do
    [ -d "$folder" ] || continue
    name=$(basename "$(dirname "$folder")")
    mkdir -p "$libraries.new/nvidia/$name"
    link "$folder" "$libraries.new/nvidia/$name/"
  done
  rm -rf "$libraries"
  mv "$libraries.new" "$libraries"
fi

share=$prefix/share
install -D -m 755 "$target/release/d2r" "$prefix/bin/d2r"
for preset in batch/presets/*.toml; do install -D -m 644 "$preset" "$share/d2r/presets/$(basename "$preset")"; done
install -D -m 644 LICENSE "$share/doc/d2r/LICENSE"
"$prefix/bin/d2r" man-pages --out "$share/man/man1"
completion() { mkdir -p "$(dirname "$2")"; "$prefix/bin/d2r" completions "$1" > "$2"; }
completion bash "$share/bash-completion/completions/d2r"
completion zsh "$share/zsh/site-functions/_d2r"
completion fish "$share/fish/vendor_completions.d/d2r.fish"
say "$("$prefix/bin/d2r" --version) is at $prefix/bin/d2r"
case ":$PATH:" in *":$prefix/bin:"*) ;; *) say "add it to your path: export PATH=$prefix/bin:\$PATH" ;; esac
