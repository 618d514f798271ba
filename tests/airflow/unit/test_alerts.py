"""The alert hook, posting to a real server on loopback."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from d2r_airflow.alerts import Alert, deadline_missed


@pytest.fixture
def webhook(monkeypatch):
    """What arrived: path, authorization, body."""
    arrived = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append((self.path, self.headers.get("Authorization"), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = {
        "conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": server.server_port,
        "password": "token", "extra": {"path": "/hook"},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_D2R_ALERTS", json.dumps(connection))
    yield arrived
    server.shutdown()
    server.server_close()


RUN = SimpleNamespace(dag_id="d2r_smoke", run_id="manual__1")


def test_a_failed_run_is_posted_with_its_place_and_nothing_else(webhook):
    context = {"dag_run": RUN, "task_instance": SimpleNamespace(task_id="audit"), "params": {"vindr": "secret/folder"}}
    Alert("run failed")(context)
    text = "D2R: run failed: dag_id d2r_smoke, run_id manual__1"
    assert webhook == [
        ("/hook", "Bearer token", {"text": text, "event": "run failed", "dag_id": "d2r_smoke", "run_id": "manual__1"})
    ]


def test_a_waiting_approval_names_its_task(webhook):
    Alert("approval wanted")({"dag_run": RUN, "task_instance": SimpleNamespace(task_id="approve")})
    assert webhook[0][2]["task_id"] == "approve"


def test_a_missed_deadline_is_posted(webhook):
    deadline_missed(context={"dag_run": {"dag_id": "d2r_smoke", "dag_run_id": "manual__1"}, "deadline": {}})
    assert webhook[0][2]["event"] == "deadline missed"
    assert webhook[0][2]["run_id"] == "manual__1"


def test_without_the_connection_an_alert_is_a_log_line(caplog, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_D2R_ALERTS", raising=False)
    with caplog.at_level(logging.WARNING):
        deadline_missed(context={"dag_run": {"dag_id": "d2r_smoke"}})
    assert "D2R: deadline missed: dag_id d2r_smoke" in caplog.text


def test_an_address_that_does_not_answer_fails_nothing(caplog, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_D2R_ALERTS", json.dumps({"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": 9}))
    deadline_missed(context={"dag_run": {"dag_id": "d2r_smoke"}})
    assert "deadline missed" in caplog.text and "not delivered" in caplog.text
