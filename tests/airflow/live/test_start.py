"""What `make airflow` starts: a new user triggers the smoke run, and everything ends when it is stopped."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import wait_for
from rest_api import AirflowApi
from server import ROOT, free_port

HELLO = re.compile(r"airflow: (http://127\.0\.0\.1:\d+)   user admin, password (\S+)")


def of_session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                state, _, _, session = (process / "stat").read_text().rsplit(")", 1)[1].split()[:4]
                if int(session) == leader and state != "Z":
                    found.append(int(process.name))
    return found


@pytest.fixture
def started(d2r, tmp_path):
    """The script, with interrupts ignored as by a shell that starts it in the background."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "D2R_"))}
    environment |= {"AIRFLOW_HOME": str(tmp_path / "home"), "D2R_BIN": d2r, "D2R_AIRFLOW_PORT": str(free_port())}
    script = subprocess.Popen(
        ["bash", "-c", "trap '' INT; exec scripts/airflow_start.sh"], cwd=ROOT, env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield script
    finally:
        for pid in of_session(script.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        script.wait()


def test_a_new_user_runs_the_smoke_dag(started, d2r, tmp_path):
    address, password = HELLO.search(started.stdout.readline()).groups()
    workspace = re.search(r"workspace (\S+),", started.stdout.readline()).group(1)
    airflow = AirflowApi(address)
    assert airflow.log_in("admin", password)
    wait_for(lambda: len(airflow.get("/dags")["dags"]) == 8, 120, "for the DAGs")
    run_id = airflow.trigger("d2r_smoke")
    assert airflow.wait("d2r_smoke", run_id) == "success"
    (lake,) = Path(workspace, "smoke").glob("*/lake")
    subprocess.run([d2r, "validate", "--lake", str(lake)], check=True, capture_output=True)
    assert len(airflow.get("/assets", limit=100)["assets"]) == 12

    started.terminate()
    started.wait(60)
    wait_for(lambda: not of_session(started.pid), 15, "for everything to end")
