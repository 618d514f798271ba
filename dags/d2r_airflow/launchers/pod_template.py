"""The pod of a command as plain data, in Kubernetes' names: what it may do is written here once."""

from __future__ import annotations

from typing import Any

from d2r_airflow import environment
from d2r_airflow.settings import Settings

CONTAINER = "base"
# The last line of stdout repeats the manifest; the file itself is not read.
MANIFEST = "/tmp/manifest.json"
# What a network policy of the site selects. Commands need no network.
LABELS = {"app.kubernetes.io/name": "d2r", "app.kubernetes.io/component": "command"}
TMP_SIZE = "1Gi"


def pod_template(settings: Settings, arguments: list[str], workspace: str, *, gpu: bool) -> dict[str, Any]:
    """A pod with one container: no root, no privileges, no token, nothing writable but the workspace and `/tmp`.

    It fulfils the level `restricted` of Kubernetes' pod security standards. Requests equal limits.
    """
    user, group = settings.user_and_group()
    resources = {"cpu": str(settings.cpus), "memory": f"{settings.memory_gib}Gi", "ephemeral-storage": "2Gi"}
    if gpu:
        resources["nvidia.com/gpu"] = "1"
    # libtorch would start a thread per core of the node, whatever the limit.
    own = {"HOME": "/tmp", "OMP_NUM_THREADS": str(settings.cpus), "RAYON_NUM_THREADS": str(settings.cpus)}
    variables = {**own, **environment.of_container()}
    container = {
        "name": CONTAINER,
        "image": settings.image,
        "args": [*arguments, "--manifest-out", MANIFEST],
        "workingDir": workspace,
        "env": [{"name": name, "value": value} for name, value in sorted(variables.items())],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "workspace", "mountPath": workspace}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": LABELS},
        "spec": {
            "containers": [container],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": group,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "volumes": [
                {"name": "workspace", "persistentVolumeClaim": {"claimName": settings.claim}},
                {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
            ],
        },
    }
