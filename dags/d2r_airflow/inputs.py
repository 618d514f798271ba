"""What a run works on: the form's fields, completed by the event that triggered the run. Decided once, in its first task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

DEFAULT_PROJECT = "main"


def newest_extra(events: Mapping[Any, Sequence[Any]]) -> dict[str, Any]:
    """The extras of the youngest event that triggered the run; empty when a person did."""
    every = [event for of_asset in events.values() for event in of_asset]
    return dict(max(every, key=lambda e: e.timestamp).extra or {}) if every else {}


def decide(params: Mapping[str, Any], event: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """`common` arguments, the project, and the `wanted` values: the form's where filled in, else the event's."""
    def given(name: str, default: Any = None) -> Any:
        return params.get(name) or event.get(name) or default

    carried = {"project": given("project", DEFAULT_PROJECT), "preset": given("preset", "default"), "overrides": given("overrides", [])}
    project = carried["project"]
    common = ["--lake", f"{project}/lake", "--runs", f"{project}/runs", "--preset", carried["preset"]]
    for override in carried["overrides"]:
        common += ["--set", override]
    chosen: dict[str, Any] = {"project": project, "common": common, "carried": carried}
    for name in wanted:
        value = given(name)
        if not value:
            raise AirflowFailException(f"`{name}` is not given, and no asset event triggered this run: fill in the form's field")
        chosen["carried"][name] = value
        chosen[name] = f"{project}/runs/{value}" if name in ("detector", "reporter") else value
    return chosen


@task(multiple_outputs=True)
def choose(wanted: Sequence[str] = ()) -> dict[str, Any]:
    """The first task: a retry or a cleared shard later on works on the same inputs."""
    context = get_current_context()
    return decide(context["params"], newest_extra(context["triggering_asset_events"]), wanted)


def shares(shards: int, partitions: Sequence[str] = ()) -> list[list[str]]:
    """The arguments of every mapped task: each shard of each partition."""
    places = [["--dataset", p.split("/")[0], "--split", p.split("/")[1]] for p in partitions] or [[]]
    return [[*place, "--shard", f"{i}/{shards}"] for place in places for i in range(shards)]


@task
def share_out(partitions: Sequence[str] = ()) -> list[list[str]]:
    """One list of arguments per mapped task."""
    return shares(get_current_context()["params"]["shards"], partitions)
