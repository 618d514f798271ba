"""The operator with the built command on a real lake, and what its asset events say."""

import json
import subprocess
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors
from d2r_airflow import assets, lineage
from d2r_airflow.operator import D2ROperator

TINY = ["--preset", "tiny", "--lake", "main/lake", "--runs", "main/runs"]


@pytest.fixture(scope="module")
def workspace(d2r, tmp_path_factory):
    """Phantoms in the layouts of the real data sets."""
    folder = tmp_path_factory.mktemp("workspace")
    subprocess.run([d2r, "phantom", "--preset", "tiny", "--out", "phantom", "--quiet"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def run(d2r, workspace, monkeypatch):
    monkeypatch.setenv("D2R_BIN", d2r)
    monkeypatch.setenv("D2R_WORKSPACE", str(workspace))

    def run(arguments, **options):
        task = D2ROperator(task_id="task", arguments=arguments, **options)
        events = OutletEventAccessors()
        return task.execute({"task": task, "outlet_events": events, "ti": SimpleNamespace()}), events

    return run


def test_a_verb_leaves_its_manifest_and_announces_contracts_rows_and_digests(run, workspace):
    manifest, events = run(
        ["ingest", TINY, "mimic", "--root", "phantom/mimic"], outlets=[assets.IMAGES], carried={"project": "main"}
    )
    assert manifest["stage"] == "ingest" and manifest["rows"]["images"] > 0
    extra = events[assets.IMAGES].extra
    assert extra["project"] == "main"
    assert extra["rows"] == manifest["rows"]
    assert extra["parts"] == len(manifest["files"])
    assert len(extra["parts_sha256"]) == 64
    assert extra["contracts"]["images"] == "urn:d2r:images 1.1.0"
    assert str(workspace) not in json.dumps([manifest, extra]), "paths are relative to the workspace"

    again, events = run(["ingest", TINY, "mimic", "--root", "phantom/mimic"], outlets=[assets.IMAGES])
    assert again["cached"] is True and again["files"] == manifest["files"]
    assert events[assets.IMAGES].extra["parts_sha256"] == extra["parts_sha256"]


def test_no_report_text_reaches_manifest_extras_or_log(run, workspace, caplog):
    with caplog.at_level("DEBUG"):
        manifest, events = run(["ingest", TINY, "mimic", "--root", "phantom/mimic", "--dataset", "again"], outlets=[assets.REPORTS])
    said = json.dumps([manifest, events[assets.REPORTS].extra]) + caplog.text
    texts = [path.read_text() for path in (workspace / "phantom").rglob("*.txt")]
    sentences = {s.strip() for t in texts for s in t.replace("\n", " ").split(".") if len(s.strip()) > 15}
    assert len(sentences) > 5
    assert not [s for s in sentences if s in said]


def test_input_that_is_not_there_fails_without_retry(run):
    with pytest.raises(AirflowFailException, match="66"):
        run(["ingest", TINY, "mimic", "--root", "nowhere"])


def test_a_flag_that_the_command_does_not_know_fails_without_retry(run):
    with pytest.raises(AirflowFailException, match="2 .usage"):
        run(["audit", "--no-such-flag"])


def test_a_model_is_announced_by_run_and_digest(tmp_path):
    manifest = {
        "stage": "train-detector",
        "cached": False,
        "rows": {"train_log": 5},
        "files": [{"path": "main/runs/detector-0123456789ab/best/model.safetensors", "bytes": 1, "sha256": "ab" * 32}],
    }
    extra = lineage.extras([manifest], tmp_path, {"project": "main"})
    assert extra["detector"] == "detector-0123456789ab"
    assert extra["model_sha256"] == "ab" * 32
    assert lineage.run_folder(manifest) == "main/runs/detector-0123456789ab"
    with pytest.raises(ValueError, match="names no weights"):
        lineage.run_folder({"stage": "audit", "files": []})


def test_shards_add_up(tmp_path):
    part = {"stage": "annotate", "cached": True, "rows": {"lesions": 2}, "files": [{"path": "b", "sha256": "2"}]}
    other = {"stage": "annotate", "cached": False, "rows": {"lesions": 3}, "files": [{"path": "a", "sha256": "1"}]}
    one, two = lineage.extras([part, other], tmp_path), lineage.extras([other, part], tmp_path)
    assert one["rows"] == {"lesions": 5} and one["parts"] == 2 and one["cached"] is False
    assert one["parts_sha256"] == two["parts_sha256"], "the order of shards does not matter"


