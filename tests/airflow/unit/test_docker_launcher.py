"""The Docker launcher: the request, and that no container stays, with a daemon that records. The scale tests have a real one."""

import importlib.util
import logging
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from d2r_airflow import launchers
from d2r_airflow.outcome import D2RTemporaryError
from d2r_airflow.settings import Settings

log = logging.getLogger("test")
ARGUMENTS = ["annotate", "--dataset", "mimic", "--shard", "0/2"]
TASK = "d2r_pseudo_label/run-1/annotate/3"
CONTEXT = {"ti": SimpleNamespace(dag_id="d2r_pseudo_label", run_id="run-1", task_id="annotate", map_index=3, try_number=2)}
MODULES = ("docker", "docker.errors", "docker.types")


def stand_in() -> dict[str, ModuleType]:
    """The names of the `docker` package that the launcher uses."""
    package, errors, types = (ModuleType(name) for name in MODULES)

    class APIError(Exception):
        def __init__(self, message, response=None):
            super().__init__(message)
            self.status_code = getattr(response, "status_code", None)

    errors.APIError = APIError
    errors.NotFound = type("NotFound", (APIError,), {})
    errors.ImageNotFound = type("ImageNotFound", (errors.NotFound,), {})
    types.DeviceRequest = lambda count, capabilities: {"Count": count, "Capabilities": capabilities}
    package.errors, package.types = errors, types
    return dict(zip(MODULES, (package, errors, types), strict=True))


class Daemon:
    """Containers by name. `during` is called inside every call, as a signal's handler is."""

    def __init__(self, errors, images=("d2r:1",)):
        self.errors, self.images_here = errors, set(images)
        self.by_name: dict[str, Container] = {}
        self.said: list[str] = []
        self.during = lambda call: None
        self.containers = SimpleNamespace(create=self.create, list=self.list, get=self.get)
        self.images = SimpleNamespace(pull=self.pull)

    def create(self, image, name, labels, **_):
        if image not in self.images_here:
            raise self.errors.ImageNotFound("no such image")
        container = self.by_name[name] = Container(self, name, labels)
        self.say("create")
        return container

    def list(self, all, filters):
        key, _, value = filters["label"].partition("=")
        return [c for c in self.by_name.values() if all and c.labels.get(key) == value]

    def get(self, name):
        if name not in self.by_name:
            raise self.errors.NotFound("no such container")
        return self.by_name[name]

    def pull(self, image):
        self.say("pull")
        if image == "d2r:none":
            raise self.errors.ImageNotFound("not found")
        self.images_here.add(image)

    def say(self, call):
        self.said.append(call)
        self.during(call)


class Container:
    def __init__(self, daemon, name, labels):
        self.daemon, self.name, self.short_id, self.labels = daemon, name, name[:12], labels

    def start(self):
        self.daemon.say("start")

    def stop(self, timeout):
        self.daemon.said.append("stop")

    def logs(self, stdout, stderr, **_):
        return [b"step 1\n"] if stderr else b'step\n{"stage":"annotate"}\n'

    def wait(self):
        return {"StatusCode": 0}

    def remove(self, force):
        self.daemon.said.append("remove")
        self.daemon.by_name.pop(self.name, None)


@pytest.fixture
def daemon(monkeypatch):
    """The real package where it is installed (make test-airflow-scale installs it), else the stand-in."""
    if importlib.util.find_spec("docker") is None:
        for name, module in stand_in().items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "d2r_airflow.launchers.docker", raising=False)
    import docker

    daemon = Daemon(docker.errors)
    monkeypatch.setattr(docker, "from_env", lambda: daemon, raising=False)
    yield daemon
    if not hasattr(docker, "__file__"):
        sys.modules.pop("d2r_airflow.launchers.docker", None)


def settings(**more: str) -> Settings:
    return Settings.read({"D2R_LAUNCHER": "docker", "D2R_IMAGE": "d2r:1", "D2R_WORKSPACE": "/data", **more})


def launcher(gpu: bool = False, **more: str):
    return launchers.launcher(settings(**more), gpu=gpu, log=log)


def test_the_container_gets_the_same_arguments_and_a_device_only_on_gpu_slots(daemon, monkeypatch):
    monkeypatch.setenv("D2R_RUN__SEED", "3")
    monkeypatch.setenv("D2R_BIN", "/local/d2r")
    monkeypatch.setenv("AIRFLOW_CONN_D2R_ALERTS", "secret")
    with_gpu = launcher(gpu=True, D2R_GPUS="1").options(ARGUMENTS)
    assert with_gpu["command"][: len(ARGUMENTS)] == ARGUMENTS
    assert with_gpu["volumes"] == {"/data": {"bind": "/data", "mode": "rw"}}
    assert with_gpu["working_dir"] == "/data"
    assert with_gpu["environment"] == {"D2R_RUN__SEED": "3", "HOME": "/tmp"}, "the command's configuration, nothing of ours"
    assert with_gpu["device_requests"][0]["Capabilities"] == [["gpu"]]
    for other in (launcher(D2R_GPUS="1"), launcher(gpu=True)):
        assert other.options(ARGUMENTS)["device_requests"] == []


