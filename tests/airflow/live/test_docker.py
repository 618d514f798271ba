"""The Docker launcher with a real daemon: the same DAGs, every command in a container."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SOON, Base, kill, lake_content, wait_for
from server import AirflowServer
from services import Docker

pytestmark = pytest.mark.scale

IMAGE = "d2r-test:1"
DAG = "d2r_train_detector"
LONG = ["detector.train.steps=300", "detector.train.eval_every=300", "detector.train.save_every=2"]


@pytest.fixture(scope="module")
def daemon(d2r, tmp_path_factory):
    pytest.importorskip("docker", reason="the Docker provider is not installed (make test-airflow-scale)")
    with Docker(tmp_path_factory.mktemp("docker") / "daemon") as daemon:
        daemon.image_of(os.path.realpath(d2r), IMAGE)
        yield daemon


@pytest.fixture(scope="module")
def airflow(daemon, tmp_path_factory):
    # The workspace belongs to the user who runs the tests, who may be root.
    user = f"{os.getuid()}:{os.getgid()}"
    environment = {**SOON, "D2R_LAUNCHER": "docker", "D2R_IMAGE": IMAGE, "D2R_USER": user, "DOCKER_HOST": daemon.address}
    with AirflowServer(tmp_path_factory.mktemp("airflow"), binary="/no/local/d2r", environment=environment) as server:
        server.unpause(DAG)
        yield server


def containers(daemon) -> list[str]:
    return daemon.docker("ps", "-aq", "--filter", "label=d2r.task").split()


def test_everything_in_containers(airflow, daemon):
    run_id = airflow.trigger("d2r_smoke", run_id="contained")
    assert airflow.wait("d2r_smoke", run_id) == "success"
    assert (airflow.workspace / f"smoke/{run_id}/preview/card.json").exists()
    assert containers(daemon) == []


@pytest.fixture(scope="module")
def base(airflow, d2r) -> Base:
    """Built by the command on the worker itself: the launchers share a lake."""
    return Base(airflow.workspace, d2r, 24)


def test_killed_tasks_leave_no_container_and_training_goes_on(airflow, daemon, base, d2r):
    base.project("disturbed")
    run_id = airflow.trigger(DAG, {"project": "disturbed", "preset": "tiny", "overrides": LONG})

    def training() -> str | None:
        """The container, once it has saved something new."""
        there = containers(daemon)
        saved = set((airflow.workspace / "disturbed/runs").glob("*/checkpoints/*/MANIFEST.json")) - seen
        return there[0] if there and saved else None

    # Marked failed: TERM by way of the daemon.
    seen = set((airflow.workspace / "disturbed/runs").glob("*/checkpoints/*/MANIFEST.json"))
    wait_for(training, 120, "for a checkpoint")
    airflow.patch(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/train_detector", {"new_state": "failed"})
    wait_for(lambda: not containers(daemon), 15, "for the container to end with its task")

    # Killed with -9: the container outlives it, and the next try removes it.
    seen = set((airflow.workspace / "disturbed/runs").glob("*/checkpoints/*/MANIFEST.json"))
    airflow.clear(DAG, run_id, ["train_detector"])
    left = wait_for(training, 120, "for another checkpoint")
    kill(task_process(airflow.task(DAG, run_id, "train_detector")["id"]))
    airflow.wait_task(DAG, run_id, "train_detector", {"up_for_retry"}, seconds=120)
    assert containers(daemon) == [left]
    airflow.clear(DAG, run_id, ["train_detector"])
    assert airflow.wait(DAG, run_id) == "success"
    assert containers(daemon) == []
    tries = airflow.task(DAG, run_id, "train_detector")["try_number"]
    assert "earlier try" in airflow.log(DAG, run_id, "train_detector", attempt=tries)

    base.project("calm")
    sets = [word for override in LONG for word in ("--set", override)]
    base.command("train-detector", "--preset", "tiny", "--lake", "calm/lake", "--runs", "calm/runs", "--quiet", *sets)
    assert lake_content(d2r, airflow.workspace / "disturbed/lake") == lake_content(d2r, airflow.workspace / "calm/lake")


def task_process(task_id: str) -> int:
    """A running task's process: its title names the task."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if f"airflow worker -- {task_id}" in (process / "cmdline").read_text():
                    return int(process.name)
    raise AssertionError("the task does not run")
