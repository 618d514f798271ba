"""New data flows through the asset graph by itself; two runs share one device; a radiologist approves; alerts arrive."""

import json
import os
import subprocess
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import SOON, commands_of, lake_content, wait_for
from server import AirflowServer

# Verbs that the command does not have yet, for the approval's sake: a student run and a bundle of one file.
PLANNED = """#!/usr/bin/env python3
import json, os, pathlib, sys
argv = sys.argv[1:]
if argv[0] != "distill" and argv[:2] != ["export", "preview"]:
    os.execv({d2r!r}, [{d2r!r}, *argv])
value = lambda flag: argv[argv.index(flag) + 1]
if argv[0] == "distill":
    path = pathlib.Path(value("--runs"), "student-000000000000/best/model.safetensors")
else:
    path = pathlib.Path(value("--out"), "card.json")
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("{{}}")
manifest = {{"stage": argv[0], "cached": False, "rows": {{}}, "figures": {{"samples": 4}}, "wall_s": 0,
            "files": [{{"path": str(path), "bytes": 2, "sha256": "0" * 64}}]}}
pathlib.Path(value("--manifest-out")).write_text(json.dumps(manifest))
"""
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
    binary = Path(d2r)
    if subprocess.run([d2r, "distill", "--help"], capture_output=True, check=False).returncode:
        binary = folder / "d2r-with-planned-verbs"
        binary.write_text(PLANNED.format(d2r=d2r))
        binary.chmod(0o755)
    connection = {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": webhook[1], "extra": {"path": "/hook"}}
    environment = {**SOON, "AIRFLOW_CONN_D2R_ALERTS": json.dumps(connection)}
    with AirflowServer(folder, binary=str(binary), environment=environment, more_dags=Path(__file__).parent / "dags") as server:
        yield server


def only_run(airflow, dag: str, known: set[str] = frozenset()) -> str | None:
    """The run that an asset event started."""
    runs = airflow.get(f"/dags/{dag}/dagRuns", limit=50)["dag_runs"]
    return next((r["dag_run_id"] for r in runs if r["dag_run_id"] not in known and r["run_type"] == "asset_triggered"), None)


def asset_id(airflow, name: str) -> int:
    return next(a["id"] for a in airflow.get("/assets", limit=100)["assets"] if a["name"] == name)


@pytest.fixture(scope="module")
def flowed(airflow, d2r):
    """Phantoms delivered by two asset events; everything up to the figures runs by itself. Run ids by DAG."""
    subprocess.run(
        [d2r, "phantom", "--preset", "tiny", "--out", "incoming", "--quiet"], cwd=airflow.workspace, check=True, capture_output=True
    )
    for layout in ("vindr", "mimic"):
        airflow.post(
            "/assets/events",
            {"asset_id": asset_id(airflow, f"d2r_source_{layout}"), "extra": {"root": f"incoming/{layout}", "preset": "tiny"}},
        )
    # Both deliveries wait, so that one run takes them together.
    airflow.unpause(*CHAIN)
    runs = {}
    for dag in CHAIN:
        runs[dag] = wait_for(lambda dag=dag: only_run(airflow, dag), 180, f"for {dag}")
        assert airflow.wait(dag, runs[dag]) == "success", dag
    return runs


def test_a_delivery_becomes_figures_by_itself(airflow, flowed, d2r):
    lake = airflow.workspace / "main/lake"
    subprocess.run([d2r, "validate", "--lake", str(lake)], check=True, capture_output=True)
    tables = {json.loads(line.strip("[],"))["table"] for line in lake_content(d2r, lake)}
    assert {"images", "lesions", "reports", "generated_reports", "report_sentences", "metrics"} <= tables


def test_the_asset_graph_shows_every_data_set(airflow, flowed):
    there = {a["name"]: a for a in airflow.get("/assets", limit=100)["assets"]}
    assert set(there) == {
        "d2r_source_vindr", "d2r_source_mimic", "d2r_source_iu_xray", "d2r_images", "d2r_reader_lesions", "d2r_reports",
        "d2r_detector", "d2r_pseudo_lesions", "d2r_reporter", "d2r_generated_reports", "d2r_metrics", "d2r_preview",
    }  # fmt: skip
    for name, asset in there.items():
        assert asset["producing_tasks"] or name.startswith("d2r_source"), name
    for name in ("source_vindr", "reader_lesions", "detector", "pseudo_lesions", "reporter", "generated_reports", "metrics"):
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
        {"asset_id": asset_id(airflow, "d2r_source_mimic"), "extra": {"root": "incoming/mimic", "preset": "tiny"}},
    )
    for dag in CHAIN:
        run_id = wait_for(lambda dag=dag: only_run(airflow, dag, {flowed[dag]}), 180, f"for {dag}")
        assert airflow.wait(dag, run_id) == "success", dag
    assert lake_content(d2r, airflow.workspace / "main/lake") == before


@pytest.mark.parametrize(("answer", "published"), [("Approve", "success"), ("Reject", "skipped")])
def test_a_radiologist_decides(airflow, webhook, answer, published):
    dag = "d2r_publish_preview"
    airflow.unpause(dag)
    run_id = airflow.trigger(dag, {"project": "shown", "reporter": "reporter-000000000000"}, run_id=f"decide-{answer}")
    airflow.wait_task(dag, run_id, "approve", {"awaiting_input"})
    assert {"event": "approval wanted", "dag_id": dag, "run_id": run_id, "task_id": "approve"}.items() <= wait_for(
        lambda: next((a for a in webhook[0] if a.get("run_id") == run_id), None), 10
    ).items()
    used = {p["name"]: p["occupied_slots"] for p in airflow.get("/pools")["pools"]}
    assert used["d2r_cpu"] == 0 and used["d2r_gpu"] == 0, "who waits holds no slot"
    previews = airflow.workspace / "shown/previews"
    assert not list(previews.glob("preview-*")) or answer == "Reject"
    form = {"studies_reviewed": 4, "no_patient_data": True, "comment": "seen"}
    airflow.patch(
        f"/dags/{dag}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails", {"chosen_options": [answer], "params_input": form}
    )
    assert airflow.wait(dag, run_id) == "success"
    assert airflow.task(dag, run_id, "publish")["state"] == published
    bundles = [json.loads(path.read_text()) for path in previews.glob("preview-*/MANIFEST.json")]
    (bundle,) = [b for b in bundles if b["waited_in"] == "decide-Approve"]
    assert bundle["approval"]["chosen_options"] == ["Approve"]
    assert bundle["approval"]["params_input"] == form
    assert bundle["approval"]["responded_by_user"]["name"] == "admin"
    assert datetime.fromisoformat(bundle["approval"]["responded_at"])
    if answer == "Reject":
        assert (previews / "waiting" / run_id / "card.json").exists()
        assert len(bundles) == 1


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
    long = ["--set", "detector.train.steps=100", "--set", "detector.train.eval_every=100"]
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
