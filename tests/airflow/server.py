"""A real Airflow in a folder of its own, on loopback ports of its own, and the REST API in front of it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"
COMPONENTS = ("api-server", "dag-processor", "scheduler")
FINAL = {"success", "failed"}
TASK_FINAL = {"success", "failed", "skipped", "upstream_failed", "removed"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def bundle(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(path)}}


class AirflowServer:
    """Starts on `with`, stops its own processes, by their ids, when the block ends."""

    def __init__(
        self,
        folder: Path,
        *,
        binary: str,
        environment: dict[str, str] | None = None,
        celery_workers: int = 0,
        more_dags: Path | None = None,
    ):
        self.folder, self.celery_workers = folder, celery_workers
        bundles = {"d2r": DAGS, **({"tests": more_dags} if more_dags else {})}
        self.dag_ids = {path.stem for folder in bundles.values() for path in folder.glob("d2r_*.py")}
        self.workspace = folder / "workspace"
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen] = {}
        address = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "D2R_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle(name, path) for name, path in bundles.items()]),
            # A second bundle finds the first one's package; a site with one bundle needs no path.
            **({"PYTHONPATH": str(DAGS)} if len(bundles) > 1 else {}),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": address + "/execution/",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__API__BASE_URL": address,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "D2R_BIN": binary,
            "D2R_WORKSPACE": str(self.workspace),
            **(environment or {}),
        }
        self.api = httpx.Client(base_url=address, timeout=60)

    # Starting and stopping.

    def __enter__(self) -> AirflowServer:
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.workspace.mkdir(exist_ok=True)
        try:
            self.airflow("db", "migrate")
            self.airflow("pools", "import", str(DAGS / "pools.json"))
            for component in COMPONENTS:
                self.start(component, component)
            for i in range(self.celery_workers):
                self.start_worker(i)
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes.values():
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signum) if signum == signal.SIGKILL else process.terminate()
            for process in self.processes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
        self.api.close()

    def start(self, name: str, *command: str) -> subprocess.Popen:
        """Starts a component in a process group of its own."""
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [shutil.which("airflow", path=self.environment["PATH"]), *command],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.processes[name] = process
        return process

    def start_worker(self, number: int) -> subprocess.Popen:
        name = f"worker-{number}"
        return self.start(
            name, "celery", "worker", "--concurrency", "2", "--celery-hostname", f"{name}@%h", "--skip-serve-logs", "--without-mingle"
        )

    def airflow(self, *arguments: str) -> str:
        done = subprocess.run(
            [shutil.which("airflow", path=self.environment["PATH"]), *arguments],
            env=self.environment, text=True, capture_output=True, check=False,
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def _wait_until_ready(self, seconds: float = 180) -> None:
        passwords = Path(self.environment["AIRFLOW_HOME"], "simple_auth_manager_passwords.json.generated")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}; see {self.folder / 'logs'}")
            with suppress(httpx.HTTPError, FileNotFoundError, ValueError, KeyError):
                password = json.loads(passwords.read_text())["admin"]
                token = self.api.post("/auth/token", json={"username": "admin", "password": password})
                if token.status_code == 201:
                    self.api.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
                    there = {dag["dag_id"] for dag in self.get("/dags")["dags"]}
                    if self.dag_ids <= there:
                        return
            time.sleep(0.5)
        raise TimeoutError(f"Airflow was not ready after {seconds} s; see {self.folder / 'logs'}")

    # The REST API.

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._json(self.api.get("/api/v2" + path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._json(self.api.post("/api/v2" + path, json=body))

    def patch(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        return self._json(self.api.patch("/api/v2" + path, json=body, params=query))

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            raise RuntimeError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def unpause(self, *dags: str) -> None:
        for dag in dags:
            self.patch(f"/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if run_id:
            body["dag_run_id"] = run_id
        return self.post(f"/dags/{dag}/dagRuns", body)["dag_run_id"]

    def run(self, dag: str, run_id: str) -> dict[str, Any]:
        return self.get(f"/dags/{dag}/dagRuns/{run_id}")

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        return self.get(f"/dags/{dag}/dagRuns/{run_id}/taskInstances", limit=500)["task_instances"]

    def task(self, dag: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any] | None:
        for task in self.tasks(dag, run_id):
            if task["task_id"] == task_id and task["map_index"] == map_index:
                return task
        return None

    def wait(self, dag: str, run_id: str, seconds: float = 600) -> str:
        """The run's final state."""
        return self.until(lambda: self.run(dag, run_id)["state"], FINAL, seconds, f"{dag} {run_id}")

    def wait_task(self, dag: str, run_id: str, task_id: str, states: set[str], map_index: int = -1, seconds: float = 300) -> str:
        def state() -> str | None:
            task = self.task(dag, run_id, task_id, map_index)
            return task and task["state"]

        return self.until(state, states, seconds, f"{dag} {run_id} {task_id}[{map_index}]")

    @staticmethod
    def until(state: Any, wanted: set[str], seconds: float, what: str) -> str:
        until = time.monotonic() + seconds
        seen = None
        while time.monotonic() < until:
            seen = state()
            if seen in wanted:
                return seen
            time.sleep(0.5)
        raise TimeoutError(f"{what} is {seen} after {seconds} s, not {' or '.join(sorted(wanted))}")

    def clear(self, dag: str, run_id: str, task_ids: list[Any] | None = None, **options: Any) -> None:
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True, **options}
        if task_ids:
            body["task_ids"] = task_ids
        self.post(f"/dags/{dag}/clearTaskInstances", body)

    def log(self, dag: str, run_id: str, task_id: str, map_index: int = -1, attempt: int = 1) -> str:
        answer = self.get(
            f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}", map_index=map_index, full_content=True
        )
        return "\n".join(json.dumps(line) for line in answer["content"])
