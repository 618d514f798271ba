"""What an exit code of `d2r` means to Airflow, and the manifest that a finished command leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

NOTHING_TO_DO = 99
# The same input would fail again: a person has to act.
PERMANENT = {2: "usage", 65: "bad data", 66: "input missing", 70: "a defect of d2r", 78: "bad configuration"}
# Known codes that are retried; every other code is retried too, a kill by the kernel for instance.
TEMPORARY = {75: "temporary", 130: "interrupted", 143: "terminated"}


class D2RTemporaryError(AirflowException):
    """The command ended with a code that is retried."""


@dataclass(frozen=True)
class Finished:
    """How a command ended: its exit code (negative: killed by that signal) and its manifest's text."""

    code: int
    manifest: str | None


def judge(finished: Finished) -> dict[str, Any]:
    """The manifest of a command that is done; otherwise the exception that skips, fails or retries the task."""
    code = finished.code
    if code == NOTHING_TO_DO:
        raise AirflowSkipException("d2r had nothing to do")
    if code in PERMANENT:
        raise AirflowFailException(f"d2r ended with {code} ({PERMANENT[code]}); no retry, the log says what to do")
    if code:
        why = TEMPORARY.get(code) or (f"killed by signal {-code}" if code < 0 else "unknown code")
        raise D2RTemporaryError(f"d2r ended with {code} ({why}); another try may help")
    try:
        manifest = json.loads(finished.manifest or "")
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise AirflowFailException("d2r ended well but left no manifest: is it the version that these DAGs were made for?")
    return manifest
