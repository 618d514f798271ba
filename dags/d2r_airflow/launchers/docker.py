"""The command in a container of the worker's Docker daemon, through the `docker` package of the Docker provider."""

from __future__ import annotations

import os
from contextlib import suppress
from logging import Logger
from pathlib import Path

import docker
from airflow.sdk.exceptions import AirflowFailException
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import DeviceRequest

from d2r_airflow.outcome import Finished
from d2r_airflow.settings import Settings, configuration

# Which task a container belongs to.
LABEL = "d2r.task"
# Docker's own TERM to KILL; leaves the supervisor's five seconds some slack.
GRACE_S = 3


class DockerLauncher:
    """Runs `D2R_IMAGE`, whose entry point is `d2r`, with the workspace mounted."""

    def __init__(self, settings: Settings, *, gpu: bool, log: Logger):
        self.settings, self.gpu, self.log = settings, gpu and settings.gpus > 0, log
        self.container = None

    def options(self, arguments: list[str], task: str = "") -> dict:
        """What the container is started with. It has no network, and writes as the worker's user."""
        # The same path as on the worker: a lake stores the absolute paths of its images.
        workspace = str(Path(self.settings.workspace).absolute())
        gpus = [DeviceRequest(count=1, capabilities=[["gpu"]])] if self.gpu else []
        return {
            "image": self.settings.image,
            # The last line of stdout repeats the manifest; the file itself is not read.
            "command": [*arguments, "--manifest-out", "/tmp/manifest.json"],
            "environment": {**configuration(), "HOME": "/tmp"},
            "working_dir": workspace,
            "volumes": {workspace: {"bind": workspace, "mode": "rw"}},
            "device_requests": gpus,
            "shm_size": self.settings.shm_size,
            "user": f"{os.getuid()}:{os.getgid()}",
            "network_mode": "none",
            "labels": {LABEL: task},
            "init": True,
            "detach": True,
        }

    def run(self, arguments: list[str], context: dict) -> Finished:
        client = docker.from_env()
        task = task_name(context)
        for left in client.containers.list(all=True, filters={"label": f"{LABEL}={task}"}):
            self.log.warning("container %s of an earlier try is still there: removed", left.short_id)
            _remove(left)
        try:
            self.container = client.containers.run(**self.options(arguments, task))
        except ImageNotFound as e:
            raise AirflowFailException(f"D2R_IMAGE is `{self.settings.image}`, which neither the daemon nor its registry has") from e
        try:
            for line in self.container.logs(stdout=False, stderr=True, stream=True, follow=True):
                self.log.info("%s", line.decode(errors="replace").rstrip())
            code = self.container.wait()["StatusCode"]
            lines = self.container.logs(stdout=True, stderr=False).decode(errors="replace").strip().splitlines()
            return Finished(code, lines[-1] if lines else None)
        finally:
            _remove(self.container)

    def kill(self) -> None:
        if self.container is not None:
            # It may be gone already.
            with suppress(NotFound):
                self.container.stop(timeout=GRACE_S)


def task_name(context: dict) -> str:
    """The task that a container works for, without the try: a daemon outlives a worker that is killed, and so do its containers."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


def _remove(container) -> None:
    try:
        container.remove(force=True)
    except APIError as e:
        # Gone, or being removed.
        if e.status_code not in (404, 409):
            raise
