"""Settings of a site, read from the environment of the process that runs a task; DAG files do not read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from airflow.sdk.exceptions import AirflowFailException

LAUNCHERS = ("local", "docker", "kubernetes")


@dataclass(frozen=True)
class Settings:
    """One field per variable `D2R_<FIELD>`; `dags/README.md` describes each."""

    launcher: str = "local"
    bin: str = "d2r"
    workspace: str = "."
    image: str = "d2r"
    gpus: int = 0
    shm_size: str = "1g"
    namespace: str = "default"
    claim: str = "d2r"

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings; an unknown launcher or a number that is none fails without a retry."""
        environment = os.environ if environment is None else environment
        given = {name: environment[f"D2R_{name.upper()}"] for name in cls.__dataclass_fields__ if f"D2R_{name.upper()}" in environment}
        try:
            given["gpus"] = int(given.get("gpus", cls.gpus))
        except ValueError:
            raise AirflowFailException(f"D2R_GPUS is `{given['gpus']}`, not a number") from None
        if given.get("launcher", "local") not in LAUNCHERS:
            raise AirflowFailException(f"D2R_LAUNCHER is `{given['launcher']}`, not one of {', '.join(LAUNCHERS)}")
        return cls(**given)


def configuration(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The command's own variables, `D2R_<SECTION>__<KEY>`: what a container gets of the worker's environment."""
    environment = os.environ if environment is None else environment
    return {name: value for name, value in environment.items() if name.startswith("D2R_") and "__" in name}
