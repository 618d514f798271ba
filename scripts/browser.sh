#!/usr/bin/env bash
# Installs what the browser tests need: Node.js 20 or newer, Debian's Chromium, and the locked packages of tests/browser (or of
# the folder given).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'browser: %s\n' "$*" >&2; }

debian() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
  else
    say "missing: $*; install with: sudo apt-get install $*"
    exit 1
  fi
}

command -v node >/dev/null && command -v npm >/dev/null || debian nodejs npm
[ -n "${CHROMIUM:-}" ] || [ -x /usr/bin/chromium ] || debian chromium
if [ "$(node --print 'parseInt(process.versions.node)')" -lt 20 ]; then
  say "Node.js $(node --version) is too old; 20 or newer is needed"
  exit 1
fi
folder=${1:-tests/browser}
stamp=$folder/node_modules/.installed-$(sha256sum "$folder/package-lock.json" | cut -c1-16)
if [ ! -f "$stamp" ]; then
  say "installing the packages of $folder"
  (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error >&2)
  touch "$stamp"
fi
