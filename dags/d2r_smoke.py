"""
### The whole pipeline on phantoms, in three minutes on a CPU

Draws phantoms, reads them into a lake of its own (`smoke/<run id>` in the workspace), trains both models for a few steps,
annotates and reports in shards, evaluates, distils the preview model, exports its bundle (which is not published), validates.
It shows that an installation works; its models are not usable.
"""

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from d2r_airflow import lineage, params
from d2r_airflow.inputs import decide, share_out
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import GPU_POOL, shared
from d2r_airflow.publication import slug

# The fewest steps that exercise everything, over the preset of the form.
LEAST = ["detector.train.steps=4", "detector.train.eval_every=4", "semi.burn_in_steps=2", "semi.guard_rails=off", "report.train.epochs=1", "preview.epochs=1"]
LAYOUTS = {"vindr": "vindr", "mimic": "mimic", "iu-xray": "iu_xray"}
PLACE = ["--dataset", "mimic", "--split", "test"]
PHANTOM = "{{ ti.xcom_pull(task_ids='prepare')['phantom'] }}"
DETECTOR = "{{ ti.xcom_pull(task_ids='train_detector') | run_folder }}"
REPORTER = "{{ ti.xcom_pull(task_ids='train_reporter') | run_folder }}"
PREVIEW_MODEL = "{{ ti.xcom_pull(task_ids='distill') | run_folder }}"


@dag(
    dag_id="d2r_smoke",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    params={
        "preset": Param("tiny", type="string", pattern=params.NAME, title="Preset"),
        "shards": params.shards(2),
    },
    user_defined_filters={"run_folder": lineage.run_folder},
    **shared(hours=0.5, deadline_hours=1, active_runs=2, tags=("smoke",)),
)
def d2r_smoke():
    @task(multiple_outputs=True)
    def prepare() -> dict:
        """This run's own project."""
        context = get_current_context()
        project = f"smoke/{slug(context['run_id'])}"
        chosen = decide({**context["params"], "project": project, "overrides": LEAST}, {}, ())
        phantom = f"{project}/phantom"
        return {**chosen, "phantom": phantom, "truth": f"{phantom}/truth", "preview": f"{project}/preview"}

    retries = {"retry_delay": timedelta(seconds=5)}
    at = prepare()
    common = at["common"]
    phantom = D2ROperator(task_id="phantom", arguments=["phantom", common, "--out", at["phantom"]], **retries)
    ingest = D2ROperator.partial(
        task_id="ingest", arguments=["ingest", common], map_index_template="{{ task.share[0] }}", max_active_tis_per_dagrun=1, **retries
    ).expand(share=[[layout, "--root", f"{PHANTOM}/{folder}"] for layout, folder in LAYOUTS.items()])
    audit = D2ROperator(task_id="audit", arguments=["audit", common], **retries)
    train_detector = D2ROperator(
        task_id="train_detector", arguments=["train-detector", common, "--dataset", "vindr", "--unlabelled", "mimic"], pool=GPU_POOL, **retries
    )
    shares = share_out()
    annotate = D2ROperator.partial(
        task_id="annotate",
        arguments=["annotate", common, "--dataset", "mimic", "--detector", DETECTOR],
        map_index_template="{{ task.share[-1] }}",
        pool=GPU_POOL,
        **retries,
    ).expand(share=shares)
    train_reporter = D2ROperator(
        task_id="train_reporter",
        arguments=["train-reporter", common, "--dataset", "mimic", "--detector", DETECTOR],
        pool=GPU_POOL,
        **retries,
    )
    report = D2ROperator.partial(
        task_id="report",
        arguments=["report", common, *PLACE, "--reporter", REPORTER],
        map_index_template="{{ task.share[-1] }}",
        pool=GPU_POOL,
        **retries,
    ).expand(share=shares)
    evaluate = [
        D2ROperator(
            task_id=f"evaluate_{what}", arguments=["evaluate", what, common, *PLACE, "--truth", at["truth"]], **retries
        )
        for what in ("detector", "reports")
    ]
    distill = D2ROperator(
        task_id="distill", arguments=["distill", common, "--dataset", "mimic", "--reporter", REPORTER], pool=GPU_POOL, **retries
    )
    export = D2ROperator(
        task_id="export_preview",
        arguments=["export", "preview", common, *PLACE, "--preview-model", PREVIEW_MODEL, "--out", at["preview"]],
        **retries,
    )
    validate = D2ROperator(task_id="validate", arguments=["validate", common], **retries)
    phantom >> ingest >> audit >> train_detector >> annotate >> train_reporter >> report >> [*evaluate, distill]
    distill >> export
    [*evaluate, export] >> validate


d2r_smoke()
