"""Every command line that the DAGs build, checked against the help of the built command."""

import re
import subprocess

from d2r_airflow.inputs import shares
from d2r_airflow.operator import D2ROperator

TWO_WORDS = {"ingest", "evaluate", "export", "inspect", "config"}
COMMON = ["--lake", "L", "--runs", "R", "--preset", "tiny", "--set", "a.b=1"]


def opened(argument) -> list[str]:
    """The argument's strings; what only a run knows is replaced: `common` and `optional` by their flags, the rest by a word."""
    if isinstance(argument, str):
        return ["X" if "{{" in argument else argument]
    if isinstance(argument, (list, tuple)):
        return [text for inner in argument for text in opened(inner)]
    known = {"common": COMMON, "optional": ["--unlabelled", "X", "--init", "X", "--labeller", "X"]}
    return known.get(getattr(argument, "key", ""), ["X"])


def command_lines(dagbag):
    for dag in dagbag.dags.values():
        for task in dag.tasks:
            kind = task.operator_class if task.is_mapped else type(task)
            if kind is not D2ROperator:
                continue
            arguments = opened(task.partial_kwargs["arguments"] if task.is_mapped else task.arguments)
            if task.is_mapped:
                mapped = {"ingest": ["vindr", "--root", "X", "--labels", "nih"]}.get(task.task_id)
                if mapped is None and task.task_id.startswith("evaluate"):
                    mapped = ["--dataset", "mimic", "--split", "test", "--truth", "X"]
                arguments += mapped or shares(2, ["mimic/test"] if task.task_id == "report" and dag.dag_id != "d2r_smoke" else [])[0]
            yield f"{dag.dag_id}.{task.task_id}", [*arguments, "--manifest-out", "X"]


def verb_of(arguments: list[str]) -> tuple[str, ...]:
    words = [a for a in arguments if re.fullmatch(r"[a-z][a-z-]*", a)]
    first = arguments[0]
    if first not in TWO_WORDS:
        return (first,)
    layouts = {"vindr", "mimic", "iu-xray", "detector", "reports", "preview"}
    return (first, next(w for w in words[1:] if w in layouts))


def help_of(d2r: str, verb: tuple[str, ...]) -> str | None:
    done = subprocess.run([d2r, *verb, "--help"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def test_flags_are_those_of_the_commands_help(d2r, dagbag):
    lines = dict(command_lines(dagbag))
    assert len(lines) > 20
    missing = set()
    for name, arguments in lines.items():
        verb = verb_of(arguments)
        text = help_of(d2r, verb)
        if text is None:
            missing.add(verb)
            continue
        known = set(re.findall(r"--[a-z][a-z-]+", text))
        flags = {a for a in arguments if a.startswith("--")}
        assert flags <= known, f"{name}: d2r {' '.join(verb)} has no {flags - known}"
        required = set(re.findall(r"(--[a-z-]+) <", text.split("Usage:")[1].split("\n")[0]))
        assert required <= flags, f"{name}: d2r {' '.join(verb)} needs {required - flags}"
    assert not missing, f"verbs that d2r does not have: {missing}"


def test_the_command_line_parser_takes_them(d2r, dagbag, tmp_path):
    """The real parser, on a workspace that is empty: an unknown flag would be exit 2, a missing input is 66."""
    for name, arguments in command_lines(dagbag):
        if arguments[0] == "phantom":
            continue
        arguments = [a for a in arguments if a not in ("--set", "a.b=1")]
        done = subprocess.run([d2r, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode in (65, 66), f"{name}: exit {done.returncode}: {done.stderr[-500:]}"
