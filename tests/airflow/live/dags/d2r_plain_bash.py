"""The task that `dags/README.md` shows to sites without the custom operator, word for word, on a lake of the test. For tests only."""

import os
import re
from pathlib import Path

import d2r_airflow
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param, dag
from d2r_airflow.policy import START

README = Path(d2r_airflow.__file__).parents[1] / "README.md"
TASK = re.search(r"^BashOperator\(\n.*?^\)", README.read_text(), re.MULTILINE | re.DOTALL).group()
for shown, here in {
    "main/": "{{ params.project }}/",
    "detector-0123456789ab": "{{ params.detector }}",
    "/path/of/the/workspace": os.environ.get("D2R_WORKSPACE", "."),
}.items():
    assert shown in TASK
    TASK = TASK.replace(shown, here)


@dag(
    schedule=None,
    start_date=START,
    catchup=False,
    is_paused_upon_creation=False,
    params={"project": Param(type="string"), "detector": Param(type="string")},
)
def d2r_plain_bash():
    exec(TASK, {"BashOperator": BashOperator})


d2r_plain_bash()
