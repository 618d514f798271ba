"""The manifest of `d2r submit kubernetes`: valid for the oldest and the newest Kubernetes, and what its shell does."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import jsonschema
import yaml

DATA = Path(__file__).parent.parent / "data"
VERSIONS = ("1.29.0", "1.37.0")
SUBMIT = ["submit", "kubernetes", "--image", "registry.example/d2r:0.2.0", "--volume-claim", "d2r", "--mount", "/work"]
COMMAND = ["report", "--dataset", "mimic", "--reporter", "runs/a b", "--split", "yes"]


def submit(*words: str) -> str:
    run = [os.environ["D2R"], *words, "--", *COMMAND]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout


class Manifest(unittest.TestCase):
    def test_kubernetes_accepts_every_field(self):
        for version in VERSIONS:
            schema = json.loads((DATA / f"kubernetes-job-{version}.json").read_text(encoding="utf-8"))
            for words in ([], ["--devices-per-task", "1", "--time", "24:00:00", "--shards", "1000"]):
                with self.subTest(version=version, words=words):
                    manifest = yaml.safe_load(submit(*SUBMIT, *words))
                    jsonschema.Draft202012Validator(schema).validate(manifest)
                    manifest["spec"]["completionsMode"] = "Indexed"
                    with self.assertRaises(jsonschema.ValidationError):
                        jsonschema.Draft202012Validator(schema).validate(manifest)

    def test_yaml_1_1_reads_what_json_says(self):
        self.assertEqual(yaml.safe_load(submit(*SUBMIT)), json.loads(submit("--json", *SUBMIT)))

    def test_limits_that_the_schema_does_not_hold(self):
        job = json.loads(submit("--json", *SUBMIT))["spec"]
        rules = job["podFailurePolicy"]["rules"]
        self.assertLessEqual(len(rules), 20)
        containers = {container["name"] for container in job["template"]["spec"]["containers"]}
        for rule in rules:
            codes = rule.get("onExitCodes")
            if codes:
                self.assertIn(codes["containerName"], containers)
                self.assertEqual(codes["values"], sorted(set(codes["values"])))
                self.assertNotIn(0, codes["values"])
        self.assertEqual(job["template"]["spec"]["restartPolicy"], "Never")
        self.assertEqual(job["podReplacementPolicy"], "Failed")

    def test_kubernetes_finds_no_variable_in_the_shell_script(self):
        container = json.loads(submit("--json", *SUBMIT))["spec"]["template"]["spec"]["containers"][0]
        for text in container["command"]:
            self.assertIsNone(re.search(r"\$[($]", text))


class Shell(unittest.TestCase):
    """The container's command with a script in the place of `d2r`."""

    def start(self, body: str) -> subprocess.Popen:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        d2r = Path(folder.name) / "d2r"
        d2r.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        d2r.chmod(0o755)
        container = json.loads(submit("--json", *SUBMIT))["spec"]["template"]["spec"]["containers"][0]
        return subprocess.Popen(
            [*container["command"], *container["args"]],
            env={**os.environ, "PATH": f"{folder.name}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE, text=True,
        )

    def test_exit_codes_are_the_commands_but_nothing_to_do_is_success(self):
        for code, expected in {0: 0, 99: 0, 65: 65, 75: 75, 143: 143}.items():
            with self.subTest(code):
                process = self.start(f"exit {code}")
                process.communicate(timeout=20)
                self.assertEqual(process.returncode, expected)

    def test_arguments_arrive_as_they_are(self):
        process = self.start('for word in "$@"; do echo "$word"; done')
        out, _ = process.communicate(timeout=20)
        self.assertEqual(out.splitlines(), [*COMMAND, "--shard", "auto"])

    def test_term_reaches_the_command_and_its_code_is_waited_for(self):
        for code, expected in {143: 143, 0: 0, 99: 0}.items():
            with self.subTest(code):
                # Without a child in the background: TERM before its `exec` would be lost.
                process = self.start(f"trap 'sleep 0.5; exit {code}' TERM\necho up\nwhile :; do sleep 0.1; done")
                self.assertEqual(process.stdout.readline(), "up\n")
                start = time.monotonic()
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)
                self.assertEqual(process.returncode, expected)
                self.assertGreater(time.monotonic() - start, 0.4)


if __name__ == "__main__":
    unittest.main()
