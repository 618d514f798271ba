"""PostgreSQL and Redis in folders of their own, on loopback ports of their own, stopped by their process ids."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from server import free_port

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "container"))
from daemon import Daemon  # noqa: E402

# The user id of an unprivileged user on Debian.
UNPRIVILEGED = 65534


def postgres_binaries() -> Path | None:
    """The newest installed PostgreSQL's folder of programs; Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Service:
    """A server process: started on `with`, stopped by its id."""

    process: subprocess.Popen | None = None

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()


class Postgres(Service):
    """A new cluster with one database `airflow`; the server refuses to run as root, so root lends it another user."""

    def __init__(self, folder: Path):
        programs = postgres_binaries()
        if programs is None:
            pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.user = {}
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self.user = {"user": "postgres" if "postgres" in names else UNPRIVILEGED}

    def __enter__(self) -> Postgres:
        self.folder.mkdir()
        if self.user:
            shutil.chown(self.folder, self.user["user"])
            for parent in self.folder.parents:
                if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        data = self.folder / "data"
        subprocess.run(
            [self.programs / "initdb", "-D", data, "-U", "airflow", "-A", "trust", "--no-sync"],
            check=True, capture_output=True, cwd="/", **self.user,
        )  # fmt: skip
        self.process = subprocess.Popen(
            [self.programs / "postgres", "-D", data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-k", self.folder, "-F"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, **self.user,
        )  # fmt: skip
        ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL")
        subprocess.run(
            [self.programs / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "airflow", "airflow"], check=True
        )
        return self

    @property
    def connection(self) -> str:
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/airflow"


class Redis(Service):
    """A broker that keeps nothing."""

    def __init__(self, folder: Path):
        if shutil.which("redis-server") is None:
            pytest.skip("Redis is not installed (apt-get install redis-server)")
        self.folder, self.port = folder, free_port()

    def __enter__(self) -> Redis:
        self.folder.mkdir()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        ping = ["redis-cli", "-p", str(self.port), "ping"]
        wait_until(lambda: subprocess.run(ping, check=False, capture_output=True).stdout == b"PONG\n", "Redis")
        return self

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class Docker(Daemon):
    """A daemon with no network for its containers."""

    def __init__(self, folder: Path):
        if missing := self.missing():
            pytest.skip(missing)
        super().__init__(folder)

    def image_of(self, program: str, name: str) -> None:
        """An image of a program and the libraries that it loads, each at its path on this machine."""
        loaded = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        files = [program, *(word for word in loaded.split() if word.startswith("/"))]
        (self.folder / "root/tmp").mkdir(parents=True)
        (self.folder / "root/tmp").chmod(0o1777)
        tar = subprocess.Popen(
            ["tar", "-ch", "-P", *files, "-C", self.folder / "root", "tmp"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.docker("import", "--change", f'ENTRYPOINT ["{program}"]', "-", name, stdin=tar.stdout)
        assert tar.wait() == 0


def wait_until(ready, what: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} was not ready after {seconds} s")
        time.sleep(0.2)
