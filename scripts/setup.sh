#!/usr/bin/env bash
# Puts everything that building and testing need into this folder: a virtual environment with libtorch (the PyTorch
# wheel) and the test tools, and the link .libtorch that cargo builds against. Does nothing when it is all there.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Installs a Debian package when we may; otherwise says what to do.
debian() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
  else
    fail "missing: $*; install with: sudo apt-get install $*"
  fi
}

command -v cargo >/dev/null || fail "cargo is not on PATH; install Rust 1.91 or newer from https://rustup.rs"
command -v c++ >/dev/null || debian g++
python=""
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || debian python3
[ -n "$python" ] || python=python3

lock=requirements/locked.txt
stamp=.venv/installed-$(sha256sum "$lock" | cut -c1-16)
if [ ! -f "$stamp" ]; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null || debian python3-venv
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  say "installing libtorch and the test tools (about 5 GB, a few minutes)"
  .venv/bin/python -m pip install -q --disable-pip-version-check uv==0.13.9
  .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r "$lock"
  touch "$stamp"
fi

torch=$(.venv/bin/python -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("torch").origin).parent)')
if [ "$(readlink .libtorch 2>/dev/null)" != "$torch" ]; then
  ln -sfn "$torch" .libtorch
fi
say "ready: libtorch $(cat .libtorch/version.py | sed -n "s/^__version__ = '\(.*\)'/\1/p") in .venv"
