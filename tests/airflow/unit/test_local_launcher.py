"""The local launcher with real children: how they end, and that none of them stays."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException
from conftest import ROOT
from d2r_airflow import environment, launchers
from d2r_airflow.launchers.local import LocalLauncher
from d2r_airflow.settings import Settings

log = logging.getLogger("test")


def program(folder: Path, body: str) -> str:
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\nimport json, os, signal, subprocess, sys, time\n{body}\n")
    path.chmod(0o755)
    return str(path)


def launcher(folder: Path, body: str, **options) -> LocalLauncher:
    return LocalLauncher(Settings(bin=program(folder, body), workspace=str(folder / "work")), log=log, **options)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie of a foreign parent counts as dead.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for(what, seconds=10.0):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)
    return found


def read_when_there(path: Path) -> str:
    return wait_for(lambda: path.exists() and path.read_text(), 60)


def test_arguments_are_not_read_by_a_shell_and_the_workspace_is_the_folder(tmp_path):
    body = 'json.dump(dict(argv=sys.argv[1:-2], cwd=os.getcwd()), open(sys.argv[-1], "w"))'
    finished = launcher(tmp_path, body).run(["a b", "$HOME; echo x", "*"], {})
    assert finished.code == 0
    assert '"argv": ["a b", "$HOME; echo x", "*"]' in finished.manifest
    assert f'"cwd": "{tmp_path}/work"' in finished.manifest


def test_messages_go_to_the_log_line_by_line_and_the_manifest_does_not(tmp_path, caplog):
    body = 'print("progress 1", file=sys.stderr); print("table"); print(\'{"stage":"x"}\')'
    with caplog.at_level(logging.INFO):
        assert launcher(tmp_path, body).run([], {}).code == 0
    assert sorted(r.message for r in caplog.records) == ["progress 1", "table"]


def test_the_command_gets_listed_variables_only(tmp_path, monkeypatch):
    secrets = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_D2R_ALERTS", "AIRFLOW_VAR_KEY", "AWS_SECRET_ACCESS_KEY", "SITE_B")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    wanted = {"D2R_RUN__SEED": "3", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "2", "SLURM_JOB_ID": "7", "LC_ALL": "C.UTF-8",
              "SITE_A": "a", "D2R_PASS_ENV": "SITE_A, SITE_UNSET"}  # fmt: skip
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    body = 'json.dump(dict(os.environ), open(sys.argv[-1], "w"))'
    got = json.loads(launcher(tmp_path, body).run([], {}).manifest)
    assert "secret" not in got.values()
    assert wanted.items() <= got.items()
    assert got["PATH"] == os.environ["PATH"] and got["HOME"] == os.environ["HOME"]


@pytest.mark.parametrize("names", ["AIRFLOW_CONN_D2R_ALERTS", "A,AIRFLOW__CORE__FERNET_KEY", "A=1", "A B", "*"])
def test_a_site_cannot_pass_on_airflows_variables_or_what_is_no_name(names):
    for kind in (environment.of_child, environment.of_container):
        with pytest.raises(AirflowFailException, match="D2R_PASS_ENV"):
            kind({"D2R_PASS_ENV": names})


def test_a_container_gets_the_commands_variables_and_the_sites():
    worker = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "D2R_BIN": "d2r", "D2R_RUN__SEED": "3", "SITE_A": "a", "D2R_PASS_ENV": "SITE_A"}
    assert environment.of_container(worker) == {"D2R_RUN__SEED": "3", "SITE_A": "a"}


def test_term_while_the_command_is_started_ends_it(tmp_path, monkeypatch):
    """Airflow's handler returns to the call that was in progress."""
    running = launcher(tmp_path, "time.sleep(60)", grace_s=1.0)
    start = subprocess.Popen

    def interrupted(*arguments, **options):
        child = start(*arguments, **options)
        running.kill()
        return child

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    began = time.monotonic()
    assert running.run([], {}).code in (-signal.SIGTERM, -signal.SIGKILL)
    assert time.monotonic() - began < 10


