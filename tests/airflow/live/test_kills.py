"""Shards that are killed in every way a site knows. After clearing, the lake is that of an undisturbed run."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import commands_of, kill, lake_content, leftovers, wait_for

DAG = "d2r_pseudo_label"
STEPS = ["--set", "detector.train.steps=150", "--set", "detector.train.eval_every=150"]
RETRY = {"up_for_retry"}


@pytest.fixture(scope="module", autouse=True)
def awake(airflow):
    airflow.unpause(DAG)


@pytest.fixture(scope="module")
def undisturbed(airflow, base, d2r) -> list[str]:
    base.project("calm")
    run_id = airflow.trigger(DAG, base.conf("calm"))
    assert airflow.wait(DAG, run_id) == "success"
    return lake_content(d2r, base.workspace / "calm/lake")


@pytest.fixture
def running(airflow, base, undisturbed, request):
    """A run on a copy of the lake, caught while its second shard's command is at work."""
    name = request.node.name.replace("test_", "")
    project = base.project(name)
    run_id = airflow.trigger(DAG, base.conf(name))
    command = wait_for(lambda: shard_process(base.workspace, name, "1/4"), 120, "for the shard's command")
    yield name, project, run_id, command
    wait_for(lambda: not commands_of(base.workspace), 15, "for the last command to end")


def shard_process(workspace: Path, project: str, shard: str) -> int | None:
    for pid in commands_of(workspace):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if f"{project}/lake" in argv and shard in argv:
            return pid
    return None


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def finish_after_clearing(airflow, d2r, project, run_id, undisturbed, dag=DAG):
    """Clears what did not succeed, and compares the lakes. Until the last shard is done, no row of any is in a table."""
    before, done = parts(project), tries(airflow, dag, run_id, {"success"})
    assert not any(name.endswith("part-annotate.parquet") for name, _ in before)
    airflow.clear(dag, run_id, [["annotate", 1]], include_downstream=True)
    assert airflow.wait(dag, run_id) == "success"
    assert lake_content(d2r, project / "lake") == undisturbed
    assert leftovers(project / "lake") == []
    assert not list((project / "lake/pending").glob("*/*")), "no shard waits"
    assert before <= parts(project), "tables of others are left alone"
    assert done.items() <= tries(airflow, dag, run_id, {"success"}).items(), "shards that were done are left alone"
    subprocess.run([d2r, "validate", "--lake", str(project / "lake")], check=True, capture_output=True)


def tries(airflow, dag: str, run_id: str, states: set[str]) -> dict[int, int]:
    """How often each shard in one of these states was tried."""
    tasks = [t for t in airflow.tasks(dag, run_id) if t["task_id"] == "annotate" and t["state"] in states]
    return {task["map_index"]: task["try_number"] for task in tasks}


def parts(project: Path) -> set[tuple[str, int]]:
    return {(str(p.relative_to(project)), p.stat().st_mtime_ns) for p in (project / "lake/v1").rglob("*.parquet")}


def test_command_killed(airflow, d2r, running, undisturbed):
    _, project, run_id, command = running
    kill(command)
    airflow.wait_task(DAG, run_id, "annotate", RETRY, 1)
    assert "killed by signal 9" in airflow.log(DAG, run_id, "annotate", 1)
    finish_after_clearing(airflow, d2r, project, run_id, undisturbed)


def test_task_killed(airflow, d2r, running, undisturbed):
    _, project, run_id, command = running
    kill(parent(command))
    wait_for(lambda: gone(command), 5, "for the command to die with its task")
    airflow.wait_task(DAG, run_id, "annotate", RETRY, 1)
    finish_after_clearing(airflow, d2r, project, run_id, undisturbed)


def test_worker_killed(airflow, d2r, running, undisturbed):
    _, project, run_id, command = running
    task = parent(command)
    worker = parent(task)
    kill(worker)
    wait_for(lambda: gone(command), 8, "for the command to die with its worker")
    airflow.wait_task(DAG, run_id, "annotate", RETRY, 1, seconds=120)
    finish_after_clearing(airflow, d2r, project, run_id, undisturbed)


