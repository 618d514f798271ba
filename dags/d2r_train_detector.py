"""
### Trains the lesion detector

Triggered when the annotators' boxes change. With an unlabelled data set it is Unbiased Teacher v2's teacher and student,
else supervised. A killed or failed run continues from its newest checkpoint when the task is
retried or cleared; a run whose inputs and configuration are unchanged is found and reused.
"""

from airflow.sdk import dag

from d2r_airflow import assets, params
from d2r_airflow.inputs import choose
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, shared


@dag(
    dag_id="d2r_train_detector",
    doc_md=__doc__,
    schedule=[assets.ANNOTATOR_LESIONS],
    params={**params.common(), "dataset": params.dataset("vindr", "Labelled data set"), **params.training()},
    **shared(hours=48, deadline_hours=72, tags=("training", "consumer")),
)
def d2r_train_detector():
    inputs = choose(optional=["unlabelled", "init", "labellers"])
    D2ROperator(
        task_id="train_detector",
        arguments=["train-detector", inputs["common"], "--dataset", "{{ params.dataset }}", inputs["optional"]],
        carried=inputs["carried"],
        outlets=[assets.DETECTOR],
        pool=GPU_POOL,
    )


d2r_train_detector()
