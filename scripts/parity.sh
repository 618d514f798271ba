#!/usr/bin/env bash
# The public references that benchmarks and some parity tests compare with, beside torch in .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
if .venv/bin/python -c 'import torchvision, safetensors, matplotlib' 2>/dev/null; then exit 0; fi
echo "setup: torchvision, safetensors, matplotlib" >&2
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps --only-binary :all: --require-hashes -r requirements/parity.txt
