"""Retries, time limits, pools and alerts: what every DAG shares."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback

from d2r_airflow.alerts import Alert

# One slot per CUDA device. Everything that runs a model takes one, also on a machine without a device.
GPU_POOL = "d2r_gpu"
# Everything else that runs `d2r`.
CPU_POOL = "d2r_cpu"

START = pendulum.datetime(2026, 1, 1, tz="UTC")

RETRIES = {
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
}


def shared(*, hours: float, deadline_hours: float, active_runs: int = 1, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments of `@dag`: `hours` bound a task; a run is late `deadline_hours` after its usual end, and ended after twice that.

    DAGs that write tables into a project's lake have one active run: shards of two runs would replace each other's parts. More
    `active_runs` are for DAGs whose runs write to folders of their own.
    """
    return {
        "start_date": START,
        "catchup": False,
        "max_active_runs": active_runs,
        "dagrun_timeout": timedelta(hours=2 * deadline_hours),
        "tags": ["d2r", *tags],
        "default_args": {
            "owner": "d2r",
            "pool": CPU_POOL,
            "execution_timeout": timedelta(hours=hours),
            **RETRIES,
        },
        "on_failure_callback": [Alert("run failed")],
        "deadline": DeadlineAlert(
            # Not DAGRUN_QUEUED_AT: in Airflow 3.3.2 no task of such a run can be cleared (apache/airflow#70368).
            reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=3),
            interval=timedelta(hours=deadline_hours),
            callback=SyncCallback("d2r_airflow.alerts.deadline_missed"),
        ),
    }
