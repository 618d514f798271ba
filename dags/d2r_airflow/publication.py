"""Publishing a preview bundle: the approval record goes into its manifest, then the folder moves to its place."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from d2r_airflow.lineage import digest
from d2r_airflow.settings import Settings

MANIFEST = "MANIFEST.json"


def slug(run_id: str) -> str:
    """A run id as a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-._")


def approvers(listed: str) -> list[dict[str, str]] | None:
    """`D2R_APPROVERS` (`id=Name,id=Name`) in Airflow's form; `None` (everyone) when empty."""
    pairs = [entry.partition("=") for entry in listed.split(",") if entry.strip()]
    return [{"id": id.strip(), "name": (name or id).strip()} for id, _, name in pairs] or None


def publish_bundle(folders: dict[str, str], exported: dict[str, Any], approval: dict[str, Any]) -> dict[str, Any]:
    """Writes the approval record into the bundle of `export preview`, then renames its folder; a retry finds it done.

    Fails without a retry unless a person approved it and filled in the form, and when its files are not those of `exported`,
    the manifest of the export: the published files are the reviewed files.
    """
    record = approved(approval)
    workspace = Path(Settings.read().workspace)
    waiting, published = workspace / folders["waiting"], workspace / folders["published"]
    if not waiting.is_dir():
        return _sealed(_of_this_approval(published, waiting.name, record))
    files = _as_exported(waiting, folders["waiting"], exported)
    manifest = json.dumps({"waited_in": waiting.name, "files": files, "approval": record}, indent=2) + "\n"
    bundle = published / f"preview-{digest([f'{n} {d}' for n, d in files.items()])[:12]}-{waiting.name}"
    if bundle.is_dir():
        # The same files, exported and approved again: the later approval counts.
        _write(bundle / MANIFEST, manifest)
        shutil.rmtree(waiting)
    else:
        _write(waiting / MANIFEST, manifest)
        waiting.rename(bundle)
    return _sealed(bundle / MANIFEST)


def approved(approval: dict[str, Any]) -> dict[str, Any]:
    """The record of an approval as JSON values; fails when it is none."""
    record = json.loads(json.dumps(approval, default=str))
    if record.get("chosen_options") != ["Approve"]:
        raise AirflowFailException("the bundle is not approved")
    if not (record.get("responded_by_user") or {}).get("id") or not record.get("responded_at"):
        raise AirflowFailException("the approval names no person: clear `approve` and answer again")
    form = record.get("params_input") or {}
    if not form.get("studies_reviewed") or form.get("no_patient_data") is not True:
        raise AirflowFailException(
            "approved without the form: clear `approve`, then say how many studies were reviewed and that no patient can be recognised"
        )
    return record


def _as_exported(waiting: Path, name: str, exported: dict[str, Any]) -> dict[str, str]:
    """Digests by file name, after checking that they are those of the export and that no other file is there."""
    wanted = {str(PurePosixPath(f["path"]).relative_to(name)): f["sha256"] for f in exported["files"]}
    found = {
        path.relative_to(waiting).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(waiting.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, f".{MANIFEST}.tmp")
    }
    if found != wanted:
        changed = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
        raise AirflowFailException(
            f"{', '.join(changed)} in {name} changed since the export: find out why, empty the folder, clear `export_preview`"
        )
    return found


def _of_this_approval(published: Path, waited_in: str, record: dict[str, Any]) -> Path:
    for path in published.glob("*/" + MANIFEST):
        manifest = json.loads(path.read_text())
        if manifest["waited_in"] == waited_in and manifest["approval"] == record:
            return path
    raise AirflowFailException(f"no bundle waits as {waited_in} (published before?): clear `export_preview` to publish another")


def _sealed(manifest: Path) -> dict[str, Any]:
    return {"bundle": manifest.parent.name, "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
