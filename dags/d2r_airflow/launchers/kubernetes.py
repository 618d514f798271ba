"""The command in a pod of its own, through the operator of the Kubernetes provider."""

from __future__ import annotations

import json
from logging import Logger
from pathlib import Path

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import models as k8s

from d2r_airflow.outcome import Finished
from d2r_airflow.settings import Settings, configuration

# The provider's side container reads the result here.
MANIFEST = "/airflow/xcom/return.json"
GRACE_S = 4


class Pod(KubernetesPodOperator):
    """The provider's pod, which also stores the exit code."""

    code: int | None = None

    def cleanup(self, pod, remote_pod, *args, **kwargs) -> None:
        statuses = (remote_pod.status.container_statuses if remote_pod and remote_pod.status else None) or []
        for status in statuses:
            if status.name == self.base_container_name and status.state.terminated:
                self.code = status.state.terminated.exit_code
        super().cleanup(pod, remote_pod, *args, **kwargs)


class KubernetesLauncher:
    """Runs `D2R_IMAGE`, whose entry point is `d2r`, with the volume claim `D2R_CLAIM` as the workspace."""

    def __init__(self, settings: Settings, *, gpu: bool, log: Logger):
        self.settings, self.gpu, self.log = settings, gpu and settings.gpus > 0, log
        self.pod: Pod | None = None

    def build(self, arguments: list[str], task_id: str) -> Pod:
        """The pod that will run."""
        # The same path as on the worker: a lake stores the absolute paths of its images.
        workspace = str(Path(self.settings.workspace).absolute())
        claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=self.settings.claim)
        limits = {"nvidia.com/gpu": "1"} if self.gpu else {}
        return Pod(
            task_id=task_id,
            name="d2r",
            random_name_suffix=True,
            namespace=self.settings.namespace,
            image=self.settings.image,
            arguments=[*arguments, "--manifest-out", MANIFEST],
            env_vars=configuration(),
            volumes=[k8s.V1Volume(name="workspace", persistent_volume_claim=claim)],
            volume_mounts=[k8s.V1VolumeMount(name="workspace", mount_path=workspace)],
            full_pod_spec=k8s.V1Pod(
                metadata=k8s.V1ObjectMeta(), spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", working_dir=workspace)])
            ),
            container_resources=k8s.V1ResourceRequirements(limits=limits),
            do_xcom_push=True,
            termination_grace_period=GRACE_S,
            on_finish_action="delete_pod",
        )

    def run(self, arguments: list[str], context: dict) -> Finished:
        self.pod = self.build(arguments, context["task"].task_id)
        try:
            manifest = self.pod.execute(context)
        except AirflowException:
            if not self.pod.code:
                raise
            return Finished(self.pod.code, None)
        return Finished(0, json.dumps(manifest))

    def kill(self) -> None:
        if self.pod is not None:
            self.pod.on_kill()
