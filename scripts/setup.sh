#!/usr/bin/env bash
# Puts everything that building and testing need into this folder: a virtual environment with the test tools, libtorch,
# and the link .libtorch that cargo builds against. Does nothing when it is all there. libtorch is, in this order:
# - the one that LIBTORCH names (a folder with lib/ and include/, version 2.11);
# - a PyTorch 2.11 of the active Python environment (VIRTUAL_ENV or CONDA_PREFIX);
# - the PyTorch wheel. TORCH=cpu: the CPU build, where your package index serves it (UV_INDEX, PIP_INDEX_URL);
#   TORCH=cuda, the default: the wheel of the lock file, which has CUDA on Linux.
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

command -v cargo >/dev/null || fail "cargo is not on PATH; install Rust 1.92 or newer from https://rustup.rs"
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

version=2.11
# The version of the libtorch in a folder; empty when there is none.
version_of() {
  [ -e "$1/lib/libtorch_cpu.so" ] || [ -e "$1/lib/libtorch_cpu.dylib" ] || return 0
  { sed -n "s/^__version__ = '\(.*\)'/\1/p" "$1/version.py" 2>/dev/null || cat "$1/build-version" 2>/dev/null; } | head -n 1
}
torch_of() { "$1" -c 'import importlib.util as u, pathlib; s = u.find_spec("torch"); print(pathlib.Path(s.origin).parent if s else "")' 2>/dev/null; }

torch=""
if [ -n "${LIBTORCH:-}" ] && [ "$(realpath -m "$LIBTORCH")" != "$(realpath -m .libtorch)" ]; then
  torch=$(realpath -m "$LIBTORCH")
  found=$(version_of "$torch")
  [ -n "$found" ] || fail "LIBTORCH=$LIBTORCH holds no libtorch with a version; unset it, or name a folder with lib/libtorch_cpu.so"
  case $found in $version.*) ;; *) fail "LIBTORCH=$LIBTORCH is $found, D2R needs $version; unset it to install the wheel" ;; esac
else
  for environment in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    [ -n "$environment" ] && [ -x "$environment/bin/python" ] && [ "$environment" != "$PWD/.venv" ] || continue
    candidate=$(torch_of "$environment/bin/python")
    [ -n "$candidate" ] || continue
    case $(version_of "$candidate") in
      $version.*) torch=$candidate; say "PyTorch of $environment is used"; break ;;
      *) say "PyTorch of $environment is $(version_of "$candidate"), not $version: the wheel is installed" ;;
    esac
  done
fi

kind=${TORCH:-cuda}
case $kind in cpu | cuda) ;; *) fail "TORCH=$kind: it is cpu or cuda" ;; esac
if [ -n "$torch" ]; then
  lock=requirements/tools-locked.txt
  stamp=.venv/installed-tools-$(sha256sum "$lock" | cut -c1-16)
else
  lock=requirements/locked.txt
  stamp=.venv/installed-$(sha256sum "$lock" | cut -c1-16)
  [ "$kind" = cuda ] || stamp=$stamp-cpu
  # A CPU build that was asked for once stays until TORCH=cuda is asked for.
  if [ -z "${TORCH:-}" ] && [ -f "$stamp-cpu" ]; then stamp=$stamp-cpu; fi
fi
if [ ! -f "$stamp" ]; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null || debian python3-venv
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/uv-locked.txt
  install() { .venv/bin/uv pip install -q --python .venv/bin/python --only-binary :all: --require-hashes -r "$1"; }
  if [ -n "$torch" ]; then
    say "downloading the test tools (about 80 MB) into .venv"
    install "$lock"
  elif [ "$kind" = cpu ]; then
    say "downloading the CPU build of PyTorch (about 200 MB) and the test tools (80 MB) into .venv"
    install requirements/tools-locked.txt
    install requirements/torch-cpu-locked.txt ||
      fail "your package index lacks the publisher's CPU build of PyTorch $version.0; name one that has it (UV_INDEX), or your own (LIBTORCH)"
  else
    say "downloading PyTorch with CUDA and the test tools into .venv: about 2.5 GB, 5 GB on disk; TORCH=cpu takes the CPU build"
    install "$lock"
  fi
  rm -f .venv/installed-*
  touch "$stamp"
fi

[ -n "$torch" ] || torch=$(torch_of .venv/bin/python)
if [ "$(readlink .libtorch 2>/dev/null)" != "$torch" ]; then
  ln -sfn "$torch" .libtorch
fi
say "ready: libtorch $(version_of .libtorch) at $torch"
