"""What a task tells OpenLineage: with the provider's classes where they are installed, else with classes that keep what they get."""

import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from conftest import ROOT
from d2r_airflow import facets
from d2r_airflow.operator import D2ROperator
from test_promotion import A, B, contract, part

COMMON = ["--lake", "main/lake", "--runs", "main/runs", "--preset", "tiny"]
ANNOTATE = ["annotate", *COMMON, "--dataset", "mimic", "--detector", "main/runs/detector-0123456789ab", "--shard", "0/2"]
EXTRACTORS, EVENTS, FACETS = "airflow.providers.openlineage.extractors", "openlineage.client.event_v2", "openlineage.client.facet_v2"


def keeps(*names: str):
    """A class whose objects have these attributes, in order or by name."""
    return lambda *values, **more: SimpleNamespace(**dict(zip(names, values, strict=False)), **more)


def stand_in() -> dict[str, ModuleType]:
    extractors, events, of_facets = ModuleType(EXTRACTORS), ModuleType(EVENTS), ModuleType(FACETS)
    extractors.OperatorLineage = keeps()
    events.InputDataset = events.OutputDataset = keeps("namespace", "name")
    of_facets.input_statistics_input_dataset = SimpleNamespace(InputStatisticsInputDatasetFacet=keeps())
    of_facets.output_statistics_output_dataset = SimpleNamespace(OutputStatisticsOutputDatasetFacet=keeps())
    of_facets.schema_dataset = SimpleNamespace(SchemaDatasetFacet=keeps(), SchemaDatasetFacetFields=keeps())
    of_facets.dataset_version_dataset = SimpleNamespace(DatasetVersionDatasetFacet=keeps())
    of_facets.tags_dataset = SimpleNamespace(TagsDatasetFacet=keeps(), TagsDatasetFacetFields=keeps())
    parents = {name: ModuleType(name) for name in ("airflow.providers.openlineage", "openlineage", "openlineage.client")}
    return {**parents, EXTRACTORS: extractors, EVENTS: events, FACETS: of_facets}


@pytest.fixture
def provider(monkeypatch):
    if importlib.util.find_spec("openlineage") is None:
        for name, module in stand_in().items():
            monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A lake with images and one shard of boxes, and the run of the detector."""
    monkeypatch.setenv("D2R_WORKSPACE", str(tmp_path))
    part(tmp_path, 0, 1, model=None, table="images", producer="ingest")
    run = tmp_path / "main/runs/detector-0123456789ab"
    run.mkdir(parents=True)
    (run / "card.json").write_text(json.dumps({"kind": "detector", "model_sha256": A}))
    return tmp_path


def lineage_of(monkeypatch, argv, manifest):
    """What the operator says after the command."""
    launcher = SimpleNamespace(run=lambda *_: SimpleNamespace(code=0, manifest=json.dumps(manifest)))
    monkeypatch.setattr("d2r_airflow.launchers.launcher", lambda *_, **__: launcher)
    task = D2ROperator(task_id="task", arguments=argv)
    assert task.get_openlineage_facets_on_complete(None) is None, "nothing before the command"
    task.execute({"outlet_events": {}})
    return task.get_openlineage_facets_on_complete(None)


def tags(dataset) -> dict:
    return {tag.key: tag.value for tag in dataset.facets["tags"].tags}


def test_a_stage_names_what_it_read_and_wrote(provider, workspace, monkeypatch):
    manifest = {"stage": "annotate", "cached": False, "rows": {"lesions": 2}, "files": [part(workspace, 0, 2)]}
    said = lineage_of(monkeypatch, ANNOTATE, manifest)
    assert [(d.namespace, d.name) for d in said.inputs] == [("d2r", "main/runs/detector-0123456789ab"), ("d2r", "main/images/mimic/test")]
    model, images = said.inputs
    assert tags(model) == {"model_sha256": A} and model.facets["version"].datasetVersion == A
    assert images.inputFacets["inputStatistics"].rowCount == 2
    assert tags(images) == {"contract": contract("images")}
    (boxes,) = said.outputs
    assert (boxes.namespace, boxes.name) == ("d2r", "main/lesions/mimic/test")
    columns = {f.name: f.type for f in boxes.facets["schema"].fields}
    assert columns["image_id"] == "utf8" and columns["x_min"] == "float32"
    written = boxes.outputFacets["outputStatistics"]
    assert (written.rowCount, written.size, written.fileCount) == (2, 3, 1)
    assert tags(boxes) == {"contract": contract("lesions"), "model_sha256": A}
    assert len(boxes.facets["version"].datasetVersion) == 64


def test_another_contract_has_no_columns(workspace):
    place = facets.Place(facets.PurePosixPath("main/lake/v1/lesions/dataset=mimic/split=test/part"))
    known = facets.parts_of(workspace / "main/lake/manifests/images/dataset=mimic/split=test")
    later = [{**known[0], "contract_id": "urn:d2r:lesions", "contract_version": "9.0.0"}]
    described = facets._partition(place, later, later)
    assert described.columns == {} and described.tags["contract"] == "urn:d2r:lesions 9.0.0"


def test_training_and_export_name_models_and_bundles(workspace):
    model = {"path": "main/runs/reporter-0123456789ab/best/model.safetensors", "bytes": 9, "sha256": B}
    trained = facets.outputs(["train-reporter"], {"files": [model]}, workspace)
    assert [(d.name, d.version, d.tags) for d in trained] == [("main/runs/reporter-0123456789ab", B, {"model_sha256": B})]
    files = [{"path": f"main/previews/waiting/run-1/{name}", "bytes": 4, "sha256": A} for name in ("card.json", "step.onnx")]
    (bundle,) = facets.outputs(["export", "preview"], {"files": files}, workspace)
    assert (bundle.name, bundle.files, bundle.bytes) == ("main/previews/waiting/run-1", 2, 8)


def test_a_delivery_is_named_by_its_layout_not_its_folder(workspace):
    (delivery,) = facets.inputs(["ingest", *COMMON, "mimic", "--root", "/export/clinic-7"], workspace)
    assert delivery == facets.Described("sources/mimic")


def test_without_a_view_of_the_lake_names_and_files_are_left(workspace):
    file = {"path": "main/lake/v1/lesions/dataset=mimic/split=val/part-00000-0.parquet", "bytes": 3, "sha256": A}
    (boxes,) = facets.outputs(["annotate"], {"files": [file]}, workspace)
    assert (boxes.name, boxes.rows, boxes.bytes, boxes.columns) == ("main/lesions/mimic/val", None, 3, {})


def test_without_the_provider_nothing_is_said(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, EXTRACTORS, None)
    assert lineage_of(monkeypatch, ANNOTATE, {"stage": "annotate", "files": []}) is None


def test_the_columns_are_those_of_the_contracts():
    spec = importlib.util.spec_from_file_location("airflow_columns", ROOT / "scripts/airflow_columns.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.COLUMNS.read_text() == script.columns(), "run .venv-airflow/bin/python scripts/airflow_columns.py"


def test_the_verbs_are_those_of_the_dags(dagbag):
    from test_argv import command_lines

    verbs = {arguments[0] for _, arguments in command_lines(dagbag)}
    assert set(facets.READS) | {"phantom", "ingest", "audit", "validate"} == verbs
