"""
### Makes the browser preview, and publishes it when a radiologist approves

`distill` (the preview model from the report model) → `export_preview` → `approve` → `publish`. There is no default answer:
`approve` waits for a person, holds neither a worker nor a pool slot, and fails after a month. The approver, the time and the
form are written into the bundle's `MANIFEST.json`. A rejected bundle stays under `previews/waiting`; a bundle whose files
changed while it waited is not published.
"""

import os
from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, get_current_context, task

from d2r_airflow import assets, lineage, params
from d2r_airflow.alerts import Alert
from d2r_airflow.inputs import choose
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, shared
from d2r_airflow.publication import approvers, publish_bundle, slug

BODY = """\
Sample studies of this bundle were written by a model; research software, not a medical device.

| | |
|---|---|
| report model | `{{ ti.xcom_pull(task_ids='choose')['reporter'] }}` |
| folder of the bundle | `{{ ti.xcom_pull(task_ids='place')['waiting'] }}` |
{% set exported = ti.xcom_pull(task_ids='export_preview') -%}
| sample studies | {{ exported['rows']['samples'] }} |
{% for name, value in exported['figures'].items() -%}
| {{ name }} | {{ '%.12g' | format(value) }} |
{% endfor %}
Open the folder in the viewer, review the samples, then fill in the form. Without it an approval publishes nothing.
"""
DATASET = ["--dataset", "{{ params.dataset }}"]
# Every default must satisfy its own schema, or the task does not start to wait; `publish` refuses the defaults.
FORM = {
    "studies_reviewed": Param(None, type=["null", "integer"], minimum=1, title="Sample studies reviewed"),
    "no_patient_data": Param(False, type="boolean", title="No patient can be recognised in the samples"),
    "comment": Param(None, type=["null", "string"], format="multiline", title="Comment", description="No patient data here, please."),
}


@dag(
    dag_id="d2r_publish_preview",
    doc_md=__doc__,
    schedule=[assets.METRICS],
    user_defined_filters={"run_folder": lineage.run_folder},
    params={**params.common(), "reporter": params.run("reporter"), "dataset": params.dataset("mimic", "Data set for training and for the sample studies")},
    **shared(hours=24, deadline_hours=24 * 31, active_runs=4, tags=("preview", "consumer")),
)
def d2r_publish_preview():
    @task(multiple_outputs=True)
    def place(chosen: dict) -> dict[str, str]:
        """Folders of this run's waiting bundle and of published bundles."""
        previews = f"{chosen['project']}/previews"
        return {"waiting": f"{previews}/waiting/{slug(get_current_context()['run_id'])}", "published": previews}

    @task(outlets=[assets.PREVIEW], multiple_outputs=True)
    def publish(folders: dict, exported: dict, approval: dict, carried: dict) -> dict:
        """Seals the bundle with the approval record and moves it to its place."""
        sealed = publish_bundle(folders, exported, approval)
        get_current_context()["outlet_events"][assets.PREVIEW].extra = {**carried, **sealed}
        return sealed

    inputs = choose(["reporter"])
    folders = place(inputs)
    distill = D2ROperator(
        task_id="distill", arguments=["distill", inputs["common"], *DATASET, "--reporter", inputs["reporter"]], pool=GPU_POOL
    )
    export = D2ROperator(
        task_id="export_preview",
        arguments=[
            "export", "preview", inputs["common"], *DATASET,
            "--preview-model", "{{ ti.xcom_pull(task_ids='distill') | run_folder }}", "--out", folders["waiting"],
        ],
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject="Publish this preview?",
        body=BODY,
        params=FORM,
        assigned_users=approvers(os.environ.get("D2R_APPROVERS", "")),
        notifiers=[Alert("approval wanted")],
        response_timeout=timedelta(days=30),
        execution_timeout=None,
        retries=0,
    )
    distill >> export >> approve >> publish(folders, export.output, approve.output, inputs["carried"])


d2r_publish_preview()