def test_task_marked_failed(airflow, d2r, running, undisturbed):
    _, project, run_id, command = running
    airflow.patch(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/annotate/1", {"new_state": "failed"})
    wait_for(lambda: gone(command), 30, "for the command to end")
    assert airflow.task(DAG, run_id, "annotate", 1)["state"] == "failed"
    airflow.wait(DAG, run_id)
    finish_after_clearing(airflow, d2r, project, run_id, undisturbed)


def test_scheduler_restarted(airflow, d2r, running, undisturbed):
    """The scheduler is stopped while a shard runs, and started again: the shard runs again."""
    _, project, run_id, _ = running
    airflow.processes["scheduler"].send_signal(signal.SIGTERM)
    airflow.processes["scheduler"].wait(60)
    wait_for(lambda: not commands_of(airflow.workspace), 15, "for the commands to end with their scheduler")
    airflow.start("scheduler", "scheduler")
    state = airflow.wait_task(DAG, run_id, "annotate", RETRY | {"success"}, 1, seconds=120)
    if state == "success":
        assert airflow.wait(DAG, run_id) == "success"
        assert lake_content(d2r, project / "lake") == undisturbed
    else:
        finish_after_clearing(airflow, d2r, project, run_id, undisturbed)


def test_time_limit_of_a_command_that_hangs(airflow, base, d2r, undisturbed):
    """A stopped process does not handle TERM: the task's time limit ends it, and clearing the shard finishes the run."""
    project = base.project("hung")
    run_id = airflow.trigger("d2r_hung_shard", base.conf("hung"))
    command = wait_for(lambda: shard_process(base.workspace, "hung", "1/4"), 120, "for the shard's command")
    os.kill(command, signal.SIGSTOP)
    airflow.wait_task("d2r_hung_shard", run_id, "annotate", RETRY, 1, seconds=90)
    wait_for(lambda: gone(command), 10, "for the command to end")
    assert "AirflowTaskTimeout" in airflow.log("d2r_hung_shard", run_id, "annotate", 1)
    wait_for(lambda: not commands_of(base.workspace), 60, "for the other shards")
    finish_after_clearing(airflow, d2r, project, run_id, undisturbed, "d2r_hung_shard")


def test_time_limit(airflow, base, d2r):
    """Training that is stopped at its time limit again and again ends with the weights of one that never was."""
    for name in ("limited", "unlimited"):
        base.project(name)
    run_id = airflow.trigger("d2r_interrupted_training", {"project": "limited"})
    assert airflow.wait("d2r_interrupted_training", run_id, 900) == "success"
    assert airflow.task("d2r_interrupted_training", run_id, "train_detector")["try_number"] > 1
    assert not commands_of(base.workspace)
    base.command("train-detector", "--preset", "tiny", "--lake", "unlimited/lake", "--runs", "unlimited/runs", "--quiet", *STEPS)
    runs = [{r.name: r for r in (base.workspace / name / "runs").glob("detector-*")} for name in ("limited", "unlimited")]
    (trained,) = set(runs[0]) - {base.detector}
    weights = [run[trained] / "best/model.safetensors" for run in runs]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    lakes = [lake_content(d2r, base.workspace / name / "lake") for name in ("limited", "unlimited")]
    assert lakes[0] == lakes[1]
    assert leftovers(base.workspace / "limited/lake") == []


def test_the_plain_bash_task_of_the_readme(airflow, base, d2r):
    project = base.project("plain")
    run_id = airflow.trigger("d2r_plain_bash", {"project": "plain", "detector": base.detector})
    assert airflow.wait("d2r_plain_bash", run_id) == "success"
    manifest = json.loads((project / "annotate-0.json").read_text())
    assert manifest["stage"] == "annotate" and manifest["rows"]["lesions"] > 0
    assert not list((project / "lake/pending").glob("*/*")), "the task of the page is the whole, not a shard that waits"
    subprocess.run([d2r, "validate", "--lake", str(project / "lake")], check=True, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_disk_full(airflow, base, d2r, undisturbed, tmp_path):
    """A lake on a small file system that fills up: 75, retry; with space again, the lake of an undisturbed run."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], check=True)
    try:
        project = base.project("full", small)
        ballast = small / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4096"], check=False, capture_output=True)
        run_id = airflow.trigger(DAG, base.conf("full"))
        airflow.wait_task(DAG, run_id, "annotate", RETRY, 1)
        assert "ended with 75" in airflow.log(DAG, run_id, "annotate", 1)
        assert leftovers(project / "lake") == []
        ballast.unlink()
        airflow.clear(DAG, run_id, ["annotate"])
        assert airflow.wait(DAG, run_id) == "success"
        assert lake_content(d2r, project / "lake") == undisturbed
        assert leftovers(project / "lake") == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
