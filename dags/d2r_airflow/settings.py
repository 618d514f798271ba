"""Settings of a site, read from the environment of the process that runs a task; DAG files do not read it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow.sdk.exceptions import AirflowFailException

LAUNCHERS = ("local", "docker", "kubernetes")
# Fields that are numbers, with the least value of each.
NUMBERS = {"gpus": 0, "cpus": 1, "memory_gib": 1}
# User and group of containers where the worker is root: the ids that most systems give to no person's files.
UNPRIVILEGED = (65534, 65534)


@dataclass(frozen=True)
class Settings:
    """One field per variable `D2R_<FIELD>`; `dags/README.md` describes each."""

    launcher: str = "local"
    bin: str = "d2r"
    workspace: str = "."
    image: str = "d2r"
    gpus: int = 0
    cpus: int = 4
    memory_gib: int = 32
    user: str = ""
    shm_size: str = "1g"
    namespace: str = "default"
    claim: str = "d2r"

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings; an unknown launcher, a number that is none or a user that is none fails without a retry."""
        environment = os.environ if environment is None else environment
        given = {name: environment[f"D2R_{name.upper()}"] for name in cls.__dataclass_fields__ if f"D2R_{name.upper()}" in environment}
        for name, least in NUMBERS.items():
            if name not in given:
                continue
            if not re.fullmatch(r"[0-9]{1,6}", given[name]) or int(given[name]) < least:
                raise AirflowFailException(f"D2R_{name.upper()} is `{given[name]}`, not a number from {least} on")
            given[name] = int(given[name])
        if given.get("launcher", "local") not in LAUNCHERS:
            raise AirflowFailException(f"D2R_LAUNCHER is `{given['launcher']}`, not one of {', '.join(LAUNCHERS)}")
        if given.get("user") and not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,9}", given["user"]):
            raise AirflowFailException(f"D2R_USER is `{given['user']}`, not `uid:gid` in numbers")
        return cls(**given)

    def user_and_group(self) -> tuple[int, int]:
        """The user and group of containers: `D2R_USER`, else the worker's own; an unprivileged one where the worker is root."""
        if self.user:
            user, group = self.user.split(":")
            return int(user), int(group)
        return (os.getuid(), os.getgid()) if os.getuid() else UNPRIVILEGED
