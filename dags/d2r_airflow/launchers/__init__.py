"""Launchers run the command. All take the same arguments and return how the command ended."""

from __future__ import annotations

from logging import Logger
from typing import Protocol

from d2r_airflow.outcome import Finished
from d2r_airflow.settings import Settings


class Launcher(Protocol):
    """Runs one command, and ends it early when asked."""

    def run(self, arguments: list[str], context: dict) -> Finished:
        """Runs `d2r` with these arguments, in the workspace; its messages go to the task's log."""

    def kill(self) -> None:
        """Ends the command within five seconds, which is what Airflow's supervisor waits. Safe in a signal handler."""


def launcher(settings: Settings, *, gpu: bool, log: Logger) -> Launcher:
    """The launcher that the site chose. Imported late: a local site needs neither Docker's nor Kubernetes' provider."""
    if settings.launcher == "docker":
        from d2r_airflow.launchers.docker import DockerLauncher

        return DockerLauncher(settings, gpu=gpu, log=log)
    if settings.launcher == "kubernetes":
        from d2r_airflow.launchers.kubernetes import KubernetesLauncher

        return KubernetesLauncher(settings, gpu=gpu, log=log)
    from d2r_airflow.launchers.local import LocalLauncher

    return LocalLauncher(settings, log=log)
