"""The end of a sharded stage: nothing is announced before every shard is there, of one model, and the tables are valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from d2r_airflow import lineage
from d2r_airflow.settings import Settings
from d2r_airflow.table_parts import check_none_waits, check_one_result


def promote(manifests: Iterable[Mapping[str, Any] | None], shares: int, carried: dict[str, Any]) -> dict[str, Any]:
    """Announces the whole of a sharded stage with one event per outlet; its extras are the result.

    Fails without a retry when a shard left no manifest, or when the lake's parts are not one result (`check_one_result`).
    """
    done = [dict(m) for m in manifests if m]
    if len(done) != shares:
        raise AirflowFailException(f"{len(done)} of {shares} shards left a manifest: clear the missing ones first")
    workspace = Path(Settings.read().workspace)
    check_none_waits(workspace / str(carried.get("project", "")) / "lake", {m.get("stage") for m in done})
    check_one_result((file for manifest in done for file in manifest.get("files", ())), workspace)
    extra = lineage.extras(done, workspace, carried)
    context = get_current_context()
    for asset in context["task"].outlets:
        context["outlet_events"][asset].extra = extra
    return extra
