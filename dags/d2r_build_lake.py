"""
### Reads delivered data sets into the lake

`ingest` (one mapped task per data set) → `audit` (patient leakage ends the run) → `validate` (tables against their contracts).

Triggered by an event of a source asset, whose extra may hold `root` (the delivered folder), `project` and `preset`, or by
hand with the folders in the form. Ingesting the same folder twice changes nothing. Boxes of other classes than VinDr-CXR's
need their label set in the form.
"""

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from d2r_airflow import assets, params
from d2r_airflow.inputs import check, choose, newest_extra, project_of
from d2r_airflow.operator import D2ROperator
from d2r_airflow.policy import shared


# One path, and no flag.
ROOT = r"[^-\x00][^\x00]*"
# The layouts with boxes, whose classes are those of a label set.
WITH_BOXES = ("vindr",)


def _root(name: str) -> Param:
    return Param(
        None, type=["null", "string"], title=f"{name} folder", section="Sources",
        description="A folder of the workspace or an absolute path, as the worker sees it; empty: not ingested.",
    )


@dag(
    dag_id="d2r_build_lake",
    doc_md=__doc__,
    schedule=(assets.SOURCE_VINDR | assets.SOURCE_MIMIC | assets.SOURCE_IU_XRAY),
    params={
        **params.common(),
        "vindr": _root("VinDr-CXR"),
        "mimic": _root("MIMIC-CXR-JPG"),
        "iu-xray": _root("IU X-Ray"),
        "labels": params.labels(),
    },
    **shared(hours=12, deadline_hours=24, tags=("lake", "producer")),
)
def d2r_build_lake():
    @task
    def sources(project: str) -> list[list[str]]:
        """Layout and folder of every data set to read; a delivery to another project is not read into this one."""
        context = get_current_context()
        found = []
        for layout, asset in assets.SOURCES.items():
            events = [e for e in context["triggering_asset_events"].get(asset, ()) if project_of(e) == project]
            root = newest_extra({asset: events}).get("root") or context["params"][layout]
            if root:
                check("root", root, ROOT)
                labels = context["params"]["labels"] if layout in WITH_BOXES else None
                found.append([layout, "--root", root, *(["--labels", labels] if labels else [])])
        if not found:
            raise AirflowFailException("no folder given: fill in one of the form's, or put `root` into the asset event's extra")
        return found

    inputs = choose()
    ingest = D2ROperator.partial(
        task_id="ingest", arguments=["ingest", inputs["common"]], map_index_template="{{ task.share[0] }}", max_active_tis_per_dagrun=1
    ).expand(share=sources(inputs["project"]))
    audit = D2ROperator(task_id="audit", arguments=["audit", inputs["common"]])
    validate = D2ROperator(
        task_id="validate",
        arguments=["validate", inputs["common"]],
        carried=inputs["carried"],
        outlets=[assets.IMAGES, assets.ANNOTATOR_LESIONS, assets.REPORTS],
    )
    ingest >> audit >> validate


d2r_build_lake()
