"""What a run works on, from its form and from the event that triggered it."""

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from d2r_airflow.inputs import decide, newest_extra, other_projects, shares
from d2r_airflow.operator import flat
from d2r_airflow.publication import slug
from d2r_airflow.settings import Settings

FORM = {"project": None, "preset": None, "overrides": None, "detector": None}


def event(minute: int, **extra):
    return SimpleNamespace(timestamp=datetime(2026, 1, 1, 0, minute, tzinfo=timezone.utc), extra=extra)


def test_the_youngest_event_counts():
    events = {"a": [event(1, detector="old"), event(3, detector="new")], "b": [event(2, detector="between")]}
    assert newest_extra(events) == {"detector": "new"}
    assert newest_extra({}) == {}


def test_the_form_comes_before_the_event_and_the_event_before_the_default():
    event_says = {"detector": "detector-1", "project": "site-a", "preset": "tiny", "overrides": ["a.b=1"]}
    chosen = decide(FORM, event_says, ["detector"])
    assert chosen["detector"] == "site-a/runs/detector-1"
    assert chosen["carried"] == event_says, "what the event said goes on to the next DAG"
    assert chosen["common"][-4:] == ["--preset", "tiny", "--set", "a.b=1"]
    chosen = decide({**FORM, "project": "site-b", "detector": "detector-2"}, event_says, ["detector"])
    assert chosen["detector"] == "site-b/runs/detector-2"
    assert decide(FORM, {}, ())["common"] == ["--lake", "main/lake", "--runs", "main/runs", "--preset", "default"]


def test_partitions_come_from_the_form_the_event_or_the_dags_default():
    default = {"partitions": ["mimic/test"]}
    form = {**FORM, "partitions": None}
    assert decide(form, {}, ["partitions"], default)["partitions"] == ["mimic/test"]
    assert decide(form, {"partitions": ["a/val"]}, ["partitions"], default)["carried"]["partitions"] == ["a/val"]
    assert decide({**form, "partitions": ["b/val"]}, {"partitions": ["a/val"]}, ["partitions"], default)["partitions"] == ["b/val"]


@pytest.mark.parametrize(
    "extra",
    [
        {"project": "/etc"}, {"project": "a/../../b"}, {"project": 3}, {"preset": "--help"}, {"overrides": ["--lake=/"]},
        {"detector": "../other"}, {"detector": ["a", "--help"]}, {"detector": "d\n"}, {"partitions": ["mimic"]},
    ],
)  # fmt: skip
def test_an_event_is_checked_like_the_form(extra):
    with pytest.raises(AirflowFailException, match=f"`{next(iter(extra))}`"):
        decide({**FORM, "partitions": None}, {"detector": "d", "partitions": ["a/val"], **extra}, ["detector", "partitions"])


def test_optional_inputs_become_arguments_and_go_on():
    form = {**FORM, "unlabelled": "mimic", "init": None, "labellers": ["detector-1", "detector-2"]}
    chosen = decide(form, {"init": "detector-0", "project": "a"}, (), optional=["unlabelled", "init", "labellers"])
    assert chosen["optional"] == [
        "--unlabelled", "mimic", "--init", "a/runs/detector-0",
        "--labeller", "a/runs/detector-1", "--labeller", "a/runs/detector-2",
    ]  # fmt: skip
    assert chosen["carried"]["unlabelled"] == "mimic"
    assert decide(FORM, {}, (), optional=["unlabelled"])["optional"] == []
    with pytest.raises(AirflowFailException, match="`init`"):
        decide(FORM, {"init": "../x"}, (), optional=["init"])


def test_an_event_does_not_open_files_that_are_not_deidentified():
    with pytest.raises(AirflowFailException, match="ingest.allow_phi"):
        decide(FORM, {"overrides": ["ingest.allow_phi=true"]}, ())
    chosen = decide({**FORM, "overrides": ["ingest.allow_phi=true"]}, {}, ())
    assert chosen["common"][-2:] == ["--set", "ingest.allow_phi=true"]
    # The next DAG of the chain goes on with what the person chose.
    later = decide(FORM, chosen["carried"], (), from_dag=True)
    assert later["common"] == chosen["common"]


