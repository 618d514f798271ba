"""The one alert hook: failed runs, missed deadlines, waiting approvals, passed-over projects go to the connection `d2r_alerts`."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import BaseHook, BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

CONNECTION = "d2r_alerts"
TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Alert(BaseNotifier):
    """Posts the event with DAG, run and task as JSON, with a `text` for chat webhooks. No parameters, no data."""

    def __init__(self, what: str):
        super().__init__()
        self.what = what

    def notify(self, context: dict[str, Any]) -> None:
        run = context.get("dag_run")
        task = context.get("task_instance") if self.what != "run failed" else None
        send(self.what, dag_id=getattr(run, "dag_id", None), run_id=getattr(run, "run_id", None), task_id=getattr(task, "task_id", None))


def deadline_missed(context: dict[str, Any] | None = None, **_: Any) -> None:
    """The callback of every DAG's deadline."""
    run = (context or {}).get("dag_run") or {}
    send("deadline missed", dag_id=run.get("dag_id"), run_id=run.get("run_id") or run.get("dag_run_id"))


def send(what: str, **where: str | None) -> None:
    """Posts to the connection's host. Without the connection, or when it does not answer, the alert is a log line; no task fails on it."""
    import httpx  # here, because every DAG file imports this module and httpx is slow to load

    where = {name: value for name, value in where.items() if value}
    text = f"D2R: {what}: " + ", ".join(f"{name} {value}" for name, value in where.items())
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except (AirflowNotFoundException, AirflowRuntimeError) as e:
        log.warning("%s (no connection %s: %s)", text, CONNECTION, type(e).__name__)
        return
    headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
    address = f"{connection.schema or 'https'}://{connection.host}"
    if connection.port:
        address += f":{connection.port}"
    path = connection.extra_dejson.get("path", "/")
    try:
        httpx.post(address + path, json={"text": text, "event": what, **where}, headers=headers, timeout=TIMEOUT_S).raise_for_status()
    except httpx.HTTPError as e:
        log.error("%s (not delivered: %s)", text, e)
