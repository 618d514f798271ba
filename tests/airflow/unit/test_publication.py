"""Publishing a preview: sealed with its approval, moved whole, once."""

import hashlib
import json

import pytest
from airflow.sdk.exceptions import AirflowFailException
from d2r_airflow.publication import approvers, publish_bundle

APPROVAL = {
    "chosen_options": ["Approve"],
    "params_input": {"studies_reviewed": 12, "no_patient_data": True, "comment": ""},
    "responded_at": "2026-01-01T00:00:00+00:00",
    "responded_by_user": {"id": "7", "name": "radiologist"},
}
FOLDERS = {"waiting": "main/previews/waiting/run-1", "published": "main/previews"}


FILES = {"card.json": b"{}", "step.onnx": b"model"}


def exported(files: dict[str, bytes], folder: str = FOLDERS["waiting"]) -> dict:
    """The manifest that `export preview` leaves."""
    return {"files": [{"path": f"{folder}/{n}", "sha256": hashlib.sha256(content).hexdigest()} for n, content in files.items()]}


def export(workspace, files: dict[str, bytes]) -> dict:
    for name, content in files.items():
        path = workspace / FOLDERS["waiting"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return exported(files)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("D2R_WORKSPACE", str(tmp_path))
    export(tmp_path, FILES)
    return tmp_path


def bundles(workspace) -> list:
    return sorted((workspace / "main/previews").glob("preview-*"))


def test_the_approval_is_in_the_manifest_of_the_published_bundle(workspace):
    sealed = publish_bundle(FOLDERS, exported(FILES), APPROVAL)
    bundle = workspace / "main/previews" / sealed["bundle"]
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    assert manifest["approval"] == APPROVAL
    assert manifest["files"]["step.onnx"] == hashlib.sha256(b"model").hexdigest()
    assert not (workspace / FOLDERS["waiting"]).exists()
    assert set(sealed) == {"bundle", "manifest_sha256"}


def test_publishing_twice_is_as_once(workspace):
    first = publish_bundle(FOLDERS, exported(FILES), APPROVAL)
    assert publish_bundle(FOLDERS, exported(FILES), APPROVAL) == first
    assert len(bundles(workspace)) == 1


def test_exported_and_approved_again_the_later_approval_counts(workspace):
    publish_bundle(FOLDERS, exported(FILES), APPROVAL)
    later = {**APPROVAL, "responded_at": "2026-01-02T00:00:00+00:00"}
    with pytest.raises(AirflowFailException, match="export_preview"):
        publish_bundle(FOLDERS, exported(FILES), later)
    publish_bundle(FOLDERS, export(workspace, FILES), later)
    (bundle,) = bundles(workspace)
    assert json.loads((bundle / "MANIFEST.json").read_text())["approval"] == later
    assert not (workspace / FOLDERS["waiting"]).exists()

    other = {**FILES, "step.onnx": b"another model"}
    publish_bundle(FOLDERS, export(workspace, other), later)
    assert len(bundles(workspace)) == 2, "other files are another bundle"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"chosen_options": ["Reject"]}, "not approved"),
        ({"chosen_options": []}, "not approved"),
        ({"chosen_options": ["Approve", "Reject"]}, "not approved"),
        ({"responded_by_user": None}, "names no person"),
        ({"params_input": {}}, "without the form"),
        ({"params_input": {**APPROVAL["params_input"], "no_patient_data": False}}, "without the form"),
        ({"params_input": {**APPROVAL["params_input"], "studies_reviewed": None}}, "without the form"),
    ],
)
def test_nothing_is_published_without_a_complete_approval_by_a_person(workspace, change, why):
    with pytest.raises(AirflowFailException, match=why):
        publish_bundle(FOLDERS, exported(FILES), {**APPROVAL, **change})
    assert (workspace / FOLDERS["waiting"]).exists()
    assert bundles(workspace) == []


@pytest.mark.parametrize("change", [{"step.onnx": b"other model"}, {"new.html": b"<p>"}])
def test_what_changed_while_it_waited_is_not_published(workspace, change):
    export(workspace, change)
    (name,) = change
    with pytest.raises(AirflowFailException, match=f"{name} in .* changed since the export"):
        publish_bundle(FOLDERS, exported(FILES), APPROVAL)
    assert bundles(workspace) == []


def test_a_bundle_that_lost_a_file_is_not_published(workspace):
    (workspace / FOLDERS["waiting"] / "card.json").unlink()
    with pytest.raises(AirflowFailException, match="card.json"):
        publish_bundle(FOLDERS, exported(FILES), APPROVAL)


def test_a_bundle_that_is_gone_says_what_to_clear(workspace):
    gone = {**FOLDERS, "waiting": "main/previews/waiting/other"}
    with pytest.raises(AirflowFailException, match="export_preview"):
        publish_bundle(gone, exported(FILES, gone["waiting"]), APPROVAL)


def test_approvers_of_the_environment():
    assert approvers("") is None
    assert approvers("7=Radiologist One, 8") == [{"id": "7", "name": "Radiologist One"}, {"id": "8", "name": "8"}]
