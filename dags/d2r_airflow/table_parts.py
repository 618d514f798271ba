"""Parts of the lake's tables, from the manifests in `LAKE/manifests`; and what makes them one result.

`LAKE/v1/<table>/dataset=<d>/split=<s>/part-*.parquet` is described in
`LAKE/manifests/<table>/dataset=<d>/split=<s>/<producer>/<index>-of-<count>.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

# Boxes of every producer are read together; parts of other tables belong to their producer.
READ_TOGETHER = "lesions"


class Place:
    """The partition of a table that a part's file belongs to; its `lake` and `file` are relative to the workspace and the lake."""

    def __init__(self, file: PurePosixPath):
        self.lake, self.file = PurePosixPath(*file.parts[:-5]), str(PurePosixPath(*file.parts[-5:]))
        self.table, self.partition = file.parts[-4], "/".join(part.partition("=")[2] for part in file.parts[-3:-1])
        self.manifests = self.lake / "manifests" / PurePosixPath(*file.parts[-4:-1])

    @classmethod
    def of(cls, path: str) -> Place | None:
        """The place of a Parquet file of a lake; nothing for other files."""
        file = PurePosixPath(path)
        return cls(file) if file.suffix == ".parquet" and len(file.parts) >= 5 else None


def parts_of(folder: Path) -> list[dict[str, Any]]:
    """The parts that a partition's manifests describe; of every producer those of its newest shard count.

    None where the folder is not there, as on a worker that cannot see the lake.
    """
    every = [part for path in sorted(folder.glob("*/*.json")) if "file" in (part := json.loads(path.read_text()).get("part", {}))]
    newest: dict[str, int] = {}
    for part in every:
        newest[part["producer"]] = max(part["generation"], newest.get(part["producer"], 0))
    return [part for part in every if part["generation"] == newest[part["producer"]]]


def check_one_result(files: Iterable[dict[str, Any]], workspace: Path) -> None:
    """Refuses, without a retry, a lake in which the partitions of these files are not the result of one run with one model.

    That is: a part that another run has replaced, shards that are missing, parts of two models. Tables that keep every run
    (metrics, timings) are left out. Does nothing where the lake's manifests cannot be seen.
    """
    written: dict[PurePosixPath, list[tuple[Place, str]]] = {}
    for file in files:
        if place := Place.of(file["path"]):
            written.setdefault(place.manifests, []).append((place, file["sha256"]))
    for folder, files_of_partition in written.items():
        place = files_of_partition[0][0]
        name = f"table {place.table}, partition {place.partition}"
        parts = parts_of(workspace / folder)
        if not parts and not (workspace / place.lake / "manifests").is_dir():
            continue
        if any(part["producer"] == part["run_id"] for part in parts):
            continue
        # A task that was cleared alone may have written a file again: one of the run's digests must be the lake's.
        ours = {place.file for place, _ in files_of_partition}
        there = {part["file"]: part["sha256"] for part in parts}
        kept = {place.file for place, sha256 in files_of_partition if there.get(place.file) == sha256}
        if gone := ours - kept:
            raise AirflowFailException(
                f"{name}: {len(gone)} of {len(ours)} parts of this run were replaced meanwhile: clear all shards, one run at a time"
            )
        for producer in sorted({part["producer"] for part in parts}):
            of_producer = [part for part in parts if part["producer"] == producer]
            _check_shards(name, producer, of_producer)
            _check_models(name, of_producer)
        if place.table == READ_TOGETHER:
            _check_models(name, parts)


def check_none_waits(lake: Path, verbs: Iterable[str]) -> None:
    """Refuses, without a retry, a lake in which shards of these verbs wait for others: the tables are those of before."""
    for folder in sorted((lake / "pending").glob("*-*")):
        verb = folder.name.rpartition("-")[0]
        if verb in verbs and any(folder.glob("*-of-*.json")):
            raise AirflowFailException(
                f"shards of {verb} wait for others of the same inputs, settings and model ({folder.name}), so that the tables are"
                " those of before: clear all shards; what an earlier run left goes with `d2r lake repair --waiting`"
            )


def _check_shards(name: str, producer: str, parts: list[dict[str, Any]]) -> None:
    counts = sorted({part["shard"]["count"] for part in parts})
    if len(counts) > 1:
        listed = " and ".join(map(str, counts))
        raise AirflowFailException(f"{name}: {producer} left shards of two sets, of {listed}: run all shards of one set again")
    missing = sorted(set(range(counts[0])) - {part["shard"]["index"] for part in parts})
    if missing:
        raise AirflowFailException(
            f"{name}: {producer} has not written {len(missing)} of {counts[0]} shards, the first is {missing[0]}/{counts[0]}"
        )


def _check_models(name: str, parts: list[dict[str, Any]]) -> None:
    models = sorted({part["model_sha256"][:12] for part in parts if part.get("model_sha256")})
    if len(models) > 1:
        raise AirflowFailException(f"{name}: parts of two models, {' and '.join(models)}: run all shards again with one model")
