"""Array jobs of `d2r submit slurm` under a real Slurm; D2R names the built command. Run by `make test-slurm`."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from cluster import Cluster

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
D2R = os.environ["D2R"]
REPORTER = ROOT / "batch/models/reporter"
SHARDS = 8
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}


def script(folder: Path, *words: str, command: list[str]) -> Path:
    """What `d2r submit slurm` writes for a small task."""
    path = folder / "job.sbatch"
    small = ["--shards", str(SHARDS), "--memory", "1500M", "--out", path]
    subprocess.run([D2R, "submit", "slurm", *small, *words, "--", *command], check=True, stdout=subprocess.DEVNULL)
    return path


class Slurm(unittest.TestCase):
    """A cluster per class."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="d2r-slurm-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = Path(cls.temporary.name)
        cls.cluster = Cluster(cls.folder / "cluster")
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()

    def finish(self, array: str, seconds: float, held: tuple[int, ...] = ()) -> list[dict[str, str]]:
        """The elements once all are over; those that were put back begin at once, unless they are held."""

        def over() -> bool:
            elements = [self.cluster.element(array, index) for index in range(SHARDS)]
            for index, element in enumerate(elements):
                if element["JobState"] == "PENDING" and element["Restarts"] != "0" and index not in held:
                    self.cluster.start_now(array, index)
            return all(element["JobState"] in OVER for element in elements)

        self.cluster.wait(over, seconds, "not all elements are over")
        return [self.cluster.element(array, index) for index in range(SHARDS)]


class ExitCodes(Slurm):
    def test_every_exit_code_has_its_consequence(self):
        self.cluster.environment["D2R_BIN"] = str(HERE / "stand_in.sh")
        self.addCleanup(self.cluster.environment.pop, "D2R_BIN")
        odd = "a b'c\"$HOME"
        job = script(self.folder, "--cpus", "1", "--time", "00:02:00", command=["annotate", "--detector", odd])
        array = self.cluster.submit(job, cwd=self.folder)
        running = lambda: self.cluster.element(array, 5)["JobState"] == "RUNNING"  # noqa: E731
        self.cluster.wait(running, 30, "element 5 does not run")
        time.sleep(2)
        self.cluster.run("scancel", f"{array}_5")
        elements = self.finish(array, 240)
        found = {i: (e["JobState"], e["ExitCode"].split(":")[0], int(e["Restarts"])) for i, e in enumerate(elements)}
        self.assertEqual(found.pop(5)[::2], ("CANCELLED", 0), "a cancelled element is not put back")
        self.assertEqual(
            found,
            {
                0: ("COMPLETED", "0", 0),
                1: ("COMPLETED", "0", 0),
                2: ("FAILED", "65", 0),
                3: ("FAILED", "75", 3),
                4: ("COMPLETED", "0", 1),
                6: ("COMPLETED", "0", 1),
                7: ("COMPLETED", "0", 1),
            },
        )
        logs = {i: (self.folder / f"slurm-{array}_{i}.out").read_text() for i in range(SHARDS)}
        self.assertIn(f"element 0 of 8, try 0: annotate --detector {odd} --shard auto", logs[0])
        self.assertIn("TERM arrived", logs[6])
        self.assertEqual(logs[3].count("element 3 of 8"), 4)


class Reports(Slurm):
    def test_an_array_with_a_killed_element_writes_what_one_process_writes(self):
        self.cluster.environment.update({"D2R_BIN": D2R, "D2R_RUN__THREADS": "1"})
        work = self.folder / "work"
        work.mkdir()
        # A part is made of groups of 16 images: more than one group for each.
        self.d2r("phantom", "--images", "120", "--seed", "5", "--out", "phantom")
        report = ["report", "--preset", "demo", "--images", "phantom/mimic/files", "--reporter", str(REPORTER)]
        report += ["--set", "generate.batch_size=8", "--set", "generate.beam_size=1"]
        job = script(self.folder, "--cpus", "2", command=[*report, "--out", "array"])
        array = self.cluster.submit(job, cwd=work)
        self.kill(array, 3)
        elements = self.finish(array, 900)
        self.assertEqual({e["JobState"] for e in elements}, {"COMPLETED"}, self.log(array))
        self.assertEqual([int(e["Restarts"]) for e in elements], [0, 0, 0, 1, 0, 0, 0, 0])
        for index in range(SHARDS):
            self.assertIn(f"part {index}/{SHARDS} of the work, from Slurm", self.log(array, index))
        self.d2r("validate", "--lake", "array")

        self.d2r(*report, "--out", "one")
        expected = digests(work / "one")
        tables = {table for table, *_ in expected}
        self.assertGreaterEqual(tables, {"generated_reports", "report_sentences", "lesions", "images"})
        self.assertEqual(digests(work / "array"), expected)

    def d2r(self, *words: str) -> None:
        """The command in this process's place, without Slurm."""
        environment = {**os.environ, "D2R_RUN__THREADS": "1"}
        run = subprocess.run([D2R, *words], cwd=self.folder / "work", env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, f"{' '.join(words)}: {run.stderr}")

    def kill(self, array: str, index: int) -> None:
        """Kills the command of an element with SIGKILL while it works."""
        element = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}"}
        found: list[int] = []

        def runs() -> bool:
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    command = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                    variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if command == D2R and element <= set(variables):
                    found.append(int(folder.name))
            return bool(found)

        self.cluster.wait(runs, 300, f"element {index} does not run")
        time.sleep(1.5)
        os.kill(found[0], signal.SIGKILL)

    def log(self, array: str, index: int | str = "*") -> str:
        return "\n".join(log.read_text() for log in sorted((self.folder / "work").glob(f"slurm-{array}_{index}.out")))


def digests(lake: Path) -> dict[tuple[str, str, str, int, int], str]:
    """The content digest of every part; the history of runs (`timings`) is left out, it is a measurement."""
    found = {}
    for path in (lake / "manifests").rglob("*-of-*.json"):
        part = json.loads(path.read_text(encoding="utf-8"))["part"]
        if part["table"] != "timings":
            shard = part["shard"]
            key = (part["table"], part["dataset"], part["split"], shard["index"], shard["count"])
            found[key] = part["content_sha256"]
    return found


if __name__ == "__main__":
    unittest.main()
