"""What `promote` announces, and what it refuses, by the manifests of a lake."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from d2r_airflow import promotion
from d2r_airflow.table_parts import check_none_waits, check_one_result

A, B = "a" * 64, "b" * 64
LAKE = "main/lake"
COLUMNS = json.loads((Path(promotion.__file__).parent / "columns.json").read_text())


def contract(table):
    """The contract of a table as this version of the package knows it."""
    return COLUMNS[table]["contract"] if table in COLUMNS else f"urn:d2r:{table} 1.0.0"


def part(folder, index, count, model=A, table="lesions", producer="annotate", generation=0, split="test", name=None):
    """Writes a part's manifest as the command does; returns the part as the verb's manifest names it."""
    place = f"{table}/dataset=mimic/split={split}"
    run_id = producer if table == "timings" else f"{producer}-{'0' * 12}"
    sha256 = hashlib.sha256(f"{model}{index}{count}".encode()).hexdigest()
    file = f"v1/{place}/{name or f'part-{index:05}-{sha256[:12]}.parquet'}"
    contract_id, contract_version = contract(table).split()
    facts = {
        "table": table, "dataset": "mimic", "split": split, "producer": producer, "shard": {"index": index, "count": count},
        "generation": generation, "file": file, "rows": 2, "bytes": 3, "sha256": sha256, "content_sha256": "d" * 64,
        "work_key": "e" * 64, "contract_id": contract_id, "contract_version": contract_version, "run_id": run_id,
        "code_version": "0.2.0", "model_sha256": model,
    }  # fmt: skip
    path = folder / LAKE / "manifests" / place / producer / f"{index}-of-{count}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"part": facts, "sha256": "f" * 64}))
    return {"path": f"{LAKE}/{file}", "bytes": 3, "sha256": sha256}


def refused(folder, files, why):
    with pytest.raises(AirflowFailException, match=why):
        check_one_result(files, folder)


def test_shards_of_one_model_are_one_result(tmp_path):
    files = [part(tmp_path, i, 2) for i in range(2)]
    part(tmp_path, 0, 1, model=None, producer="ingest")
    check_one_result(files, tmp_path)


def test_shards_of_two_models_are_named_by_table_and_digest(tmp_path):
    files = [part(tmp_path, 0, 2, model=A), part(tmp_path, 1, 2, model=B)]
    refused(tmp_path, files, r"table lesions, partition mimic/test: parts of two models, a{12} and b{12}:")
    refused(tmp_path, files[:1], "two models")


def test_boxes_of_two_producers_are_of_one_model_too(tmp_path):
    files = [part(tmp_path, 0, 1, model=A)]
    part(tmp_path, 0, 1, model=B, producer="report")
    refused(tmp_path, files, "table lesions.*two models")


def test_other_tables_belong_to_their_producers(tmp_path):
    files = [part(tmp_path, 0, 1, model=A, table="failures")]
    part(tmp_path, 0, 1, model=B, table="failures", producer="report")
    check_one_result(files, tmp_path)


def test_a_part_that_another_run_replaced_is_refused(tmp_path):
    files = [part(tmp_path, i, 2, model=A) for i in range(2)]
    part(tmp_path, 0, 2, model=B)
    part(tmp_path, 1, 2, model=B)
    refused(tmp_path, files, "table lesions, partition mimic/test: 2 of 2 parts of this run were replaced")


def test_a_part_of_the_same_name_is_compared_by_digest(tmp_path):
    old = part(tmp_path, 0, 1, model=A, name="part-annotate.parquet")
    new = part(tmp_path, 0, 1, model=B, name="part-annotate.parquet")
    refused(tmp_path, [old], "1 of 1 parts of this run were replaced")
    # A shard that was cleared alone: the manifests of the others name what it replaced.
    check_one_result([old, new], tmp_path)


def test_mixed_and_incomplete_shard_sets_are_refused(tmp_path):
    files = [part(tmp_path, 0, 2), part(tmp_path, 0, 3)]
    refused(tmp_path, files, "annotate left shards of two sets, of 2 and 3")
    (tmp_path / LAKE / "manifests/lesions/dataset=mimic/split=test/annotate/0-of-3.json").unlink()
    refused(tmp_path, files[:1], "annotate has not written 1 of 2 shards, the first is 1/2")


def test_an_older_shard_count_does_not_count(tmp_path):
    part(tmp_path, 0, 1, model=B)
    check_one_result([part(tmp_path, i, 2, generation=1) for i in range(2)], tmp_path)


def test_tables_that_keep_every_run_are_left_out(tmp_path):
    files = [part(tmp_path, 0, 1, model=m, table="timings", producer=f"annotate-{m[:12]}") for m in (A, B)]
    # The same run again: its part is replaced, and that is no other run's.
    part(tmp_path, 0, 1, model=B, table="timings", producer=f"annotate-{A[:12]}")
    check_one_result(files, tmp_path)


def test_a_worker_that_cannot_see_the_lake_refuses_nothing(tmp_path):
    check_one_result([{"path": f"{LAKE}/v1/lesions/dataset=mimic/split=test/part-00000-0.parquet", "sha256": A}], tmp_path)


def promote(monkeypatch, folder, manifests, shares):
    monkeypatch.setenv("D2R_WORKSPACE", str(folder))
    monkeypatch.setattr(promotion, "get_current_context", lambda: {"task": SimpleNamespace(outlets=[])})
    return promotion.promote(manifests, shares, {"project": "main"})


def manifest(file):
    return {"stage": "annotate", "cached": False, "rows": {"lesions": 2}, "files": [file]}


def test_nothing_is_announced_of_a_mixture_or_before_every_shard(monkeypatch, tmp_path):
    done = [manifest(part(tmp_path, i, 2)) for i in range(2)]
    extra = promote(monkeypatch, tmp_path, done, 2)
    assert extra["model_sha256"] == A and extra["contracts"] == {"lesions": contract("lesions")}
    assert extra["rows"] == {"lesions": 4} and extra["project"] == "main"
    with pytest.raises(AirflowFailException, match="1 of 2 shards"):
        promote(monkeypatch, tmp_path, [done[0], None], 2)
    mixed = [done[0], manifest(part(tmp_path, 1, 2, model=B))]
    with pytest.raises(AirflowFailException, match="two models"):
        promote(monkeypatch, tmp_path, mixed, 2)


def test_shards_that_wait_for_others_are_not_announced(tmp_path):
    waiting = tmp_path / LAKE / "pending" / "annotate-0123456789abcdef"
    waiting.mkdir(parents=True)
    check_none_waits(tmp_path / LAKE, {"annotate"})
    (waiting / "1-of-2.json").write_text("{}")
    check_none_waits(tmp_path / LAKE, {"report"})
    with pytest.raises(AirflowFailException, match="shards of annotate wait.*clear all shards"):
        check_none_waits(tmp_path / LAKE, {"annotate"})


def test_promotion_looks_for_waiting_shards_in_the_lake_of_its_project(tmp_path, monkeypatch):
    monkeypatch.setenv("D2R_WORKSPACE", str(tmp_path))
    waiting = tmp_path / LAKE / "pending" / "annotate-0123456789abcdef"
    waiting.mkdir(parents=True)
    (waiting / "0-of-2.json").write_text("{}")
    done = [{"stage": "annotate", "cached": False, "rows": {}, "files": []}]
    with pytest.raises(AirflowFailException, match="wait for others"):
        promotion.promote(done, 1, {"project": "main"})
