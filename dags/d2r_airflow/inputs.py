"""Inputs of a run: the form's fields, completed by the event that triggered the run. Fixed once, in its first task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from d2r_airflow.alerts import send
from d2r_airflow.params import FOLDER, NAME, OVERRIDE, PARTITION

DEFAULT_PROJECT = "main"
# What an event from outside must not set: it opens files that are not marked as de-identified. A person may, in a form, and
# the events of that DAG carry it on.
FORBIDDEN = "ingest.allow_phi"
# Inputs that a task may have: the flag, and whether the value is a run.
OPTIONAL = {"unlabelled": ("--unlabelled", False), "init": ("--init", True), "labellers": ("--labeller", True)}


def newest_extra(events: Mapping[Any, Sequence[Any]]) -> dict[str, Any]:
    """The extras of the youngest event that triggered the run; empty when a person did."""
    event = newest(events)
    return dict(event.extra or {}) if event else {}


def newest(events: Mapping[Any, Sequence[Any]]) -> Any | None:
    """The youngest event that triggered the run; nothing when a person did."""
    every = [event for of_asset in events.values() for event in of_asset]
    return max(every, key=lambda e: e.timestamp, default=None)


def project_of(event: Any) -> str:
    """The project of an event."""
    return (event.extra or {}).get("project") or DEFAULT_PROJECT


def other_projects(events: Mapping[Any, Sequence[Any]]) -> list[str]:
    """The projects of the run's older events: a run works on one project, the youngest event's."""
    every = {project_of(event) for of_asset in events.values() for event in of_asset}
    return sorted(every - {newest_extra(events).get("project") or DEFAULT_PROJECT})


def decide(
    params: Mapping[str, Any],
    event: Mapping[str, Any],
    wanted: Iterable[str],
    otherwise: Mapping[str, Any] | None = None,
    optional: Iterable[str] = (),
    from_dag: bool = False,
) -> dict[str, Any]:
    """`common` arguments, the project, and the `wanted` values: the form's where filled in, else the event's, else `otherwise`.

    The `optional` values that are given become arguments, under the name `optional`. `from_dag`: a task made the event; it was
    not posted.
    """
    def given(name: str, default: Any = None) -> Any:
        return params.get(name) or event.get(name) or default

    carried = {"project": given("project", DEFAULT_PROJECT), "preset": given("preset", "default"), "overrides": given("overrides", [])}
    project = carried["project"]
    check("project", project, FOLDER)
    check("preset", carried["preset"], NAME)
    for override in carried["overrides"]:
        check("overrides", override, OVERRIDE)
        if override.startswith(FORBIDDEN) and not params.get("overrides") and not from_dag:
            raise AirflowFailException(f"an event from outside sets {FORBIDDEN}; only a person may, in the form")
    common = ["--lake", f"{project}/lake", "--runs", f"{project}/runs", "--preset", carried["preset"]]
    for override in carried["overrides"]:
        common += ["--set", override]
    chosen: dict[str, Any] = {"project": project, "common": common, "carried": carried}
    for name in wanted:
        value = given(name, (otherwise or {}).get(name))
        if not value:
            raise AirflowFailException(f"`{name}` is not given, and no asset event triggered this run: fill in the form's field")
        for text in [value] if isinstance(value, str) else value:
            check(name, text, PARTITION if name == "partitions" else NAME)
        chosen["carried"][name] = value
        chosen[name] = f"{project}/runs/{value}" if name in ("detector", "reporter") else value
    chosen["optional"] = []
    for name in optional:
        flag, is_run = OPTIONAL[name]
        value = given(name)
        for text in [value] if isinstance(value, str) else value or []:
            check(name, text, NAME)
            chosen["carried"][name] = value
            chosen["optional"] += [flag, f"{project}/runs/{text}" if is_run else text]
    return chosen


def check(name: str, value: Any, pattern: str) -> None:
    """An event's extra has not been through the form's checks."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise AirflowFailException(f"`{name}` of the form or the event is {value!r}, which does not match {pattern}")


@task(multiple_outputs=True)
def choose(
    wanted: Sequence[str] = (), otherwise: Mapping[str, Any] | None = None, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The first task: a retry or a cleared shard later on works on the same inputs."""
    context = get_current_context()
    events = context["triggering_asset_events"]
    # Airflow gives all events that arrived meanwhile to one run.
    if others := other_projects(events):
        send("passed over", dag_id=context["dag"].dag_id, run_id=context["run_id"], projects=", ".join(others))
    from_dag = bool(getattr(newest(events), "source_dag_id", None))
    return decide(context["params"], newest_extra(events), wanted, otherwise, optional, from_dag)


def shares(shards: int, partitions: Sequence[str] = ()) -> list[list[str]]:
    """The arguments of every mapped task: each shard of each partition."""
    places = [["--dataset", p.split("/")[0], "--split", p.split("/")[1]] for p in partitions] or [[]]
    return [[*place, "--shard", f"{i}/{shards}"] for place in places for i in range(shards)]


@task
def share_out(partitions: Sequence[str] = ()) -> list[list[str]]:
    """One list of arguments per mapped task."""
    return shares(get_current_context()["params"]["shards"], partitions)
