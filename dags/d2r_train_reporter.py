"""
### Trains the report model on images, boxes and reports

Triggered when pseudo-labels are promoted. Continues from its newest checkpoint when retried or cleared.
"""

from airflow.sdk import dag

from d2r_airflow import assets, params
from d2r_airflow.inputs import choose
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, shared


@dag(
    dag_id="d2r_train_reporter",
    doc_md=__doc__,
    schedule=[assets.PSEUDO_LESIONS],
    params={**params.common(), "dataset": params.dataset("mimic", "Data set with reports"), "detector": params.run("detector")},
    **shared(hours=72, deadline_hours=96, tags=("training", "consumer")),
)
def d2r_train_reporter():
    inputs = choose(["detector"])
    D2ROperator(
        task_id="train_reporter",
        arguments=["train-reporter", inputs["common"], "--dataset", "{{ params.dataset }}", "--detector", inputs["detector"]],
        carried=inputs["carried"],
        outlets=[assets.REPORTER],
        pool=GPU_POOL,
    )


d2r_train_reporter()