def test_the_container_has_no_network_no_privileges_and_limits(daemon):
    options = launcher(D2R_MEMORY_GIB="8").options(ARGUMENTS)
    assert options["network_mode"] == "none"
    assert options["cap_drop"] == ["ALL"] and "cap_add" not in options and "privileged" not in options
    assert options["security_opt"] == ["no-new-privileges:true"]
    assert options["read_only"] is True and set(options["tmpfs"]) == {"/tmp"}
    assert {"noexec", "nosuid", "nodev"} <= set(options["tmpfs"]["/tmp"].split(","))
    assert options["mem_limit"] == options["memswap_limit"] == "8g"
    assert 0 < options["pids_limit"] < 10_000


@pytest.mark.parametrize(
    ("worker", "setting", "user"),
    [(1000, "", "1000:1001"), (0, "", "65534:65534"), (0, "70:80", "70:80"), (1000, "0:0", "0:0")],
)
def test_the_containers_user_is_the_workers_but_not_root_unasked(daemon, monkeypatch, worker, setting, user):
    monkeypatch.setattr(os, "getuid", lambda: worker)
    monkeypatch.setattr(os, "getgid", lambda: worker + 1)
    assert launcher(D2R_USER=setting).options(ARGUMENTS)["user"] == user


@pytest.mark.parametrize("wrong", [{"D2R_USER": "root"}, {"D2R_USER": "1000"}, {"D2R_MEMORY_GIB": "0"}, {"D2R_CPUS": "-1"}])
def test_settings_that_mean_nothing_fail_without_retry(wrong):
    with pytest.raises(AirflowFailException, match=next(iter(wrong))):
        settings(**wrong)


def test_a_container_is_made_started_and_removed(daemon, caplog):
    with caplog.at_level(logging.INFO):
        finished = launcher().run(ARGUMENTS, CONTEXT)
    assert (finished.code, finished.manifest) == (0, '{"stage":"annotate"}')
    assert daemon.said == ["create", "start", "remove"]
    assert daemon.by_name == {}
    assert [r.message for r in caplog.records] == ["step 1"]


def test_the_name_is_the_trys(daemon):
    from d2r_airflow.launchers.docker import container_name

    assert container_name(TASK, 2) != container_name(TASK, 3) != container_name(TASK + "1", 3)
    assert container_name(TASK, 2) == container_name(TASK, 2)


def test_what_an_earlier_try_left_is_removed_first(daemon):
    daemon.create("d2r:1", "left", {"d2r.task": TASK})
    daemon.create("d2r:1", "foreign", {"d2r.task": "another"})
    launcher().run(ARGUMENTS, CONTEXT)
    assert daemon.said[2:] == ["remove", "create", "start", "remove"]
    assert set(daemon.by_name) == {"foreign"}


@pytest.mark.parametrize(("moment", "started"), [("create", False), ("start", True), ("pull", False)])
def test_term_while_a_container_is_made_leaves_none(daemon, moment, started):
    """Airflow's handler returns to the call that was in progress."""
    running = launcher(D2R_IMAGE="d2r:1" if moment != "pull" else "d2r:2")
    daemon.during = lambda call: running.kill() if call == moment else None
    with pytest.raises(D2RTemporaryError, match="ended while"):
        running.run(ARGUMENTS, CONTEXT)
    assert daemon.by_name == {}
    assert ("start" in daemon.said) == started


def test_a_container_whose_making_failed_on_the_way_back_is_removed(daemon):
    def fail(call):
        if call == "create":
            raise ConnectionError("the daemon's answer was lost")

    daemon.during = fail
    with pytest.raises(ConnectionError):
        launcher().run(ARGUMENTS, CONTEXT)
    assert daemon.by_name == {}


def test_an_image_is_pulled_where_the_daemon_has_none(daemon):
    assert launcher(D2R_IMAGE="d2r:2").run(ARGUMENTS, CONTEXT).code == 0
    assert daemon.said == ["pull", "create", "start", "remove"]
    with pytest.raises(AirflowFailException, match="D2R_IMAGE is `d2r:none`"):
        launcher(D2R_IMAGE="d2r:none").run(ARGUMENTS, CONTEXT)
