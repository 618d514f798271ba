"""Starts Airflow, triggers `d2r_smoke`, waits, prints the outcome, stops Airflow. Exit 0 when the run succeeded."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from server import AirflowServer


def seconds(task: dict) -> float:
    if not task["start_date"] or not task["end_date"]:
        return 0.0
    return (datetime.fromisoformat(task["end_date"]) - datetime.fromisoformat(task["start_date"])).total_seconds()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True, help="the built command")
    parser.add_argument("--keep", help="a folder that receives Airflow's files and the lake; a temporary one when absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="d2r-airflow-") as temporary:
        folder = Path(options.keep or temporary).absolute()
        began = time.monotonic()
        with AirflowServer(folder, binary=options.d2r) as airflow:
            print(f"airflow: ready after {time.monotonic() - began:.0f} s at {airflow.api.base_url}", flush=True)
            began = time.monotonic()
            run_id = airflow.trigger("d2r_smoke")
            state = airflow.wait("d2r_smoke", run_id)
            took = time.monotonic() - began
            tasks = airflow.tasks("d2r_smoke", run_id)
            for task in sorted(tasks, key=lambda t: t["start_date"] or "9"):
                name = task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")
                print(f"{name:<24} {task['state'] or '-':<16} {seconds(task):6.1f} s")
            for task in tasks:
                if task["state"] == "failed":
                    print(airflow.log("d2r_smoke", run_id, task["task_id"], task["map_index"], task["try_number"])[-3000:])
        print(f"d2r_smoke: {state} in {took:.0f} s")
        return 0 if state == "success" else 1


if __name__ == "__main__":
    sys.exit(main())
