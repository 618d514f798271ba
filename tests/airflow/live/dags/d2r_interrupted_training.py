"""A training task whose time limit is far too short: each try ends at the limit, the next one continues. For tests only."""

from datetime import timedelta

from airflow.sdk import Param, dag
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, START


@dag(schedule=None, start_date=START, catchup=False, is_paused_upon_creation=False, params={"project": Param("limited", type="string")})
def d2r_interrupted_training():
    D2ROperator(
        task_id="train_detector",
        arguments=[
            "train-detector", "--preset", "tiny", "--lake", "{{ params.project }}/lake", "--runs", "{{ params.project }}/runs",
            "--set", "detector.train.steps=150", "--set", "detector.train.eval_every=150",
        ],
        pool=GPU_POOL,
        execution_timeout=timedelta(seconds=8),
        retries=60,
        retry_delay=timedelta(seconds=1),
    )  # fmt: skip


d2r_interrupted_training()
