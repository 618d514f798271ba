"""The DAGs as a graph, without running them."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from conftest import HOME, ROOT
from d2r_airflow.operator import D2ROperator
from d2r_airflow.publication import approved

POOLS = json.loads((ROOT / "dags/pools.json").read_text())

GRAPHS = {
    "d2r_build_lake": {
        "choose": {"sources", "ingest", "audit", "validate"},
        "sources": {"ingest"},
        "ingest": {"audit"},
        "audit": {"validate"},
        "validate": set(),
    },
    "d2r_train_detector": {"choose": {"train_detector"}, "train_detector": set()},
    "d2r_pseudo_label": {
        "choose": {"annotate", "validate", "promote"},
        "share_out": {"annotate", "promote"},
        "annotate": {"validate", "promote"},
        "validate": {"promote"},
        "promote": set(),
    },
    "d2r_train_reporter": {"choose": {"train_reporter"}, "train_reporter": set()},
    "d2r_report_batch": {
        "choose": {"share_out", "report", "validate", "promote"},
        "share_out": {"report", "promote"},
        "report": {"validate", "promote"},
        "validate": {"promote"},
        "promote": set(),
    },
    "d2r_evaluate": {
        "choose": {"report_places", "evaluate_reports", "evaluate_detector", "validate", "promote"},
        "report_places": {"evaluate_reports", "promote"},
        "detector_places": {"evaluate_detector"},
        "evaluate_reports": {"validate", "promote"},
        "evaluate_detector": {"validate"},
        "validate": {"promote"},
        "promote": set(),
    },
    "d2r_publish_preview": {
        "choose": {"place", "distill", "export_preview", "publish"},
        "place": {"export_preview", "publish"},
        "distill": {"export_preview"},
        "export_preview": {"approve", "publish"},
        "approve": {"publish"},
        "publish": set(),
    },
    "d2r_smoke": {
        "prepare": {
            "phantom", "ingest", "audit", "train_detector", "annotate", "train_reporter", "report",
            "evaluate_detector", "evaluate_reports", "distill", "export_preview", "validate",
        },
        "share_out": {"annotate", "report"},
        "phantom": {"ingest"},
        "ingest": {"audit"},
        "audit": {"train_detector"},
        "train_detector": {"annotate"},
        "annotate": {"train_reporter"},
        "train_reporter": {"report"},
        "report": {"evaluate_detector", "evaluate_reports", "distill"},
        "distill": {"export_preview"},
        "export_preview": {"validate"},
        "evaluate_detector": {"validate"},
        "evaluate_reports": {"validate"},
        "validate": set(),
    },
}  # fmt: skip

# Which DAG's assets start which DAG: new data flows from the sources to the preview.
FLOW = {
    "d2r_build_lake": {"d2r_train_detector"},
    "d2r_train_detector": {"d2r_pseudo_label"},
    "d2r_pseudo_label": {"d2r_train_reporter"},
    "d2r_train_reporter": {"d2r_report_batch"},
    "d2r_report_batch": {"d2r_evaluate"},
    "d2r_evaluate": {"d2r_publish_preview"},
    "d2r_publish_preview": set(),
    "d2r_smoke": set(),
}


def test_all_dags_import(dagbag):
    assert dagbag.import_errors == {}
    assert set(dagbag.dags) == set(GRAPHS)


@pytest.mark.parametrize("dag_id", GRAPHS)
def test_the_graph_is_the_expected_one(dagbag, dag_id):
    assert {t.task_id: set(t.downstream_task_ids) for t in dagbag.dags[dag_id].tasks} == GRAPHS[dag_id]


def test_data_flows_from_source_to_preview(dagbag):
    makes = {i: {a.name for t in d.tasks for a in outlets(t)} for i, d in dagbag.dags.items()}
    waits = {i: {a.name for a in d.timetable.asset_condition.objects} for i, d in dagbag.dags.items() if i != "d2r_smoke"}
    flow = {maker: {dag for dag, names in waits.items() if names & made} for maker, made in makes.items()}
    assert flow == FLOW
    assert waits["d2r_build_lake"] == {"d2r_source_vindr", "d2r_source_mimic", "d2r_source_iu_xray"}


def outlets(task):
    return (task.partial_kwargs.get("outlets") if task.is_mapped else task.outlets) or ()


@pytest.mark.parametrize("dag_id", GRAPHS)
def test_every_dag_has_owner_pool_retries_time_limits_and_alerts(dagbag, dag_id):
    dag = dagbag.dags[dag_id]
    assert dag.dag_id in dag.fileloc
    assert dag.doc_md and "d2r" in dag.tags
    assert dag.catchup is False
    assert dag.dagrun_timeout > timedelta(0)
    assert dag.deadline and dag.has_on_failure_callback
    assert dag.start_date.tzinfo is not None
    for task in dag.tasks:
        assert task.owner == "d2r"
        assert task.pool in POOLS, f"{task.task_id}: pool {task.pool} is not in pools.json"
        if task.task_id == "approve":
            continue
        assert task.retries >= 1, task.task_id
        assert task.execution_timeout, task.task_id


# Runs that write to folders of their own: a project of its own, a waiting bundle.
SIDE_BY_SIDE = {"d2r_smoke", "d2r_publish_preview"}


@pytest.mark.parametrize("dag_id", sorted(set(GRAPHS) - SIDE_BY_SIDE))
def test_runs_of_a_dag_that_writes_tables_do_not_overlap(dagbag, dag_id):
    assert dagbag.dags[dag_id].max_active_runs == 1


def test_an_approval_has_no_default(dagbag):
    approve = dagbag.dags["d2r_publish_preview"].get_task("approve")
    assert approve.defaults is None
    assert approve.response_timeout and not approve.fail_on_reject
    approve.params.validate()
    with pytest.raises(AirflowFailException, match="without the form"):
        approved({"chosen_options": ["Approve"], "params_input": approve.params.dump(), "responded_at": "now",
                  "responded_by_user": {"id": "7", "name": "radiologist"}})  # fmt: skip


def test_models_run_on_gpu_slots_and_nothing_else_does(dagbag):
    on_gpu = {(d.dag_id, t.task_id) for d in dagbag.dags.values() for t in d.tasks if t.pool == "d2r_gpu"}
    assert on_gpu == {
        ("d2r_train_detector", "train_detector"),
        ("d2r_pseudo_label", "annotate"),
        ("d2r_train_reporter", "train_reporter"),
        ("d2r_report_batch", "report"),
        ("d2r_publish_preview", "distill"),
        *(("d2r_smoke", t) for t in ("train_detector", "annotate", "train_reporter", "report", "distill")),
    }


@pytest.mark.parametrize("dag_id", GRAPHS)
def test_every_field_of_the_form_is_typed_and_named(dagbag, dag_id):
    for name, param in dagbag.dags[dag_id].params.items():
        field = dagbag.dags[dag_id].params.get_param(name)
        assert field.schema.get("type"), name
        assert field.schema.get("title"), name


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        ("d2r_pseudo_label", {"shards": 0}),
        ("d2r_pseudo_label", {"shards": 2000}),
        ("d2r_pseudo_label", {"dataset": "../etc"}),
        ("d2r_pseudo_label", {"project": "/etc"}),
        ("d2r_pseudo_label", {"project": "a/../../b"}),
        ("d2r_pseudo_label", {"detector": "--help"}),
        ("d2r_report_batch", {"partitions": ["mimic"]}),
        ("d2r_report_batch", {"partitions": []}),
        ("d2r_build_lake", {"overrides": ["--lake=/"]}),
        ("d2r_build_lake", {"labels": "--help"}),
    ],
)
def test_the_form_refuses_nonsense(dagbag, dag_id, conf):
    for name, value in conf.items():
        with pytest.raises(ParamValidationError):
            dagbag.dags[dag_id].params.get_param(name).resolve(value)


def test_only_the_public_authoring_interface_is_imported():
    for path in (ROOT / "dags").rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].split(".")[0] == "airflow":
                assert words[1].startswith(("airflow.sdk", "airflow.providers")), f"{path.name}: {line}"


def test_every_file_loads_in_under_a_second_without_the_command(tmp_path):
    """All DAG files together, in a fresh interpreter that has loaded Airflow, as in the DAG processor's forks; processor time."""
    code = """
import sys, time, importlib.util
import airflow.sdk, airflow.providers.standard.operators.hitl
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    began = time.process_time()
    spec = importlib.util.spec_from_file_location(name, f"{sys.argv[1]}/{name}.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    print(name, time.process_time() - began)
loaded = {m.split(".")[0] for m in sys.modules}
assert not loaded & {"torch", "polars", "docker", "kubernetes"}, loaded
"""
    environment = {**os.environ, "PATH": str(tmp_path), "AIRFLOW_HOME": HOME}
    environment.pop("D2R_BIN", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "dags"), *GRAPHS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    times = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("d2r_")}
    assert set(times) == set(GRAPHS)
    assert sum(times.values()) < 1.0, times


def test_only_our_operator_runs_commands(dagbag):
    kinds = {t.operator_class if t.is_mapped else type(t) for d in dagbag.dags.values() for t in d.tasks}
    assert {k.__name__ for k in kinds} == {D2ROperator.__name__, "_PythonDecoratedOperator", "ApprovalOperator"}
