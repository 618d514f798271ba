"""The command in a container of the worker's Docker daemon, through the `docker` package of the Docker provider."""

from __future__ import annotations

from logging import Logger
from pathlib import Path

import docker
from docker.types import DeviceRequest

from d2r_airflow.outcome import Finished
from d2r_airflow.settings import Settings

# Inside the container.
WORKSPACE = "/workspace"
# Docker's own TERM to KILL; leaves the supervisor's five seconds some slack.
GRACE_S = 3


class DockerLauncher:
    """Runs `D2R_IMAGE`, whose entry point is `d2r`, with the workspace mounted."""

    def __init__(self, settings: Settings, *, gpu: bool, log: Logger):
        self.settings, self.gpu, self.log = settings, gpu and settings.gpus > 0, log
        self.container = None

    def options(self, arguments: list[str]) -> dict:
        """What the container is started with."""
        gpus = [DeviceRequest(count=1, capabilities=[["gpu"]])] if self.gpu else []
        return {
            "image": self.settings.image,
            # The last line of stdout repeats the manifest; the file itself is not read.
            "command": [*arguments, "--manifest-out", "/tmp/manifest.json"],
            "working_dir": WORKSPACE,
            "volumes": {str(Path(self.settings.workspace).absolute()): {"bind": WORKSPACE, "mode": "rw"}},
            "device_requests": gpus,
            "shm_size": self.settings.shm_size,
            "init": True,
            "detach": True,
        }

    def run(self, arguments: list[str], context: dict) -> Finished:
        client = docker.from_env()
        self.container = client.containers.run(**self.options(arguments))
        try:
            for line in self.container.logs(stdout=False, stderr=True, stream=True, follow=True):
                self.log.info("%s", line.decode(errors="replace").rstrip())
            code = self.container.wait()["StatusCode"]
            lines = self.container.logs(stdout=True, stderr=False).decode(errors="replace").strip().splitlines()
            return Finished(code, lines[-1] if lines else None)
        finally:
            self.container.remove(force=True)

    def kill(self) -> None:
        if self.container is not None:
            self.container.stop(timeout=GRACE_S)
