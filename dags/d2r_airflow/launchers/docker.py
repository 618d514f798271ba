"""The command in a container of the worker's Docker daemon, through the `docker` package of the Docker provider."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from logging import Logger
from pathlib import Path

import docker
from airflow.sdk.exceptions import AirflowFailException
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import DeviceRequest

from d2r_airflow import environment
from d2r_airflow.outcome import D2RTemporaryError, Finished
from d2r_airflow.settings import Settings

# Which task a container belongs to.
LABEL = "d2r.task"
# Docker's own TERM to KILL; leaves the supervisor's five seconds some slack.
GRACE_S = 3
# Threads and processes of a container. The command has a few threads per core.
PIDS = 4096
# The only place outside the workspace that a container may write to, in memory.
TMPFS = {"/tmp": "rw,noexec,nosuid,nodev,mode=1777,size=1g"}


class DockerLauncher:
    """Runs `D2R_IMAGE`, whose entry point is `d2r`, with the workspace mounted."""

    def __init__(self, settings: Settings, *, gpu: bool, log: Logger):
        self.settings, self.gpu, self.log = settings, gpu and settings.gpus > 0, log
        self.container = None
        self.killed = False

    def options(self, arguments: list[str], task: str = "", attempt: int = 1) -> dict:
        """What the container is made with: no network, no privileges, no root, nothing writable but the workspace and `/tmp`."""
        # The same path as on the worker: a lake stores the absolute paths of its images.
        workspace = str(Path(self.settings.workspace).absolute())
        gpus = [DeviceRequest(count=1, capabilities=[["gpu"]])] if self.gpu else []
        user, group = self.settings.user_and_group()
        memory = f"{self.settings.memory_gib}g"
        return {
            "image": self.settings.image,
            "name": container_name(task, attempt),
            # The last line of stdout repeats the manifest; the file itself is not read.
            "command": [*arguments, "--manifest-out", "/tmp/manifest.json"],
            "environment": {**environment.of_container(), "HOME": "/tmp"},
            "working_dir": workspace,
            "volumes": {workspace: {"bind": workspace, "mode": "rw"}},
            "device_requests": gpus,
            "shm_size": self.settings.shm_size,
            "user": f"{user}:{group}",
            "network_mode": "none",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "read_only": True,
            "tmpfs": TMPFS,
            "pids_limit": PIDS,
            "mem_limit": memory,
            # The same number: no swap beside it.
            "memswap_limit": memory,
            "labels": {LABEL: task},
            "init": True,
        }

    def run(self, arguments: list[str], context: dict) -> Finished:
        client = docker.from_env()
        task = task_name(context)
        for left in client.containers.list(all=True, filters={"label": f"{LABEL}={task}"}):
            self.log.warning("container %s of an earlier try is still there: removed", left.short_id)
            _remove(left)
        options = self.options(arguments, task, context["ti"].try_number)
        try:
            # Made first, then started: from here on there is a container to remove, whatever happens.
            self.container = self._create(client, options)
            self._go_on()
            self.container.start()
            self._go_on()
            for line in self.container.logs(stdout=False, stderr=True, stream=True, follow=True):
                self.log.info("%s", line.decode(errors="replace").rstrip())
            code = self.container.wait()["StatusCode"]
            lines = self.container.logs(stdout=True, stderr=False).decode(errors="replace").strip().splitlines()
            return Finished(code, lines[-1] if lines else None)
        finally:
            self._clean_up(client, options["name"])

    def _create(self, client, options: dict):
        """The container, not started; its image is pulled where the daemon does not have it."""
        try:
            return client.containers.create(**options)
        except ImageNotFound:
            pass
        try:
            client.images.pull(self.settings.image)
            return client.containers.create(**options)
        except NotFound as e:
            raise AirflowFailException(f"D2R_IMAGE is `{self.settings.image}`, which neither the daemon nor its registry has") from e

    def _go_on(self) -> None:
        """Ends the try when TERM came during the last call: the handler of the signal returns to that call."""
        if self.killed:
            raise D2RTemporaryError("the task was ended while its container was made")

    def _clean_up(self, client, name: str) -> None:
        container = self.container
        if container is None:
            # The daemon may have made it although the call failed.
            with suppress(NotFound):
                container = client.containers.get(name)
        if container is not None:
            _remove(container)

    def kill(self) -> None:
        self.killed = True
        if self.container is not None:
            # It may be gone already.
            with suppress(NotFound):
                self.container.stop(timeout=GRACE_S)


def task_name(context: dict) -> str:
    """The task that a container works for, without the try: a daemon outlives a worker that is killed, and so do its containers."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


def container_name(task: str, attempt: int) -> str:
    """The name of a try's container: a daemon has one container of a name, so a try cannot have two."""
    return f"d2r-{hashlib.sha256(task.encode()).hexdigest()[:16]}-{attempt}"


def _remove(container) -> None:
    try:
        container.remove(force=True)
    except APIError as e:
        # Gone, or being removed.
        if e.status_code not in (404, 409):
            raise
