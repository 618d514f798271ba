"""A run that misses its deadline. For tests only."""

import time
from datetime import timedelta

from airflow.sdk import DeadlineAlert, DeadlineReference, dag, task
from d2r_airflow.policy import START, shared


@dag(
    schedule=None,
    is_paused_upon_creation=False,
    **{
        **shared(hours=1, deadline_hours=1),
        "start_date": START,
        "deadline": DeadlineAlert(
            reference=DeadlineReference.FIXED_DATETIME(START),
            interval=timedelta(seconds=1),
            callback=shared(hours=1, deadline_hours=1)["deadline"].callback,
        ),
    },
)
def d2r_late():
    @task
    def wait():
        time.sleep(20)

    wait()


d2r_late()
