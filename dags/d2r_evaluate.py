"""
### Evaluates reports, and boxes where there is a reference

`evaluate_reports` and `evaluate_detector`, mapped over partitions → `validate` → `promote`. Triggered when reports are
promoted. The detector is evaluated on the partitions named in the form: they need annotators' boxes, or the phantoms' truth.
"""

from airflow.sdk import Param, dag, task

from d2r_airflow import assets, params
from d2r_airflow.inputs import choose
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import shared
from d2r_airflow.promotion import promote as announce


@dag(
    dag_id="d2r_evaluate",
    doc_md=__doc__,
    schedule=[assets.GENERATED_REPORTS],
    params={
        **params.common(),
        "partitions": params.partitions(),
        "reporter": params.run("reporter"),
        "detector_partitions": Param(
            [], type="array", items={"type": "string", "pattern": params.PARTITION}, title="Partitions for the detector",
            description_md="One `dataset/split` a line; their boxes must be annotated first.",
        ),
        "truth": Param(
            None, type=["null", "string"], title="Truth tables", section="Advanced",
            description="The `truth` folder that `d2r phantom` wrote; empty: annotators' boxes are the reference.",
        ),
    },
    **shared(hours=6, deadline_hours=12, tags=("evaluation", "consumer")),
)
def d2r_evaluate():
    @task
    def places(chosen: list[str] | None = None, params=None) -> list[list[str]]:
        """Data set, split and reference of every partition; the detector's when none is chosen."""
        truth = ["--truth", params["truth"]] if params["truth"] else []
        every = params["detector_partitions"] if chosen is None else chosen
        return [["--dataset", p.split("/")[0], "--split", p.split("/")[1], *truth] for p in every]

    @task(outlets=[assets.METRICS], trigger_rule="none_failed_min_one_success")
    def promote(manifests, shares, carried):
        figures = {f"{share[1]}/{share[3]}": manifest["figures"] for share, manifest in zip(shares, manifests, strict=True)}
        return announce(manifests, len(shares), {**carried, "figures": figures})

    inputs = choose(["reporter", "partitions"])
    names = "{{ task.share[1] }}/{{ task.share[3] }}"
    report_places = places.override(task_id="report_places")(inputs["partitions"])
    reports = D2ROperator.partial(
        task_id="evaluate_reports", arguments=["evaluate", "reports", inputs["common"]], map_index_template=names
    ).expand(share=report_places)
    detector = D2ROperator.partial(
        task_id="evaluate_detector", arguments=["evaluate", "detector", inputs["common"]], map_index_template=names
    ).expand(share=places.override(task_id="detector_places")())
    validate = D2ROperator(
        task_id="validate",
        arguments=["validate", inputs["common"], "metrics"],
        trigger_rule="none_failed_min_one_success",
    )
    [reports, detector] >> validate >> promote(reports.output, report_places, inputs["carried"])


d2r_evaluate()