def test_a_missing_command_fails_without_retry(tmp_path):
    with pytest.raises(AirflowFailException, match="D2R_BIN"):
        LocalLauncher(Settings(bin="no-such-command", workspace=str(tmp_path)), log=log).run([], {})


def kill_in_a_moment(running: LocalLauncher, marker: Path) -> list[float]:
    took: list[float] = []

    def kill():
        read_when_there(marker)
        began = time.monotonic()
        running.kill()
        took.append(time.monotonic() - began)

    threading.Thread(target=kill).start()
    return took


def test_a_child_that_obeys_term_is_given_time(tmp_path):
    marker = tmp_path / "pid"
    body = f"""
def stop(*_):
    time.sleep(1)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open({str(marker)!r}, "w").write(str(os.getpid()))
time.sleep(60)"""
    running = launcher(tmp_path, body)
    took = kill_in_a_moment(running, marker)
    assert running.run([], {}).code == 143
    assert 0.9 < wait_for(lambda: took)[0] < 3


def test_a_child_that_ignores_term_is_killed_within_the_supervisors_five_seconds(tmp_path):
    marker = tmp_path / "pid"
    body = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
open({str(marker)!r}, "w").write(f"{{os.getpid()}} {{helper.pid}}")
time.sleep(60)"""
    running = launcher(tmp_path, body)
    took = kill_in_a_moment(running, marker)
    assert running.run([], {}).code == -signal.SIGKILL
    assert 3.5 < wait_for(lambda: took)[0] < 5
    assert not any(wait_for(lambda: [alive(pid)], 1)[0] for pid in pids_after(marker))


def pids_after(marker: Path) -> list[int]:
    pids = [int(pid) for pid in marker.read_text().split()]
    wait_for(lambda: not any(alive(pid) for pid in pids), 5)
    return pids


def test_a_kill_inside_the_signal_handler_of_the_waiting_thread_works(tmp_path):
    marker = tmp_path / "pid"
    body = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(marker)!r}, "w").write(str(os.getpid()))
time.sleep(60)"""
    running = launcher(tmp_path, body, grace_s=1.0)
    previous = signal.signal(signal.SIGUSR1, lambda *_: running.kill())
    try:
        threading.Thread(target=lambda: (read_when_there(marker), os.kill(os.getpid(), signal.SIGUSR1))).start()
        assert running.run([], {}).code == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGUSR1, previous)


# A process that stands for the task, under a process that stands for Airflow's supervisor.
TASK = """
import logging, os, sys
sys.path.insert(0, {dags!r})
from d2r_airflow.launchers.local import LocalLauncher
from d2r_airflow.settings import Settings
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    sys.exit()
open({task!r}, "w").write(str(os.getpid()))
LocalLauncher(Settings(bin={binary!r}, workspace={work!r}), log=logging.getLogger()).run([], {{}})
"""


@pytest.fixture
def family(tmp_path):
    """Supervisor, task and command as process ids."""
    child, task = tmp_path / "child", tmp_path / "task"
    body = f'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({str(child)!r}, "w").write(str(os.getpid()))\ntime.sleep(60)'
    code = TASK.format(dags=str(ROOT / "dags"), task=str(task), binary=program(tmp_path, body), work=str(tmp_path))
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pids = supervisor.pid, int(read_when_there(task)), int(read_when_there(child))
    yield pids
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    supervisor.wait()


def test_the_command_dies_when_the_task_is_killed(family):
    _, task, command = family
    os.kill(task, signal.SIGKILL)
    wait_for(lambda: not alive(command), 30)


def test_the_command_dies_when_the_supervisor_is_killed(family):
    supervisor, task, command = family
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not alive(command), 30)
    wait_for(lambda: not alive(task), 30)


def test_the_local_launcher_needs_no_provider():
    assert type(launchers.launcher(Settings(), gpu=True, log=log)).__name__ == "LocalLauncher"
