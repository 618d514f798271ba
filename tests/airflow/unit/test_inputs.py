"""What a run works on, from its form and from the event that triggered it."""

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from d2r_airflow.inputs import decide, newest_extra, shares
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
