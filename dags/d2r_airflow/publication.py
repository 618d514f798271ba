"""Publishing a preview bundle: the approval record goes into its manifest, then the folder moves to its place."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from d2r_airflow.lineage import digest
from d2r_airflow.settings import Settings

MANIFEST = "MANIFEST.json"


def slug(run_id: str) -> str:
    """A run id as a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-.")


def approvers(listed: str) -> list[dict[str, str]] | None:
    """`D2R_APPROVERS` (`id=Name,id=Name`) as Airflow wants it; nobody in particular when empty."""
    pairs = [entry.partition("=") for entry in listed.split(",") if entry.strip()]
    return [{"id": id.strip(), "name": (name or id).strip()} for id, _, name in pairs] or None


def publish_bundle(folders: dict[str, str], approval: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest (files, digests, approval) and renames the folder; twice is as once. Says what was published."""
    if approval.get("chosen_options") != ["Approve"]:
        raise AirflowFailException("the bundle is not approved")
    workspace = Path(Settings.read().workspace)
    waiting, published = workspace / folders["waiting"], workspace / folders["published"]
    done = next((b for b in published.glob("*/" + MANIFEST) if json.loads(b.read_text())["waited_in"] == waiting.name), None)
    if done is None:
        if not waiting.is_dir():
            raise AirflowFailException(f"no bundle in {folders['waiting']}: clear `export_preview`")
        files = {
            str(path.relative_to(waiting)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(waiting.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
        sealed = {"waited_in": waiting.name, "files": files, "approval": approval}
        _write(waiting / MANIFEST, json.dumps(sealed, indent=2, default=str) + "\n")
        bundle = published / f"preview-{digest([f'{n} {d}' for n, d in files.items()])[:12]}-{waiting.name}"
        waiting.rename(bundle)
        done = bundle / MANIFEST
    return {"bundle": done.parent.name, "manifest_sha256": hashlib.sha256(done.read_bytes()).hexdigest()}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
