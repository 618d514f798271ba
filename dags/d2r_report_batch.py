"""
### Writes reports for partitions of the lake

`report` (mapped: every shard of every partition, one GPU slot each) → `validate` → `promote`. Triggered when a report
model is trained, for the partitions that the event names; by hand for any partitions, several of them for a backfill. Clear one
mapped task to redo one shard.
"""

from airflow.sdk import dag, task

from d2r_airflow import assets, params
from d2r_airflow.inputs import choose, share_out
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, shared
from d2r_airflow.promotion import promote as announce

TABLES = ["generated_reports", "report_sentences", "sentence_boxes", "findings", "failures"]


@dag(
    dag_id="d2r_report_batch",
    doc_md=__doc__,
    schedule=[assets.REPORTER],
    params={
        **params.common(),
        "partitions": params.partitions("`mimic/test`"),
        "reporter": params.run("reporter"),
        "shards": params.shards(8),
    },
    **shared(hours=6, deadline_hours=24, tags=("lake", "consumer")),
)
def d2r_report_batch():
    @task(outlets=[assets.GENERATED_REPORTS])
    def promote(manifests, shares, carried):
        return announce(manifests, len(shares), carried)

    inputs = choose(["reporter", "partitions"], {"partitions": ["mimic/test"]})
    shares = share_out(inputs["partitions"])
    report = D2ROperator.partial(
        task_id="report",
        arguments=["report", inputs["common"], "--reporter", inputs["reporter"]],
        map_index_template="{{ task.share[1] }}/{{ task.share[3] }} {{ task.share[-1] }}",
        pool=GPU_POOL,
    ).expand(share=shares)
    validate = D2ROperator(task_id="validate", arguments=["validate", inputs["common"], *TABLES])
    report >> validate >> promote(report.output, shares, inputs["carried"])


d2r_report_batch()
