"""The command in a pod of its own, through the durable operator of the Kubernetes provider."""

from __future__ import annotations

from contextlib import suppress
from logging import Logger
from pathlib import Path

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client.exceptions import ApiException

from d2r_airflow.launchers.pod_template import CONTAINER, pod_template
from d2r_airflow.outcome import D2RTemporaryError, Finished
from d2r_airflow.settings import Settings

GRACE_S = 4
# Lines at the end of a pod's log among which the manifest is; messages on stderr may follow it.
TAIL = 100


class Pod(KubernetesPodOperator):
    """The provider's pod, which also keeps the exit code and the manifest.

    It is durable: the next try of a task whose worker was lost goes on with the pod of that try when it still runs.
    """

    code: int | None = None
    manifest: str | None = None

    def get_or_create_pod(self, pod_request_obj, context):
        """The pod of an earlier try that still runs, else a new one. None stays when TERM came meanwhile."""
        self.pod = super().get_or_create_pod(pod_request_obj, context)
        if self._killed:
            # The handler of the signal returns to the call that was in progress, and it knew no pod yet.
            self.on_kill()
            raise D2RTemporaryError("the task was ended while its pod was made")
        return self.pod

    def cleanup(self, pod, remote_pod, *args, **kwargs) -> None:
        statuses = (remote_pod.status.container_statuses if remote_pod and remote_pod.status else None) or []
        for status in statuses:
            if status.name == self.base_container_name and status.state.terminated:
                self.code = status.state.terminated.exit_code
        if self.code == 0:
            self.manifest = self._last_manifest(remote_pod)
        super().cleanup(pod, remote_pod, *args, **kwargs)

    def _last_manifest(self, pod) -> str | None:
        """The manifest that the command printed last, from the log that the cluster keeps; none when it cannot be read."""
        with suppress(ApiException):
            answer = self.client.read_namespaced_pod_log(
                name=pod.metadata.name, namespace=pod.metadata.namespace, container=self.base_container_name,
                tail_lines=TAIL, _preload_content=False,
            )  # fmt: skip
            lines = answer.data.decode(errors="replace").splitlines()
            return next((line for line in reversed(lines) if line.startswith('{"stage"')), None)
        return None


class KubernetesLauncher:
    """Runs `D2R_IMAGE`, whose entry point is `d2r`, with the volume claim `D2R_CLAIM` as the workspace."""

    def __init__(self, settings: Settings, *, gpu: bool, log: Logger):
        self.settings, self.gpu, self.log = settings, gpu and settings.gpus > 0, log
        self.pod: Pod | None = None

    def build(self, arguments: list[str], task_id: str, limit_s: float | None = None) -> Pod:
        """The pod that will run; the cluster ends it `limit_s` seconds after its start, also without a worker."""
        if self.settings.user_and_group()[0] == 0:
            raise AirflowFailException("D2R_USER is root, which pods do not run as: name another user, who may write to the claim")
        # The same path as on the worker: a lake stores the absolute paths of its images.
        workspace = str(Path(self.settings.workspace).absolute())
        return Pod(
            task_id=task_id,
            name="d2r",
            random_name_suffix=True,
            namespace=self.settings.namespace,
            pod_template_dict=pod_template(self.settings, arguments, workspace, gpu=self.gpu),
            base_container_name=CONTAINER,
            # No side container: the manifest is in the log.
            do_xcom_push=False,
            durable=True,
            active_deadline_seconds=int(limit_s) if limit_s else None,
            termination_grace_period=GRACE_S,
            on_finish_action="delete_pod",
        )

    def run(self, arguments: list[str], context: dict) -> Finished:
        task = context["task"]
        limit = task.execution_timeout
        self.pod = self.build(arguments, task.task_id, limit.total_seconds() if limit else None)
        try:
            self.pod.execute(context)
        except AirflowException:
            if not self.pod.code:
                raise
            return Finished(self.pod.code, None)
        if self.pod.manifest is None:
            raise D2RTemporaryError("the pod ended well, but its log could not be read; the next try finds its work done")
        return Finished(0, self.pod.manifest)

    def kill(self) -> None:
        if self.pod is not None:
            self.pod.on_kill()
