"""Kills `d2r` at random moments, over all stages, and compares what is there afterwards with an undisturbed run.

Every stage is started, killed with SIGKILL after a random share of its usual time, and started again until it ends by
itself. Beside it a process scans the folders of the lake, as an analyst's query does: it must never see two parts of one
stage in a table, nor a file that cannot be read. In the end the content digests of all tables and the digests of all weights
are those of the undisturbed run.

    python tests/kill/storm.py --d2r D2R [--kills 200] [--seed 1] [--out bench-results/kill-storm.json]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import polars

SETTINGS = ["--preset", "tiny", "--lake", "lake", "--runs", "runs", "--json"]
SHARDS = 2


class Project:
    """A folder with a lake, and the commands that fill it."""

    def __init__(self, d2r: Path, folder: Path, phantom: Path):
        self.d2r, self.folder, self.phantom = d2r, folder, phantom
        folder.mkdir()

    def run_folder(self, kind: str) -> str:
        return str(next((self.folder / "runs").glob(f"{kind}-*")).relative_to(self.folder))

    def stages(self):
        """Name and arguments of every stage, made when the ones before are finished."""
        yield "ingest vindr", ["ingest", "vindr", "--root", str(self.phantom / "vindr")]
        yield "ingest mimic", ["ingest", "mimic", "--root", str(self.phantom / "mimic")]
        yield "train-detector", ["train-detector", "--dataset", "vindr"]
        detector = self.run_folder("detector")
        for index in range(SHARDS):
            yield f"annotate {index}", ["annotate", "--dataset", "mimic", "--detector", detector, "--shard", f"{index}/{SHARDS}"]
        yield "train-reporter", ["train-reporter", "--dataset", "mimic", "--detector", detector]
        reporter = self.run_folder("reporter")
        for index in range(SHARDS):
            report = ["report", "--dataset", "mimic", "--split", "test", "--reporter", reporter]
            yield f"report {index}", [*report, "--shard", f"{index}/{SHARDS}"]
        yield "evaluate reports", ["evaluate", "reports", "--dataset", "mimic", "--split", "test"]
        yield "validate", ["validate"]

    def start(self, arguments: list[str]) -> subprocess.Popen:
        command = [self.d2r, *arguments, *SETTINGS]
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, arguments: list[str]) -> float:
        start = time.perf_counter()
        process = self.start(arguments)
        _, error = process.communicate()
        if process.returncode not in (0, 99):
            raise SystemExit(f"{' '.join(arguments)}: exit {process.returncode}\n{error}")
        return time.perf_counter() - start

    def digests(self) -> dict[str, str]:
        """Of every table's rows, histories of runs aside, and of all weights."""
        found = {}
        for path in sorted((self.folder / "lake" / "manifests").rglob("*.json")):
            part = json.loads(path.read_text())["part"]
            if part["table"] not in ("timings", "train_log"):
                found["/".join(str(part[k]) for k in ("table", "dataset", "split", "producer"))] = part["content_sha256"]
        for path in sorted((self.folder / "runs").rglob("best/model.safetensors")):
            found[str(path.relative_to(self.folder))] = subprocess.check_output(["sha256sum", path], text=True).split()[0]
        return found


class Scanner(threading.Thread):
    """Scans all tables again and again."""

    def __init__(self, lake: Path):
        super().__init__(daemon=True)
        self.lake, self.stopped, self.scans, self.wrong = lake, threading.Event(), 0, []

    def run(self) -> None:
        while not self.stopped.is_set():
            for table in list((self.lake / "v1").glob("*")):
                self.scan(table)
                self.scans += 1

    def scan(self, table: Path) -> None:
        producers = set()
        for path in sorted(table.rglob("*.parquet")):
            try:
                polars.read_parquet(path)
                producer = (path.parent, polars.read_parquet_metadata(path)["d2r.producer"])
                if producer in producers:
                    self.wrong.append(f"two parts of one stage: {path}")
                producers.add(producer)
            except FileNotFoundError:
                pass  # A table that a stage no longer writes.
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is what is looked for
                self.wrong.append(f"{path}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True, type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    d2r, rng = args.d2r.resolve(), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as base:
        phantom = Path(base, "phantom")
        subprocess.run([d2r, "phantom", "--out", phantom, "--preset", "tiny", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        calm = Project(d2r, Path(base, "calm"), phantom)
        seconds = {name: calm.finish(arguments) for name, arguments in calm.stages()}
        expected = calm.digests()
        print({name: round(value, 1) for name, value in seconds.items()}, flush=True)
        kills: dict[str, int] = {}
        scans, start = 0, time.perf_counter()
        while sum(kills.values()) < args.kills:
            storm = Project(d2r, Path(base, "storm"), phantom)
            scanner = Scanner(storm.folder / "lake")
            scanner.start()
            for name, arguments in storm.stages():
                left = args.kills - sum(kills.values())
                for _ in range(min(left, rng.randint(1, 4))):
                    process = storm.start(arguments)
                    try:
                        process.wait(rng.uniform(0, seconds[name] * 1.1))
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                        kills[name] = kills.get(name, 0) + 1
                    process.communicate()
                storm.finish(arguments)
            scanner.stopped.set()
            scanner.join()
            scans += scanner.scans
            if scanner.wrong:
                raise SystemExit(f"a scan saw: {scanner.wrong[:5]}")
            found = storm.digests()
            if found != expected:
                differing = sorted(k for k in expected | found if expected.get(k) != found.get(k))
                raise SystemExit(f"other results after kills: {differing}")
            print(f"{sum(kills.values())} kills, {scans} scans: same results", flush=True)
            shutil.rmtree(storm.folder)
    result = {
        "figures": {"kills": sum(kills.values()), "table_scans": scans, "seconds": round(time.perf_counter() - start)},
        "kills_by_stage": kills,
        "load": os.getloadavg(),
        "command": "make test-kill",
    }
    print(json.dumps(result))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
