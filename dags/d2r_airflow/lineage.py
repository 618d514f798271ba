"""Extras of an asset event: contracts, rows, digests and model of the version. No report text, no patient data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from d2r_airflow.table_parts import Place, parts_of

WEIGHTS = "best/model.safetensors"


def extras(manifests: Sequence[dict[str, Any]], workspace: Path, carried: dict[str, Any] | None = None) -> dict[str, Any]:
    """The extras of an event for the work that these manifests report, with what later DAGs need in `carried`."""
    files = sorted((f for m in manifests for f in m.get("files", ())), key=lambda f: f["path"])
    rows: dict[str, int] = {}
    for manifest in manifests:
        for table, n in manifest.get("rows", {}).items():
            rows[table] = rows.get(table, 0) + n
    said: dict[str, Any] = {
        **(carried or {}),
        "stage": manifests[0].get("stage") if manifests else None,
        "cached": all(m.get("cached", False) for m in manifests),
        "rows": rows,
        "parts": len(files),
        "parts_sha256": digest([f["sha256"] for f in files]),
        **lake_facts(files, workspace),
    }
    if weights := next((f for f in files if f["path"].endswith(WEIGHTS)), None):
        run_id = PurePosixPath(weights["path"]).parent.parent.name
        # `detector-0123456789ab` goes under `detector`, where the triggered DAGs read it.
        said[run_id.split("-")[0]] = run_id
        said["model_sha256"] = weights["sha256"]
    return said


def run_folder(manifest: dict[str, Any]) -> str:
    """The run directory of a training verb's manifest: the folder that holds its best weights."""
    for file in manifest.get("files", ()):
        if file["path"].endswith(WEIGHTS):
            return str(PurePosixPath(file["path"]).parent.parent)
    raise ValueError(f"the manifest of {manifest.get('stage')} names no weights")


def lake_facts(files: Iterable[dict[str, Any]], workspace: Path) -> dict[str, Any]:
    """Contract of each table and the model behind the rows, from the lake's manifests of these parts.

    Empty where the worker cannot see the lake (a pod's volume, for instance).
    """
    contracts: dict[str, str] = {}
    models: set[str] = set()
    known: dict[PurePosixPath, dict[str, dict[str, Any]]] = {}
    for file in files:
        if not (place := Place.of(file["path"])):
            continue
        if place.manifests not in known:
            known[place.manifests] = {part["file"]: part for part in parts_of(workspace / place.manifests)}
        if part := known[place.manifests].get(place.file):
            contracts[part["table"]] = f"{part['contract_id']} {part['contract_version']}"
            if part["model_sha256"]:
                models.add(part["model_sha256"])
    facts: dict[str, Any] = {"contracts": contracts} if contracts else {}
    if len(models) == 1:
        facts["model_sha256"] = models.pop()
    return facts


def digest(values: Sequence[str]) -> str:
    """SHA-256 of the lines."""
    return hashlib.sha256("\n".join(values).encode()).hexdigest()
