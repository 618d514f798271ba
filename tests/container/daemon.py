"""Docker's daemon in a folder of its own, with no network for its containers. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path


class Daemon:
    """Started on `with`, stopped by its process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.address = f"unix://{folder}/socket"

    @staticmethod
    def missing() -> str | None:
        """Why there cannot be one."""
        if os.geteuid() != 0 or shutil.which("dockerd") is None:
            return "needs root and Docker's daemon (apt-get install docker.io)"
        return None

    def __enter__(self) -> Daemon:
        self.folder.mkdir()
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "-H", self.address, "-p", self.folder / "pid",
                 "--data-root", self.folder / "data", "--exec-root", self.folder / "exec"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 30
        while subprocess.run(["docker", "-H", self.address, "info"], check=False, capture_output=True).returncode != 0:
            if time.monotonic() > until:
                self.__exit__()
                raise TimeoutError(f"Docker's daemon was not ready after 30 s; its log is {self.folder}/log")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()

    def docker(self, *arguments: str, **options) -> str:
        """What a command of the client prints."""
        return subprocess.run(["docker", "-H", self.address, *arguments], check=True, stdout=subprocess.PIPE, text=True, **options).stdout
