"""Airflow's REST API, as a person's tool would call it."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

FINAL = {"success", "failed"}


class AirflowApi:
    """A client of the API server at `address`."""

    def __init__(self, address: str):
        self.api = httpx.Client(base_url=address, timeout=60)

    def log_in(self, user: str, password: str) -> bool:
        """Whether the server gave a token, which later calls send along."""
        token = self.api.post("/auth/token", json={"username": user, "password": password})
        if token.status_code != 201:
            return False
        self.api.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        return True

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._json(self.api.get("/api/v2" + path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._json(self.api.post("/api/v2" + path, json=body))

    def patch(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        return self._json(self.api.patch("/api/v2" + path, json=body, params=query))

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            raise RuntimeError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def unpause(self, *dags: str) -> None:
        for dag in dags:
            self.patch(f"/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if run_id:
            body["dag_run_id"] = run_id
        return self.post(f"/dags/{dag}/dagRuns", body)["dag_run_id"]

    def run(self, dag: str, run_id: str) -> dict[str, Any]:
        return self.get(f"/dags/{dag}/dagRuns/{run_id}")

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        return self.get(f"/dags/{dag}/dagRuns/{run_id}/taskInstances", limit=500)["task_instances"]

    def task(self, dag: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any] | None:
        for task in self.tasks(dag, run_id):
            if task["task_id"] == task_id and task["map_index"] == map_index:
                return task
        return None

    def wait(self, dag: str, run_id: str, seconds: float = 600) -> str:
        """The run's final state."""
        return self.until(lambda: self.run(dag, run_id)["state"], FINAL, seconds, f"{dag} {run_id}")

    def wait_task(self, dag: str, run_id: str, task_id: str, states: set[str], map_index: int = -1, seconds: float = 300) -> str:
        def state() -> str | None:
            task = self.task(dag, run_id, task_id, map_index)
            return task and task["state"]

        return self.until(state, states, seconds, f"{dag} {run_id} {task_id}[{map_index}]")

    @staticmethod
    def until(state: Any, wanted: set[str], seconds: float, what: str) -> str:
        until = time.monotonic() + seconds
        seen = None
        while time.monotonic() < until:
            seen = state()
            if seen in wanted:
                return seen
            time.sleep(0.5)
        raise TimeoutError(f"{what} is {seen} after {seconds} s, not {' or '.join(sorted(wanted))}")

    def clear(self, dag: str, run_id: str, task_ids: list[Any] | None = None, **options: Any) -> None:
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True, **options}
        if task_ids:
            body["task_ids"] = task_ids
        self.post(f"/dags/{dag}/clearTaskInstances", body)

    def log(self, dag: str, run_id: str, task_id: str, map_index: int = -1, attempt: int = 1) -> str:
        answer = self.get(
            f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}", map_index=map_index, full_content=True
        )
        return "\n".join(json.dumps(line) for line in answer["content"])
