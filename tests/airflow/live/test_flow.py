"""New data flows through the asset graph by itself; two runs share one device; a radiologist approves; alerts arrive."""

import hashlib
import json
import os
import subprocess
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import SOON, commands_of, lake_content, wait_for
from server import AirflowServer

PUBLISH = "d2r_publish_preview"
QUICK = {
    "preset": "tiny",
    "overrides": ["detector.train.steps=4", "detector.train.eval_every=4", "report.train.epochs=1", "preview.epochs=1"],
}
FORM = {"studies_reviewed": 3, "no_patient_data": True, "comment": "reviewed"}
CHAIN = ["d2r_build_lake", "d2r_train_detector", "d2r_pseudo_label", "d2r_train_reporter", "d2r_report_batch", "d2r_evaluate"]


@pytest.fixture(scope="module")
def webhook():
    """What was posted to the alert connection."""
    arrived = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield arrived, server.server_port
    server.shutdown()


@pytest.fixture(scope="module")
def airflow(d2r, tmp_path_factory, webhook):
    folder = tmp_path_factory.mktemp("airflow")
    connection = {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": webhook[1], "extra": {"path": "/hook"}}
    environment = {**SOON, "AIRFLOW_CONN_D2R_ALERTS": json.dumps(connection)}
    with AirflowServer(folder, binary=d2r, environment=environment, more_dags=Path(__file__).parent / "dags") as server:
        yield server


def only_run(airflow, dag: str, known: set[str] = frozenset()) -> str | None:
    """The run that an asset event started."""
    runs = airflow.get(f"/dags/{dag}/dagRuns", limit=50)["dag_runs"]
    return next((r["dag_run_id"] for r in runs if r["dag_run_id"] not in known and r["run_type"] == "asset_triggered"), None)


def asset_id(airflow, name: str) -> int:
    return next(a["id"] for a in airflow.get("/assets", limit=100)["assets"] if a["name"] == name)


@pytest.fixture(scope="module")
def flowed(airflow, d2r):
    """Phantoms delivered by two asset events; everything up to the waiting preview runs by itself. Run ids by DAG."""
    subprocess.run(
        [d2r, "phantom", "--preset", "tiny", "--out", "incoming", "--quiet"], cwd=airflow.workspace, check=True, capture_output=True
    )
    # Both deliveries wait for the scheduler, so that one run takes them together.
    airflow.processes["scheduler"].terminate()
    airflow.processes["scheduler"].wait(60)
    airflow.unpause(*CHAIN, PUBLISH)
    for layout in ("vindr", "mimic"):
        airflow.post(
            "/assets/events",
            {"asset_id": asset_id(airflow, f"d2r_source_{layout}"), "extra": {"root": f"incoming/{layout}", **QUICK}},
        )
    airflow.start("scheduler", "scheduler")
    runs = {}
    for dag in CHAIN:
        runs[dag] = wait_for(lambda dag=dag: only_run(airflow, dag), 300, f"for {dag}")
        assert airflow.wait(dag, runs[dag]) == "success", dag
    runs[PUBLISH] = wait_for(lambda: only_run(airflow, PUBLISH), 300, f"for {PUBLISH}")
    airflow.wait_task(PUBLISH, runs[PUBLISH], "approve", {"awaiting_input"})
    return runs


def test_a_delivery_becomes_figures_by_itself(airflow, flowed, d2r):
    lake = airflow.workspace / "main/lake"
    subprocess.run([d2r, "validate", "--lake", str(lake)], check=True, capture_output=True)
    assert not list((airflow.workspace / "main/previews").glob("preview-*")), "nothing is published without approval"
    tables = {json.loads(line.strip("[],"))["table"] for line in lake_content(d2r, lake)}
    assert {"images", "lesions", "reports", "generated_reports", "report_sentences", "metrics"} <= tables


def test_the_asset_graph_shows_every_data_set(airflow, flowed):
    there = {a["name"]: a for a in airflow.get("/assets", limit=100)["assets"]}
    assert set(there) == {
        "d2r_source_vindr", "d2r_source_mimic", "d2r_source_iu_xray", "d2r_images", "d2r_annotator_lesions", "d2r_reports",
        "d2r_detector", "d2r_pseudo_lesions", "d2r_reporter", "d2r_generated_reports", "d2r_metrics", "d2r_preview",
    }  # fmt: skip
    for name, asset in there.items():
        assert asset["producing_tasks"] or name.startswith("d2r_source"), name
    for name in ("source_vindr", "annotator_lesions", "detector", "pseudo_lesions", "reporter", "generated_reports", "metrics"):
        assert there[f"d2r_{name}"]["scheduled_dags"], name


def test_events_tell_the_version_and_nothing_private(airflow, flowed):
    events = airflow.get("/assets/events", limit=100)["asset_events"]
    by_name = {e["name"]: e["extra"] for e in events}
    assert by_name["d2r_detector"]["detector"].startswith("detector-")
    assert by_name["d2r_reporter"]["detector"] == by_name["d2r_detector"]["detector"]
    pseudo = by_name["d2r_pseudo_lesions"]
    assert pseudo["contracts"]["lesions"].startswith("urn:d2r:lesions 1.")
    assert pseudo["model_sha256"] == by_name["d2r_detector"]["model_sha256"]
    assert by_name["d2r_metrics"]["figures"]["mimic/test"]
    private = json.dumps(events)
    for path in (airflow.workspace / "incoming").rglob("*.txt"):
        assert path.stem not in private, "a study id"
    assert len(private) < 4000 * len(events)


def test_the_same_delivery_again_finds_everything_done(airflow, flowed, d2r):
    before = lake_content(d2r, airflow.workspace / "main/lake")
    airflow.post(
        "/assets/events",
        {"asset_id": asset_id(airflow, "d2r_source_mimic"), "extra": {"root": "incoming/mimic", **QUICK}},
    )
    for dag in CHAIN:
        run_id = wait_for(lambda dag=dag: only_run(airflow, dag, {flowed[dag]}), 300, f"for {dag}")
        assert airflow.wait(dag, run_id) == "success", dag
    assert lake_content(d2r, airflow.workspace / "main/lake") == before


def answer(airflow, run_id: str, option: str, form: dict) -> None:
    """Answers as a person does on the page, who needs seconds: the page sends this request."""
    # An answer that overtakes the executor's report of the task's first half fails the task (Airflow 3.3.2).
    time.sleep(10)
    airflow.patch(
        f"/dags/{PUBLISH}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails", {"chosen_options": [option], "params_input": form}
    )


def published(airflow) -> dict[str, dict]:
    """Manifests of published bundles by the folder in which they waited."""
    manifests = [json.loads(path.read_text()) for path in (airflow.workspace / "main/previews").glob("preview-*/MANIFEST.json")]
    return {m["waited_in"]: m for m in manifests}


def previews_by_hand(airflow, flowed, name: str) -> str:
    """A run started from the form, up to its approval."""
    metrics = [e for e in airflow.get("/assets/events", limit=100)["asset_events"] if e["name"] == "d2r_metrics"]
    run_id = airflow.trigger(PUBLISH, {**QUICK, "reporter": metrics[0]["extra"]["reporter"]}, run_id=name)
    airflow.wait_task(PUBLISH, run_id, "approve", {"awaiting_input"})
    return run_id


def test_a_radiologist_approves_what_came_by_itself(airflow, flowed, webhook):
    run_id = flowed[PUBLISH]
    assert {"event": "approval wanted", "dag_id": PUBLISH, "run_id": run_id, "task_id": "approve"}.items() <= wait_for(
        lambda: next((a for a in webhook[0] if a.get("run_id") == run_id), None), 10
    ).items()
    # The delivery that was repeated may still be at work on a preview of its own.
    wait_for(lambda: not any(p["occupied_slots"] for p in airflow.get("/pools")["pools"]), 120, "for slots: who waits holds none")
    assert airflow.task(PUBLISH, run_id, "approve")["state"] == "awaiting_input"
    detail = airflow.get(f"/dags/{PUBLISH}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails")
    assert detail["defaults"] is None
    assert "| sample studies | 3 |" in detail["body"] and "| model_bytes |" in detail["body"]

    answer(airflow, run_id, "Approve", FORM)
    assert airflow.wait(PUBLISH, run_id) == "success"
    (manifest,) = published(airflow).values()
    record = manifest["approval"]
    assert record["chosen_options"] == ["Approve"] and record["params_input"] == FORM
    assert record["responded_by_user"]["name"] == "admin" and datetime.fromisoformat(record["responded_at"])
    assert set(manifest["files"]) == {"encoder.onnx", "step.onnx", "card.json", "samples.arrow", "LICENSE-DATA"}
    (bundle,) = (airflow.workspace / "main/previews").glob("preview-*")
    card = json.loads((bundle / "card.json").read_text())
    for file in card["files"]:
        assert hashlib.sha256((bundle / file["name"]).read_bytes()).hexdigest() == file["sha256"] == manifest["files"][file["name"]]
    (event,) = [e for e in airflow.get("/assets/events", limit=100)["asset_events"] if e["name"] == "d2r_preview"]
    assert event["extra"]["bundle"] == bundle.name


def test_a_radiologist_rejects(airflow, flowed):
    before = published(airflow)
    run_id = previews_by_hand(airflow, flowed, "rejected")
    answer(airflow, run_id, "Reject", FORM)
    assert airflow.wait(PUBLISH, run_id) == "success"
    assert airflow.task(PUBLISH, run_id, "publish")["state"] == "skipped"
    assert published(airflow) == before
    assert (airflow.workspace / "main/previews/waiting/rejected/card.json").exists()


def test_an_approval_without_the_form_publishes_nothing(airflow, flowed):
    before = published(airflow)
    run_id = previews_by_hand(airflow, flowed, "hasty")
    answer(airflow, run_id, "Approve", {})
    assert airflow.wait(PUBLISH, run_id) == "failed"
    assert "approved without the form" in airflow.log(PUBLISH, run_id, "publish")
    assert published(airflow) == before
    airflow.clear(PUBLISH, run_id, ["approve"], include_downstream=True)
    airflow.wait_task(PUBLISH, run_id, "approve", {"awaiting_input"})
    answer(airflow, run_id, "Approve", FORM)
    assert airflow.wait(PUBLISH, run_id) == "success"
    assert set(published(airflow)) == {*before, "hasty"}


def test_two_runs_take_turns_on_one_device(airflow, d2r):
    runs = [airflow.trigger("d2r_smoke", run_id=f"turn-{i}") for i in range(2)]
    assert [airflow.wait("d2r_smoke", run) for run in runs] == ["success", "success"]
    tasks = [t for run in runs for t in airflow.tasks("d2r_smoke", run)]
    spans = sorted((t["start_date"], t["end_date"], t["dag_run_id"]) for t in tasks if t["pool"] == "d2r_gpu")
    assert all(earlier[1] <= later[0] for earlier, later in zip(spans, spans[1:], strict=False)), "one slot, one command"
    assert len({run for *_, run in spans[: len(spans) // 2 + 1]}) == 2, "they did overlap as runs"
    lakes = [lake_content(d2r, airflow.workspace / f"smoke/{run}/lake") for run in runs]
    assert lakes[0] == lakes[1]


def test_a_busy_run_directory_is_75_and_tried_again(airflow, flowed, d2r):
    """Somebody trains by hand in the same project; the task waits its turn."""
    long = ["--set", "detector.train.steps=40", "--set", "detector.train.eval_every=40"]
    by_hand = subprocess.Popen(
        [d2r, "train-detector", "--preset", "tiny", "--lake", "main/lake", "--runs", "main/runs", *long],
        cwd=airflow.workspace, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: "step" in by_hand.stderr.readline(), 60)
        conf = {"preset": "tiny", "overrides": long[1::2]}
        run_id = airflow.trigger("d2r_train_detector", conf)
        airflow.wait_task("d2r_train_detector", run_id, "train_detector", {"up_for_retry"}, seconds=60)
        assert "ended with 75" in airflow.log("d2r_train_detector", run_id, "train_detector")
        by_hand.communicate(timeout=300)
        airflow.clear("d2r_train_detector", run_id, ["train_detector"])
        assert airflow.wait("d2r_train_detector", run_id) == "success"
    finally:
        by_hand.kill()


def test_a_failed_run_and_a_missed_deadline_are_posted(airflow, webhook):
    airflow.unpause("d2r_build_lake")
    failed = airflow.trigger("d2r_build_lake")
    late = airflow.trigger("d2r_late")
    assert airflow.wait("d2r_build_lake", failed) == "failed"
    airflow.wait("d2r_late", late)

    def posted(event: str, run_id: str):
        return lambda: [a for a in webhook[0] if a["event"] == event and a.get("run_id") == run_id]

    wait_for(posted("run failed", failed), 60, "for the alert of the failed run")
    wait_for(posted("deadline missed", late), 60, "for the alert of the late run")
    assert os.path.basename(str(airflow.workspace)) not in json.dumps(webhook[0])


def test_nothing_is_left_running(airflow):
    wait_for(lambda: not commands_of(airflow.workspace), 15)
