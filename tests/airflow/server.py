"""A real Airflow in a folder of its own, on loopback ports of its own."""

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
from rest_api import AirflowApi

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"
COMPONENTS = ("api-server", "dag-processor", "scheduler")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def bundle(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(path)}}


class AirflowServer(AirflowApi):
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
        super().__init__(address)

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

    def _wait_until_ready(self, seconds: float = 600) -> None:
        passwords = Path(self.environment["AIRFLOW_HOME"], "simple_auth_manager_passwords.json.generated")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}; see {self.folder / 'logs'}")
            with suppress(httpx.HTTPError, FileNotFoundError, ValueError, KeyError):
                password = json.loads(passwords.read_text())["admin"]
                if self.log_in("admin", password) and self.dag_ids <= {dag["dag_id"] for dag in self.get("/dags")["dags"]}:
                    return
            time.sleep(0.5)
        raise TimeoutError(f"Airflow was not ready after {seconds} s; see {self.folder / 'logs'}")
