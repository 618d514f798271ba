"""LocalExecutor on PostgreSQL, CeleryExecutor with two workers: the same tables as one process, byte for byte."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import SOON, Base, commands_of, kill, lake_content, wait_for
from server import AirflowServer
from services import Postgres, Redis

pytestmark = pytest.mark.scale

SHARDS = 50
REPORTS = ("generated_reports", "report_sentences", "sentence_boxes")


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    pytest.importorskip("airflow.providers.celery", reason="the Celery provider is not installed (make test-airflow-scale)")
    folder = tmp_path_factory.mktemp("services")
    with Postgres(folder / "postgres") as postgres, Redis(folder / "redis") as redis:
        yield postgres, redis


def database(postgres: Postgres) -> dict[str, str]:
    return {**SOON, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.connection, "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "10"}


def test_local_executor_on_postgresql(services, d2r, tmp_path):
    postgres, _ = services
    with AirflowServer(tmp_path / "airflow", binary=d2r, environment=database(postgres)) as airflow:
        run_id = airflow.trigger("d2r_smoke", {"shards": 4})
        assert airflow.wait("d2r_smoke", run_id) == "success"


@pytest.fixture(scope="module")
def celery(services, d2r, tmp_path_factory):
    postgres, redis = services
    environment = {
        **database(postgres),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": redis.address,
        "AIRFLOW__CELERY__RESULT_BACKEND": "db+" + postgres.connection,
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "300",
    }
    folder = tmp_path_factory.mktemp("celery")
    with AirflowServer(folder, binary=d2r, environment=environment, celery_workers=2) as airflow:
        # Two devices, so that both workers have something to do.
        airflow.patch("/pools/d2r_gpu", {"slots": 4, "name": "d2r_gpu", "include_deferred": False}, update_mask=["slots"])
        airflow.unpause("d2r_pseudo_label", "d2r_report_batch")
        yield airflow


@pytest.fixture(scope="module")
def base(celery, d2r):
    return Base(celery.workspace, d2r, 160)


def current_parts(lake: Path, table: str) -> dict[str, tuple[int, str]]:
    """Rows and SHA-256 of the files of a table that count, by their paths in the lake. Nothing else lies beside them."""
    manifests = [json.loads(p.read_text())["part"] for p in (lake / "manifests" / table).rglob("*.json")]
    found = {part["file"]: (part["rows"], hashlib.sha256((lake / part["file"]).read_bytes()).hexdigest()) for part in manifests}
    assert {str(p.relative_to(lake)) for p in (lake / "v1" / table).rglob("*") if p.is_file()} == set(found)
    return found


def assert_same_files(sharded: Path, single: Path, table: str) -> int:
    """The same files, byte for byte, and none that wait. Gives their rows."""
    expected = current_parts(single, table)
    assert expected and current_parts(sharded, table) == expected, table
    assert not list((sharded / "pending").glob("*/*")), "shards wait"
    return sum(rows for rows, _ in expected.values())


def same_content(d2r: str, sharded: Path, single: Path) -> bool:
    """Equal content of all tables but `timings`, which has a row per shard."""
    found = [[row for row in lake_content(d2r, lake) if '"table":"timings"' not in row] for lake in (sharded, single)]
    return found[0] == found[1]


def test_fifty_shards_on_two_workers_are_one_process(celery, base, d2r):
    project = base.project("sharded")
    run_id = celery.trigger("d2r_pseudo_label", base.conf("sharded", SHARDS))
    assert celery.wait("d2r_pseudo_label", run_id, 1500) == "success"
    tasks = [t for t in celery.tasks("d2r_pseudo_label", run_id) if t["task_id"] == "annotate"]
    assert len(tasks) == SHARDS
    logs = {name: (celery.folder / "logs" / f"{name}.log").read_text() for name in celery.processes if name.startswith("worker")}
    assert all(text.count("succeeded in") > SHARDS // 5 for text in logs.values()), "both workers took part"

    one = base.project("single")
    base.command("annotate", "--dataset", "mimic", "--detector", f"base/runs/{base.detector}", "--preset", "tiny", "--lake", "single/lake")
    assert assert_same_files(project / "lake", one / "lake", "lesions") > 1000
    assert same_content(d2r, project / "lake", one / "lake")


def test_reports_in_shards_are_those_of_one_process(celery, base, d2r):
    base.command(
        "train-reporter", "--preset", "tiny", "--lake", "single/lake", "--runs", "base/runs", "--detector", f"base/runs/{base.detector}"
    )
    (run,) = (celery.workspace / "base/runs").glob("reporter-*")
    one, many = celery.workspace / "single", celery.workspace / "many"
    shutil.copytree(one, many)
    shutil.copytree(run, many / "runs" / run.name)
    conf = {"project": "many", "preset": "tiny", "reporter": run.name, "partitions": ["mimic/test", "mimic/val"], "shards": 6}
    run_id = celery.trigger("d2r_report_batch", conf)
    assert celery.wait("d2r_report_batch", run_id, 900) == "success"
    for split in ("test", "val"):
        base.command(
            "report", "--dataset", "mimic", "--split", split, "--reporter", f"base/runs/{run.name}", "--preset", "tiny", "--lake", "single/lake"
        )
    for table in REPORTS:
        assert_same_files(many / "lake", one / "lake", table)
    assert same_content(d2r, many / "lake", one / "lake")


def test_a_celery_worker_that_is_killed_takes_its_commands_along(celery, base, d2r):
    project = base.project("worker")
    run_id = celery.trigger("d2r_pseudo_label", base.conf("worker", 8))
    wait_for(lambda: commands_of(celery.workspace), 120, "for commands")
    worker = celery.processes["worker-0"]
    # The worker and its pool at once, as when a machine is lost.
    for pid in [worker.pid, *children(worker.pid)]:
        kill(pid)
    worker.wait()
    celery.start_worker(0)

    def settled() -> str | None:
        states = [t["state"] for t in celery.tasks("d2r_pseudo_label", run_id) if t["task_id"] == "annotate"]
        return "settled" if states and set(states) <= {"success", "up_for_retry"} and len(states) == 8 else None

    celery.until(settled, {"settled"}, 300, "the shards after the loss of a worker")
    celery.clear("d2r_pseudo_label", run_id, only_failed=False)
    assert celery.wait("d2r_pseudo_label", run_id, 600) == "success"
    calm = base.project("calm")
    calm_id = celery.trigger("d2r_pseudo_label", base.conf("calm", 8))
    assert celery.wait("d2r_pseudo_label", calm_id, 600) == "success"
    assert lake_content(d2r, project / "lake") == lake_content(d2r, calm / "lake")
    subprocess.run([d2r, "validate", "--lake", str(project / "lake")], check=True, capture_output=True)


def children(pid: int) -> list[int]:
    """All descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found
