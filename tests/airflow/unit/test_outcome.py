"""Exit codes of `d2r` as Airflow sees them. The table is the one of README.md."""

import re

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from conftest import ROOT
from d2r_airflow.outcome import NOTHING_TO_DO, PERMANENT, TEMPORARY, D2RTemporaryError, Finished, judge

MANIFEST = '{"stage": "audit", "rows": {}}'


def test_done_gives_the_manifest():
    assert judge(Finished(0, MANIFEST)) == {"stage": "audit", "rows": {}}


@pytest.mark.parametrize("code", [2, 65, 66, 70, 78])
def test_permanent_codes_fail_without_retry(code):
    with pytest.raises(AirflowFailException, match=str(code)):
        judge(Finished(code, None))


@pytest.mark.parametrize("code", [75, 130, 143, 1, 137, -9, -11])
def test_other_codes_may_be_retried(code):
    with pytest.raises(D2RTemporaryError, match=str(code)) as caught:
        judge(Finished(code, MANIFEST))
    assert not isinstance(caught.value, AirflowFailException)


def test_nothing_to_do_skips():
    with pytest.raises(AirflowSkipException):
        judge(Finished(99, None))


@pytest.mark.parametrize("text", [None, "", "no json", "[1]", '"text"'])
def test_success_without_a_manifest_is_a_failure(text):
    with pytest.raises(AirflowFailException, match="no manifest"):
        judge(Finished(0, text))


def test_every_code_of_the_command_is_known():
    source = (ROOT / "batch/src/exit.rs").read_text()
    codes = {int(code) for code in re.findall(r"\(Exit::\w+, (\d+),", source)}
    assert codes == {0, NOTHING_TO_DO, *PERMANENT, *TEMPORARY}
