"""What the Docker and Kubernetes launchers would start: the requests. The scale tests run Docker's; no cluster runs the pod."""

import logging

import pytest
from d2r_airflow import launchers
from d2r_airflow.settings import Settings

log = logging.getLogger("test")
CLUSTER = """
apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: none}}]
users: [{name: none, user: {}}]
"""
ARGUMENTS = ["annotate", "--dataset", "mimic", "--shard", "0/2"]


def settings(kind: str, **more: str) -> Settings:
    return Settings.read({"D2R_LAUNCHER": kind, "D2R_IMAGE": "d2r:1", "D2R_WORKSPACE": "/data", **more})


def test_docker_gets_the_same_arguments_and_a_device_only_on_gpu_slots(monkeypatch):
    pytest.importorskip("docker", reason="the Docker provider is not installed (make test-airflow-scale installs it)")
    monkeypatch.setenv("D2R_RUN__SEED", "3")
    monkeypatch.setenv("D2R_BIN", "/local/d2r")
    with_gpu = launchers.launcher(settings("docker", D2R_GPUS="1"), gpu=True, log=log).options(ARGUMENTS)
    assert with_gpu["command"][: len(ARGUMENTS)] == ARGUMENTS
    assert with_gpu["volumes"] == {"/data": {"bind": "/data", "mode": "rw"}}
    assert with_gpu["working_dir"] == "/data"
    assert with_gpu["network_mode"] == "none"
    assert with_gpu["environment"] == {"D2R_RUN__SEED": "3", "HOME": "/tmp"}, "the command's configuration, nothing of ours"
    assert with_gpu["device_requests"][0]["Capabilities"] == [["gpu"]]
    for other in (
        launchers.launcher(settings("docker", D2R_GPUS="1"), gpu=False, log=log),
        launchers.launcher(settings("docker"), gpu=True, log=log),
    ):
        assert other.options(ARGUMENTS)["device_requests"] == []


def test_a_pod_gets_the_same_arguments_the_claim_and_a_device_only_on_gpu_slots(tmp_path, monkeypatch):
    pytest.importorskip("kubernetes", reason="the Kubernetes provider is not installed (make test-airflow-scale installs it)")
    # The provider wants to know a cluster before it builds a pod; it does not call it.
    (tmp_path / "config").write_text(CLUSTER)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    monkeypatch.setenv("D2R_RUN__SEED", "3")
    launcher = launchers.launcher(settings("kubernetes", D2R_GPUS="1", D2R_NAMESPACE="d2r", D2R_CLAIM="lake"), gpu=True, log=log)
    pod = launcher.build(ARGUMENTS, "annotate").build_pod_request_obj({})
    (container,) = [c for c in pod.spec.containers if c.name == "base"]
    assert container.args[: len(ARGUMENTS)] == ARGUMENTS
    assert container.image == "d2r:1"
    assert container.working_dir == "/data"
    assert [m.mount_path for m in container.volume_mounts if m.name == "workspace"] == ["/data"]
    assert {e.name: e.value for e in container.env}["D2R_RUN__SEED"] == "3"
    assert container.resources.limits == {"nvidia.com/gpu": "1"}
    assert pod.metadata.namespace == "d2r"
    (volume,) = [v for v in pod.spec.volumes if v.name == "workspace"]
    assert volume.persistent_volume_claim.claim_name == "lake"
    assert pod.spec.restart_policy == "Never"
    launcher = launchers.launcher(settings("kubernetes"), gpu=True, log=log)
    pod = launcher.build(ARGUMENTS, "annotate").build_pod_request_obj({})
    assert not [c for c in pod.spec.containers if c.name == "base"][0].resources.limits


def test_the_local_launcher_needs_no_provider(tmp_path):
    assert type(launchers.launcher(Settings(), gpu=True, log=log)).__name__ == "LocalLauncher"
