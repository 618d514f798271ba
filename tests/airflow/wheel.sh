#!/usr/bin/env bash
# Builds the Airflow wheel, installs it into a new environment with the locked Airflow, and lets Airflow read the DAG files
# of the installed package from an empty folder: every DAG is there, no import error, the provider is listed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv=$root/.venv-airflow/bin/uv
"$uv" build -q --wheel --out-dir "$work/dist" --build-constraints requirements/wheel-build-locked.txt --require-hashes dags
"$uv" venv -q --python .venv-airflow/bin/python "$work/env"
"$uv" pip install -q --python "$work/env/bin/python" --only-binary :all: --require-hashes -r requirements/airflow-locked.txt
"$uv" pip install -q --python "$work/env/bin/python" --no-index --no-deps "$work"/dist/d2r_airflow-*.whl
cd "$work"
export AIRFLOW_HOME=$work/airflow AIRFLOW__CORE__LOAD_EXAMPLES=False
folder=$("$work/env/bin/python" -m d2r_airflow)
case $folder in "$work"/env/*) ;; *) echo "the DAG files are read from $folder, not from the installed package" >&2; exit 1 ;; esac
export AIRFLOW__CORE__DAGS_FOLDER=$folder
"$work/env/bin/python" - "$folder" "$root" <<'PYTHON'
import pathlib, subprocess, sys
from airflow.providers_manager import ProvidersManager
assert "d2r-airflow" in ProvidersManager().providers, sorted(ProvidersManager().providers)
subprocess.run([str(pathlib.Path(sys.executable).parent / "airflow"), "db", "migrate"], check=True, capture_output=True)
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
expected = {path.stem for path in pathlib.Path(sys.argv[2], "dags").glob("d2r_*.py")}
assert not bag.import_errors, bag.import_errors
assert set(bag.dags) == expected, set(bag.dags) ^ expected
print(f"{len(bag.dags)} DAGs of the installed wheel parse")
PYTHON
