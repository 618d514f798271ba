"""
### Writes the detector's boxes for an unlabelled data set

`annotate` (mapped shards, one GPU slot each) → `validate` → `promote`. The asset's event, on which training of the report
model waits, comes from `promote` alone, once every shard is there and the table is valid. Clear one mapped task to redo one shard.
"""

from airflow.sdk import dag, task

from d2r_airflow import assets, params
from d2r_airflow.inputs import choose, share_out
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, shared
from d2r_airflow.promotion import promote as announce


@dag(
    dag_id="d2r_pseudo_label",
    doc_md=__doc__,
    schedule=[assets.DETECTOR],
    params={
        **params.common(),
        "dataset": params.dataset("mimic", "Data set to annotate"),
        "detector": params.run("detector"),
        "shards": params.shards(8),
    },
    **shared(hours=6, deadline_hours=24, tags=("lake", "consumer")),
)
def d2r_pseudo_label():
    @task(outlets=[assets.PSEUDO_LESIONS])
    def promote(manifests, shares, carried):
        return announce(manifests, len(shares), carried)

    inputs = choose(["detector"])
    shares = share_out()
    annotate = D2ROperator.partial(
        task_id="annotate",
        arguments=["annotate", inputs["common"], "--dataset", "{{ params.dataset }}", "--detector", inputs["detector"]],
        map_index_template="{{ task.share[-1] }}",
        pool=GPU_POOL,
    ).expand(share=shares)
    validate = D2ROperator(task_id="validate", arguments=["validate", inputs["common"], "lesions", "failures"])
    annotate >> validate >> promote(annotate.output, shares, inputs["carried"])


d2r_pseudo_label()
