"""Pseudo-labels in shards whose time limit is short, for a command that hangs. For tests only."""

from datetime import timedelta

from airflow.sdk import Param, dag
from d2r_airflow.inputs import choose, share_out
from d2r_airflow.operator import D2ROperator
from d2r_airflow.params import shards
from d2r_airflow.policy import GPU_POOL, START


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    is_paused_upon_creation=False,
    params={"project": Param(type="string"), "preset": Param(type="string"), "detector": Param(type="string"), "shards": shards(4)},
)
def d2r_hung_shard():
    inputs = choose(["detector"])
    D2ROperator.partial(
        task_id="annotate",
        arguments=["annotate", inputs["common"], "--dataset", "mimic", "--detector", inputs["detector"]],
        pool=GPU_POOL,
        execution_timeout=timedelta(seconds=30),
        retries=3,
        retry_delay=timedelta(hours=1),
    ).expand(share=share_out())


d2r_hung_shard()
