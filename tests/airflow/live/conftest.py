"""Tests under a real scheduler. One Airflow at a time; `pytest.mark.scale` needs PostgreSQL and Redis."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest  # noqa: E402
from server import AirflowServer  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "scale: needs postgres and redis-server")


@pytest.fixture(scope="session")
def d2r() -> str:
    """The built command."""
    binary = shutil.which(os.environ.get("D2R_BIN", "d2r"))
    if binary is None:
        pytest.skip("the d2r command is not built (set D2R_BIN)")
    return binary


def commands_of(workspace: Path) -> list[int]:
    """Processes that work in the workspace: what must not outlive a task."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if Path(os.readlink(process / "cwd")) == workspace:
                    found.append(int(process.name))
    return found


def wait_for(what, seconds: float = 60.0, why: str = ""):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"waited {seconds} s {why}"
        time.sleep(0.1)
    return found


def lake_content(d2r: str, lake: Path) -> list[str]:
    """Rows and content digests of every part that counts, metrics' and timings' measurements left out by `d2r` itself."""
    done = subprocess.run([d2r, "inspect", "lake", "--lake", str(lake), "--json"], capture_output=True, text=True, check=True)
    return sorted(done.stdout.replace("},{", "},\n{").splitlines())


def leftovers(lake: Path) -> list[Path]:
    """Temporary files: half-written parts."""
    return [path for path in lake.rglob("*.tmp")]


# Lost workers are noticed soon.
SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


@pytest.fixture(scope="module")
def airflow(d2r, tmp_path_factory):
    """Airflow with LocalExecutor on SQLite."""
    folder = tmp_path_factory.mktemp("airflow")
    with AirflowServer(folder, binary=d2r, environment=SOON, more_dags=Path(__file__).parent / "dags") as server:
        yield server


class Base:
    """A lake with a detector, made by the command itself, to be copied by each test."""

    def __init__(self, workspace: Path, d2r: str, images: int):
        self.workspace, self.d2r = workspace, d2r
        common = ["--preset", "tiny", "--lake", "base/lake", "--runs", "base/runs", "--quiet"]
        self.command("phantom", "--out", "base/phantom", "--images", str(images), *common)
        for layout in ("vindr", "mimic"):
            self.command("ingest", layout, "--root", f"base/phantom/{layout}", *common)
        self.command("train-detector", *common)
        (run,) = (workspace / "base/runs").glob("detector-*")
        self.detector = run.name

    def command(self, *arguments: str) -> None:
        subprocess.run([self.d2r, *arguments], cwd=self.workspace, check=True, capture_output=True)

    def project(self, name: str, folder: Path | None = None) -> Path:
        """A copy with its own name; it shares the images of the base."""
        to = self.workspace / name
        if folder is not None:
            to.symlink_to(folder)
        shutil.copytree(self.workspace / "base/lake", to / "lake")
        shutil.copytree(self.workspace / "base/runs", to / "runs")
        return to

    def conf(self, project: str, shards: int = 4) -> dict:
        return {"project": project, "preset": "tiny", "detector": self.detector, "shards": shards}


@pytest.fixture(scope="module")
def base(airflow, d2r) -> Base:
    return Base(airflow.workspace, d2r, 120)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
