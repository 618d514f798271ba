"""The pod that the Kubernetes launcher would start, and how it is followed; no cluster runs it."""

import logging
import os
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from d2r_airflow import launchers
from d2r_airflow.launchers.pod_template import pod_template
from d2r_airflow.outcome import D2RTemporaryError
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


def settings(**more: str) -> Settings:
    return Settings.read({"D2R_LAUNCHER": "kubernetes", "D2R_IMAGE": "d2r:1", "D2R_WORKSPACE": "/data", "D2R_USER": "70:80", **more})


def test_the_pod_has_no_privileges_no_token_and_limits(monkeypatch):
    monkeypatch.setenv("D2R_RUN__SEED", "3")
    monkeypatch.setenv("AIRFLOW_CONN_D2R_ALERTS", "secret")
    pod = pod_template(settings(D2R_CPUS="2", D2R_MEMORY_GIB="8"), ARGUMENTS, "/data", gpu=False)
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 70, "runAsGroup": 80, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    resources = {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "2Gi"}
    assert container["resources"] == {"requests": resources, "limits": resources}
    variables = {e["name"]: e["value"] for e in container["env"]}
    assert variables == {"D2R_RUN__SEED": "3", "HOME": "/tmp", "OMP_NUM_THREADS": "2", "RAYON_NUM_THREADS": "2"}
    assert {m["mountPath"] for m in container["volumeMounts"]} == {"/data", "/tmp"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not [v for v in spec["volumes"] if "hostPath" in v]


@pytest.fixture
def operator(tmp_path, monkeypatch):
    """Builds the provider's operator, which wants to know a cluster before it builds a pod; it does not call it."""
    pytest.importorskip("kubernetes", reason="the Kubernetes provider is not installed (make test-airflow-scale installs it)")
    (tmp_path / "config").write_text(CLUSTER)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))

    def operator(gpu: bool = True, **more: str):
        return launchers.launcher(settings(**more), gpu=gpu, log=log).build(ARGUMENTS, "annotate", 3600.0)

    return operator


def test_the_provider_builds_the_template_with_the_claim_and_a_device_only_on_gpu_slots(operator, monkeypatch):
    monkeypatch.setenv("D2R_RUN__SEED", "3")
    pod = operator(D2R_GPUS="1", D2R_NAMESPACE="d2r", D2R_CLAIM="lake").build_pod_request_obj({})
    (container,) = pod.spec.containers
    assert container.args[: len(ARGUMENTS)] == ARGUMENTS
    assert container.image == "d2r:1"
    assert container.working_dir == "/data"
    assert [m.mount_path for m in container.volume_mounts if m.name == "workspace"] == ["/data"]
    assert {e.name: e.value for e in container.env}["D2R_RUN__SEED"] == "3"
    assert container.resources.limits["nvidia.com/gpu"] == "1"
    assert pod.metadata.namespace == "d2r"
    assert pod.metadata.labels["app.kubernetes.io/name"] == "d2r"
    (volume,) = [v for v in pod.spec.volumes if v.name == "workspace"]
    assert volume.persistent_volume_claim.claim_name == "lake"
    for other in (operator(), operator(gpu=False, D2R_GPUS="1")):
        assert "nvidia.com/gpu" not in other.build_pod_request_obj({}).spec.containers[0].resources.limits


def test_the_provider_keeps_what_the_template_forbids(operator):
    spec = operator().build_pod_request_obj({}).spec
    assert spec.restart_policy == "Never"
    assert spec.automount_service_account_token is False and spec.enable_service_links is False
    assert spec.security_context.run_as_non_root and spec.security_context.run_as_user == 70
    assert spec.security_context.seccomp_profile.type == "RuntimeDefault"
    (container,) = spec.containers
    assert container.security_context.allow_privilege_escalation is False
    assert container.security_context.read_only_root_filesystem is True
    assert container.security_context.capabilities.drop == ["ALL"]
    assert container.resources.requests == container.resources.limits
    assert spec.active_deadline_seconds == 3600, "a pod without a worker ends by itself"
    assert not spec.host_network


def test_the_next_try_goes_on_with_a_pod_that_still_runs(operator):
    assert operator().durable is True


def test_a_pod_does_not_run_as_root(operator, monkeypatch):
    with pytest.raises(AirflowFailException, match="D2R_USER is root"):
        operator(D2R_USER="0:0")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert operator(D2R_USER="").build_pod_request_obj({}).spec.security_context.run_as_user == 65534


class Cluster:
    """What the operator calls of the cluster's client."""

    def __init__(self, log: str):
        self.log, self.deleted = log, []

    def read_namespaced_pod_log(self, tail_lines, _preload_content, **_):
        # The client would read a log that is JSON as a dictionary.
        assert tail_lines > 1 and _preload_content is False
        return SimpleNamespace(data=self.log.encode())

    def delete_namespaced_pod(self, name, **_):
        self.deleted.append(name)


def ended(code: int):
    """A pod whose container is over."""
    state = SimpleNamespace(terminated=SimpleNamespace(exit_code=code, message=None))
    status = SimpleNamespace(name="base", state=state)
    return SimpleNamespace(
        metadata=SimpleNamespace(name="d2r-1", namespace="default"),
        status=SimpleNamespace(phase="Failed" if code else "Succeeded", container_statuses=[status]),
    )


def run(operator, monkeypatch, pod, log: str = ""):
    """What the launcher makes of a pod that is over."""
    monkeypatch.setattr("airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator.cleanup", clean_up)
    built = operator()
    built.client = Cluster(log)
    built.execute = lambda context: built.cleanup(pod, pod)
    launcher = launchers.launcher(settings(), gpu=False, log=logging.getLogger("test"))
    launcher.build = lambda *_: built
    return launcher.run(ARGUMENTS, {"task": SimpleNamespace(task_id="annotate", execution_timeout=timedelta(hours=1))})


def clean_up(self, pod, remote_pod, *_, **__):
    from airflow.sdk.exceptions import AirflowException

    if remote_pod.status.phase == "Failed":
        raise AirflowException("the pod returned a failure")


def test_the_manifest_is_read_from_the_log_and_the_exit_code_from_the_pod(operator, monkeypatch):
    finished = run(operator, monkeypatch, ended(0), 'step\n{"stage":"annotate"}\nafterwards\n')
    assert (finished.code, finished.manifest) == (0, '{"stage":"annotate"}')
    assert run(operator, monkeypatch, ended(65)).code == 65
    with pytest.raises(D2RTemporaryError, match="log could not be read"):
        run(operator, monkeypatch, ended(0), "nothing of ours\n")


def test_term_while_a_pod_is_made_leaves_none(operator, monkeypatch):
    """Airflow's handler returns to the call that was in progress."""
    built = operator()
    built.client = Cluster("")

    def create(self, request, context):
        self.on_kill()
        return ended(0)

    monkeypatch.setattr("airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator.get_or_create_pod", create)
    with pytest.raises(D2RTemporaryError, match="ended while"):
        built.get_or_create_pod(None, {})
    assert built.client.deleted == ["d2r-1"]
