"""What a task tells OpenLineage: datasets that it read and wrote, by names, columns, row counts and digests.

Names hold the project, tables, partitions and runs. Nothing holds rows, texts, ids of patients or images, or paths outside the
workspace. The provider of OpenLineage is imported when it asks, and need not be installed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from d2r_airflow.lineage import WEIGHTS, digest
from d2r_airflow.table_parts import Place, parts_of

NAMESPACE = "d2r"
# The tables that a verb reads, of the partitions that its flags name.
READS = {
    "annotate": ("images",),
    "train-detector": ("images", "lesions"),
    "train-reporter": ("images", "lesions", "reports"),
    "report": ("images", "lesions"),
    "distill": ("images", "lesions", "reports"),
    "evaluate": ("images", "lesions", "reports", "generated_reports", "report_sentences", "sentence_boxes"),
    "export": ("images", "reports", "generated_reports"),
}
DATASET_FLAGS = ("--dataset", "--unlabelled")
MODEL_FLAGS = ("--detector", "--reporter", "--preview-model", "--labeller", "--init")
LAYOUTS = ("vindr", "mimic", "iu-xray")


@dataclass
class Described:
    """A dataset as OpenLineage will see it; `rows` and `bytes` are sums over its `files`."""

    name: str
    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    version: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def outputs(argv: Sequence[str], manifest: dict[str, Any], workspace: Path) -> list[Described]:
    """The partitions, models and bundles that the verb's manifest names."""
    partitions: dict[PurePosixPath, list[tuple[Place, dict[str, Any]]]] = {}
    folders: dict[PurePosixPath, list[dict[str, Any]]] = {}
    found = []
    for file in manifest.get("files", ()):
        if place := Place.of(file["path"]):
            partitions.setdefault(place.manifests, []).append((place, file))
        elif file["path"].endswith(WEIGHTS):
            run = str(PurePosixPath(file["path"]).parent.parent)
            found.append(Described(run, bytes=file["bytes"], files=1, version=file["sha256"], tags={"model_sha256": file["sha256"]}))
        elif argv[0] == "export":
            folders.setdefault(PurePosixPath(file["path"]).parent, []).append(file)
    for folder, files in folders.items():
        found.append(Described(str(folder), None, sum(f["bytes"] for f in files), len(files), _version(files)))
    for folder, written in partitions.items():
        names = {(place.file, file["sha256"]) for place, file in written}
        parts = [part for part in parts_of(workspace / folder) if (part["file"], part["sha256"]) in names]
        found.append(_partition(written[0][0], parts, [file for _, file in written]))
    return found


def inputs(argv: Sequence[str], workspace: Path) -> list[Described]:
    """The delivery, the models and the partitions that the verb's arguments name, as they are now."""
    values = {flag: [after for word, after in zip(argv, argv[1:], strict=False) if word == flag] for flag in _flags()}
    found = []
    if argv[0] == "ingest" and (layout := next((word for word in argv if word in LAYOUTS), None)):
        found.append(Described(f"sources/{layout}"))
    for run in [run for flag in MODEL_FLAGS for run in values[flag]]:
        sha256 = _model_of(workspace / run)
        found.append(Described(run, version=sha256, tags={"model_sha256": sha256} if sha256 else {}))
    lake = PurePosixPath(values["--lake"][0]) if values["--lake"] else None
    for table in READS.get(argv[0], ()) if lake else ():
        for dataset in [dataset for flag in DATASET_FLAGS for dataset in values[flag]]:
            for split in values["--split"] or ("train", "val", "test"):
                place = Place(lake / "v1" / table / f"dataset={dataset}" / f"split={split}" / "part")
                if parts := parts_of(workspace / place.manifests):
                    found.append(_partition(place, parts, parts))
    return found


def operator_lineage(argv: Sequence[str], manifest: dict[str, Any], workspace: Path) -> Any | None:
    """The provider's `OperatorLineage` of a finished command; nothing where the provider is not installed."""
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
        from openlineage.client.facet_v2 import input_statistics_input_dataset, output_statistics_output_dataset
    except ImportError:
        return None
    read = input_statistics_input_dataset.InputStatisticsInputDatasetFacet
    written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet

    def statistics(facet: type, name: str, of: Described) -> dict[str, Any]:
        return {name: facet(rowCount=of.rows, size=of.bytes, fileCount=of.files)} if of.files else {}

    return OperatorLineage(
        inputs=[
            InputDataset(NAMESPACE, of.name, facets=_facets(of), inputFacets=statistics(read, "inputStatistics", of))
            for of in inputs(argv, workspace)
        ],
        outputs=[
            OutputDataset(NAMESPACE, of.name, facets=_facets(of), outputFacets=statistics(written, "outputStatistics", of))
            for of in outputs(argv, manifest, workspace)
        ],
    )


def _facets(of: Described) -> dict[str, Any]:
    """OpenLineage's own facets: columns, version, and contract and model as tags."""
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset, tags_dataset

    found: dict[str, Any] = {}
    if of.columns:
        columns = [schema_dataset.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in of.columns.items()]
        found["schema"] = schema_dataset.SchemaDatasetFacet(fields=columns)
    if of.version:
        found["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=of.version)
    if of.tags:
        tags = [tags_dataset.TagsDatasetFacetFields(key=key, value=value, source="d2r") for key, value in of.tags.items()]
        found["tags"] = tags_dataset.TagsDatasetFacet(tags=tags)
    return found


def _partition(place: Place, parts: Sequence[dict[str, Any]], files: Sequence[dict[str, Any]]) -> Described:
    """A partition by its parts; by its files alone where the worker cannot see the lake's manifests."""
    tags, columns = {}, {}
    if parts:
        contract = f"{parts[0]['contract_id']} {parts[0]['contract_version']}"
        known = contract_columns().get(place.table, {})
        columns = known["columns"] if known.get("contract") == contract else {}
        tags["contract"] = contract
        models = sorted({part["model_sha256"] for part in parts if part["model_sha256"]})
        if models:
            tags["model_sha256"] = ",".join(models)
    rows = sum(part["rows"] for part in parts) if len(parts) == len(files) else None
    name = f"{place.lake.parent}/{place.table}/{place.partition}"
    return Described(name, rows, sum(file["bytes"] for file in files), len(files), _version(files), columns, tags)


def _version(files: Sequence[dict[str, Any]]) -> str:
    return digest(sorted(file["sha256"] for file in files))


def _model_of(run: Path) -> str | None:
    """The digest of a run's weights, as its card states it."""
    try:
        return json.loads((run / "card.json").read_text())["model_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _flags() -> tuple[str, ...]:
    return (*DATASET_FLAGS, *MODEL_FLAGS, "--split", "--lake")


@cache
def contract_columns() -> dict[str, dict[str, Any]]:
    """Contract and columns of every table, as `scripts/airflow_columns.py` wrote them."""
    return json.loads(Path(__file__).with_name("columns.json").read_text())