def test_projects_that_a_merged_run_does_not_work_on_are_named():
    events = {"a": [event(1, project="b"), event(3, project="c")], "b": [event(2), event(0, project="c")]}
    assert other_projects(events) == ["b", "main"]
    assert other_projects({"a": [event(1), event(2, project="main")]}) == other_projects({}) == []


def test_overrides_are_one_argument_each():
    chosen = decide({**FORM, "overrides": ["a.b=1", "c=x y"]}, {}, ())
    assert chosen["common"][-4:] == ["--set", "a.b=1", "--set", "c=x y"]


def test_a_missing_run_says_what_to_do():
    with pytest.raises(AirflowFailException, match="`detector` is not given.*form"):
        decide(FORM, {}, ["detector"])


def test_every_shard_of_every_partition_is_one_share():
    assert shares(2) == [["--shard", "0/2"], ["--shard", "1/2"]]
    two = shares(2, ["mimic/test", "mimic/val"])
    assert len(two) == 4
    assert two[3] == ["--dataset", "mimic", "--split", "val", "--shard", "1/2"]


def test_nested_arguments_open_in_order():
    assert flat(["a", ["b", ["c"]], [], "d e"]) == ["a", "b", "c", "d e"]


def test_run_ids_become_folder_names():
    assert slug("manual__2026-01-01T00:00:00+00:00") == "manual__2026-01-01T00-00-00-00-00"
    assert "/" not in slug("../../etc") and not slug("../x").startswith(".")


def test_settings_refuse_what_they_do_not_know():
    assert Settings.read({}).launcher == "local"
    assert Settings.read({"D2R_GPUS": "2"}).gpus == 2
    for wrong in ({"D2R_LAUNCHER": "ssh"}, {"D2R_GPUS": "many"}):
        with pytest.raises(AirflowFailException, match=next(iter(wrong))):
            Settings.read(wrong)


def test_a_delivery_to_another_project_is_not_read_into_this_one(dagbag, monkeypatch):
    from d2r_airflow import assets

    sources = dagbag.dags["d2r_build_lake"].get_task("sources").python_callable
    events = {
        assets.SOURCE_VINDR: [event(1, root="ours", project="here"), event(2, root="theirs", project="there")],
        assets.SOURCE_MIMIC: [event(3, root="main's")],
    }
    form = {"vindr": None, "mimic": None, "iu-xray": "by-hand", "labels": None}
    monkeypatch.setitem(sources.__globals__, "get_current_context", lambda: {"triggering_asset_events": events, "params": form})
    assert sources("here") == [["vindr", "--root", "ours"], ["iu-xray", "--root", "by-hand"]]
    assert sources("main") == [["mimic", "--root", "main's"], ["iu-xray", "--root", "by-hand"]]
    form["iu-xray"] = None
    with pytest.raises(AirflowFailException, match="no folder given"):
        sources("elsewhere")


def test_the_label_set_of_the_form_is_that_of_the_layout_with_boxes(dagbag, monkeypatch):
    from d2r_airflow import assets

    sources = dagbag.dags["d2r_build_lake"].get_task("sources").python_callable
    form = {"vindr": "ours", "mimic": "main's", "iu-xray": None, "labels": "incoming/classes.toml"}
    events = {assets.SOURCE_VINDR: [event(1, root="delivered", labels="/etc/passwd")]}
    monkeypatch.setitem(sources.__globals__, "get_current_context", lambda: {"triggering_asset_events": events, "params": form})
    mimic = ["mimic", "--root", "main's"]
    assert sources("main") == [["vindr", "--root", "delivered", "--labels", "incoming/classes.toml"], mimic]
    form["labels"] = None
    assert sources("main") == [["vindr", "--root", "delivered"], mimic], "an event names no file to read as a label set"
