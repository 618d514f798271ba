#!/usr/bin/env bash
# Starts Airflow with the DAGs of this folder: everything it writes goes to .airflow, it listens on loopback only.
# `make airflow` calls it with D2R_BIN set; D2R_AIRFLOW_PORT chooses another port.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${D2R_AIRFLOW_PORT:-8080}
export PATH="$PWD/.venv-airflow/bin:$PATH"
export AIRFLOW_HOME=${AIRFLOW_HOME:-$PWD/.airflow}
export AIRFLOW__CORE__DAGS_FOLDER=$PWD/dags
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:$port/execution/
export AIRFLOW__API__HOST=127.0.0.1
export AIRFLOW__API__PORT=$port
export AIRFLOW__API__BASE_URL=http://127.0.0.1:$port
export AIRFLOW__API__WORKERS=1
export D2R_WORKSPACE=${D2R_WORKSPACE:-$AIRFLOW_HOME/workspace}

if ! command -v "${D2R_BIN:=d2r}" >/dev/null; then
  echo "airflow: the d2r command is not built; run: make build (or set D2R_BIN)" >&2
  exit 1
fi
export D2R_BIN
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  echo "airflow: port $port is taken; set D2R_AIRFLOW_PORT" >&2
  exit 1
fi
mkdir -p "$D2R_WORKSPACE" "$AIRFLOW_HOME/logs"
airflow db migrate >"$AIRFLOW_HOME/logs/migrate.log" 2>&1
airflow pools import dags/pools.json >>"$AIRFLOW_HOME/logs/migrate.log" 2>&1

# Standalone stops its parts on INT, which must not be ignored, as it is by what a script starts in the background.
set -m
env --default-signal=INT airflow standalone >"$AIRFLOW_HOME/logs/standalone.log" 2>&1 &
airflow=$!
trap 'kill -INT "$airflow" 2>/dev/null || true' INT TERM
passwords=$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated
ready=""
for _ in $(seq 600); do
  if ! kill -0 "$airflow" 2>/dev/null; then
    echo "airflow: it ended; see $AIRFLOW_HOME/logs/standalone.log" >&2
    exit 1
  fi
  if [ -f "$passwords" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then ready=yes; break; fi
  sleep 1
done
if [ -z "$ready" ]; then
  echo "airflow: it does not answer after ten minutes; see $AIRFLOW_HOME/logs/standalone.log" >&2
  kill -INT "$airflow"
  wait "$airflow" || true
  exit 1
fi
echo "airflow: http://127.0.0.1:$port   user admin, password $(sed -n 's/.*"admin": *"\([^"]*\)".*/\1/p' "$passwords")"
echo "airflow: workspace $D2R_WORKSPACE, log $AIRFLOW_HOME/logs/standalone.log; Ctrl-C stops it"
wait "$airflow" || wait "$airflow" || true
