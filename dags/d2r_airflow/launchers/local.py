"""The command as a child of the task: no shell, its own process group, ended at the latest with the task."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from logging import Logger
from pathlib import Path

from airflow.sdk.exceptions import AirflowFailException

from d2r_airflow import environment
from d2r_airflow.outcome import D2RTemporaryError, Finished
from d2r_airflow.settings import Settings

# TERM to KILL. Airflow's supervisor kills the task five seconds after its own TERM.
GRACE_S = 4.0
POLL_S = 0.5


class LocalLauncher:
    """Runs `D2R_BIN` on the worker."""

    def __init__(self, settings: Settings, *, log: Logger, grace_s: float = GRACE_S):
        self.settings, self.log, self.grace_s = settings, log, grace_s
        self.child: subprocess.Popen[str] | None = None
        self.killed = False

    def run(self, arguments: list[str], context: dict) -> Finished:
        binary = shutil.which(self.settings.bin)
        if binary is None:
            raise AirflowFailException(f"D2R_BIN is `{self.settings.bin}`, which is no command on this worker")
        workspace = Path(self.settings.workspace).absolute()
        workspace.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="d2r-") as folder:
            manifest = Path(folder, "manifest.json")
            code = self._wait([*_dies_with_us(), binary, *arguments, "--manifest-out", str(manifest)], workspace)
            return Finished(code, manifest.read_text() if manifest.exists() else None)

    def _wait(self, argv: list[str], workspace: Path) -> int:
        supervisor = os.getppid()
        child = self.child = subprocess.Popen(
            argv, cwd=workspace, env=environment.of_child(), text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        if self.killed:
            # TERM came while the child was started; the handler of the signal returns to this place.
            self.kill()
        reader = threading.Thread(target=self._follow, args=(child.stdout,), daemon=True)
        reader.start()
        while True:
            try:
                code = child.wait(POLL_S)
                break
            except subprocess.TimeoutExpired:
                if os.getppid() != supervisor:
                    self.kill()
                    raise D2RTemporaryError("the supervisor of this task is gone, so is the command") from None
        reader.join(5)
        return code

    def _follow(self, lines) -> None:
        """Messages go to the log; the manifest, repeated on the last line, does not."""
        for line in lines:
            if text := line.rstrip():
                if not text.startswith('{"stage"'):
                    self.log.info("%s", text)

    def kill(self) -> None:
        self.killed = True
        child = self.child
        if child is None or _ended(child.pid):
            return
        _signal_group(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.grace_s
        while time.monotonic() < deadline:
            if _ended(child.pid):
                break
            time.sleep(0.05)
        # Also after an orderly end: what the command started itself must not outlive it.
        _signal_group(child.pid, signal.SIGKILL)


def _dies_with_us() -> list[str]:
    """The kernel kills the command when the task itself is killed with -9 (Linux, util-linux)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _ended(pid: int) -> bool:
    # WNOWAIT leaves the exit status to `Popen.wait`, which this may have interrupted while it held its lock.
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _signal_group(pid: int, signum: int) -> None:
    try:
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        pass
