#!/usr/bin/env bash
# Puts Airflow into .venv-airflow of this folder, locked by hash; `airflow_venv.sh scale` adds what the scale tests need.
# Does nothing when it is all there.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'airflow: %s\n' "$*" >&2; }

name=airflow
[ "${1:-}" = scale ] && name=airflow-scale
lock=requirements/$name-locked.txt
stamp=.venv-airflow/installed-$(sha256sum "$lock" | cut -c1-16)
[ -f "$stamp" ] && exit 0

python=""
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  say "missing: Python 3.11 or newer with its venv module; install with: sudo apt-get install python3 python3-venv"
  exit 1
fi
[ -x .venv-airflow/bin/python ] || "$python" -m venv .venv-airflow
say "installing $lock into .venv-airflow (a minute or two)"
.venv-airflow/bin/python -m pip install -q --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/uv-locked.txt
.venv-airflow/bin/uv pip install -q --python .venv-airflow/bin/python --only-binary :all: --require-hashes -r "$lock"
touch "$stamp"
