"""What the command gets of the worker's environment: names that are listed here or by the site, nothing else.

The environment of a worker holds connections, variables and credentials of a cloud; the command needs none of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from airflow.sdk.exceptions import AirflowFailException

# Names that a site adds, separated by commas.
EXTRA = "D2R_PASS_ENV"
# A child on the worker: how programs and libraries are found, language and time zone, temporary files, devices, threads, the
# job of a cluster.
NAMES = frozenset(("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "NO_COLOR", "RAYON_NUM_THREADS"))
PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "GOMP_", "MKL_", "SLURM_", "D2R_")
# Airflow's own configuration, connections and variables.
NEVER = "AIRFLOW"


def of_child(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child on the worker.

    Fails without a retry when `D2R_PASS_ENV` holds what is no name or is Airflow's own.
    """
    environment = os.environ if environment is None else environment
    kept = {name: value for name, value in environment.items() if name in NAMES or name.startswith(PREFIXES)}
    return {**kept, **_extra(environment)}


def of_container(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a container: the command's own variables, `D2R_<SECTION>__<KEY>`, and what the site adds.

    Paths, devices and jobs of the worker mean nothing there. Fails as `of_child` does.
    """
    environment = os.environ if environment is None else environment
    own = {name: value for name, value in environment.items() if name.startswith("D2R_") and "__" in name}
    return {**own, **_extra(environment)}


def _extra(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that `D2R_PASS_ENV` names and that are set."""
    names = [name.strip() for name in environment.get(EXTRA, "").split(",") if name.strip()]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise AirflowFailException(f"{EXTRA} holds {name!r}, which is no name of a variable: list names, separated by commas")
        if name.startswith(NEVER):
            raise AirflowFailException(f"{EXTRA} names {name}: variables of Airflow may hold secrets and are not passed on")
    return {name: environment[name] for name in names if name in environment}
