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
    "responded_by_user": {"id": "7", "name": "reader"},
}
FOLDERS = {"waiting": "main/previews/waiting/run-1", "published": "main/previews"}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("D2R_WORKSPACE", str(tmp_path))
    waiting = tmp_path / FOLDERS["waiting"]
    waiting.mkdir(parents=True)
    (waiting / "card.json").write_text("{}")
    (waiting / "step.onnx").write_bytes(b"model")
    return tmp_path


def test_the_approval_is_in_the_manifest_of_the_published_bundle(workspace):
    sealed = publish_bundle(FOLDERS, APPROVAL)
    bundle = workspace / "main/previews" / sealed["bundle"]
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    assert manifest["approval"] == APPROVAL
    assert manifest["files"]["step.onnx"] == hashlib.sha256(b"model").hexdigest()
    assert not (workspace / FOLDERS["waiting"]).exists()
    assert set(sealed) == {"bundle", "manifest_sha256"}


def test_publishing_twice_is_as_once(workspace):
    first = publish_bundle(FOLDERS, APPROVAL)
    assert publish_bundle(FOLDERS, APPROVAL) == first
    assert len(list((workspace / "main/previews").glob("preview-*"))) == 1


@pytest.mark.parametrize("options", [["Reject"], [], ["Approve", "Reject"]])
def test_nothing_is_published_without_approval(workspace, options):
    with pytest.raises(AirflowFailException, match="not approved"):
        publish_bundle(FOLDERS, {**APPROVAL, "chosen_options": options})
    assert (workspace / FOLDERS["waiting"]).exists()


def test_a_bundle_that_is_gone_says_what_to_clear(workspace):
    with pytest.raises(AirflowFailException, match="export_preview"):
        publish_bundle({**FOLDERS, "waiting": "main/previews/waiting/other"}, APPROVAL)


def test_approvers_of_the_environment():
    assert approvers("") is None
    assert approvers("7=Reader One, 8") == [{"id": "7", "name": "Reader One"}, {"id": "8", "name": "8"}]
