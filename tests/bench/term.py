"""How long every verb takes to end after SIGTERM, on work that would go on for much longer.

Writes bench-results/term.json and prints a table; fails when a verb takes more than four seconds or ends by another code
than 143 (0 where it finished meanwhile).

    python tests/bench/term.py --d2r D2R [--rows 1000000] [--tries 3] --out bench-results/term.json
"""

import argparse
import fcntl
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from machine import machine

LIMIT_S = 4.0


def listing(folder: Path, rows: int) -> None:
    """A MIMIC-CXR listing with that many images, whose files are not there."""
    folder.mkdir()
    with (
        gzip.open(folder / "mimic-cxr-2.0.0-metadata.csv.gz", "wt", 1) as metadata,
        gzip.open(folder / "mimic-cxr-2.0.0-split.csv.gz", "wt", 1) as split,
    ):
        metadata.write("dicom_id,subject_id,study_id,ViewPosition,Rows,Columns\n")
        split.write("dicom_id,study_id,subject_id,split\n")
        for row in range(rows):
            subject, study = 10_000_000 + row // 4, 50_000_000 + row // 2
            metadata.write(f"{row:08x}-0,{subject},{study},PA,3056,2544\n")
            split.write(f"{row:08x}-0,{study},{subject},train\n")


def boxes(path: Path, images: int, each: int) -> None:
    """VinDr-CXR's label file with that many boxes of each image."""
    with path.open("w") as file:
        file.write("image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n")
        for image in range(images):
            for row in range(each):
                x, y = row % 2000, row // 100
                file.write(f"{image:08x},R{row % 17 + 1},Nodule/Mass,{x},{y},{x + 20},{y + 20}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    d2r, rng = args.d2r.resolve(), random.Random(1)
    with tempfile.TemporaryDirectory() as base:
        work = Path(base)

        def run(*arguments: str) -> None:
            subprocess.run([d2r, *arguments], cwd=work, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        listing(work / "listed", args.rows)
        boxes(work / "fused.csv", 100, 10_000)
        boxes(work / "many.csv", args.rows // 2, 1)
        run("phantom", "--out", "phantom", "--preset", "tiny")
        run("pipeline", "--preset", "tiny", "--out", "tiny")
        run("ingest", "vindr", "--root", "many.csv", "--labels-only", "--lake", "large")
        detector = str(next((work / "tiny/runs").glob("detector-*")))
        reporter = str(next((work / "tiny/runs").glob("reporter-*")))
        lake = ["--lake", "tiny/lake", "--preset", "tiny", "--runs", "runs"]
        (work / "images").mkdir()
        image = next((work / "phantom/mimic/files").rglob("*.jpg"))
        for copy in range(2000):
            os.link(image, work / "images" / f"{copy}.jpg")
        shutil.copytree(work / "tiny/lake", work / "locked")
        verbs: dict[str, list[str]] = {
            "ingest, listing": ["ingest", "mimic", "--root", "listed", "--lake", "new"],
            "ingest, fusing": ["ingest", "vindr", "--root", "fused.csv", "--labels-only", "--lake", "new"],
            "validate": ["validate", "--lake", "large"],
            "audit": ["audit", "--lake", "large"],
            "train-detector": ["train-detector", "--dataset", "vindr", *lake, "--set", "detector.train.steps=100000"],
            "train-reporter": ["train-reporter", "--dataset", "mimic", "--detector", detector, *lake, "--set", "report.train.epochs=10000"],
            "report": ["report", "--images", "images", "--reporter", reporter, "--out", "out", "--preset", "tiny"],
            "evaluate": ["evaluate", "reports", "--dataset", "mimic", "--split", "test", *lake, "--set", "evaluate.bootstrap_draws=20000000"],
            "waiting for a lock": ["lake", "remove", "--dataset", "mimic", "--lake", "locked"],
        }
        lock = (work / "locked/locks/commit").open("r+")
        fcntl.flock(lock, fcntl.LOCK_EX)
        figures, slow = {}, []
        for name, arguments in verbs.items():
            latencies, codes = [], set()
            for _ in range(args.tries):
                process = subprocess.Popen([d2r, *arguments], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.uniform(1.0, 4.0))
                start = time.perf_counter()
                ended = process.poll() is not None
                process.send_signal(signal.SIGTERM)
                code = process.wait()
                if not ended:
                    latencies.append(time.perf_counter() - start)
                    codes.add(code)
            worst = max(latencies, default=float("nan"))
            figures[name] = worst
            print(f"{name:<20} {worst:6.2f} s, {len(latencies)} of {args.tries} were running, exit {sorted(codes)}", flush=True)
            if not latencies or worst > LIMIT_S or not codes <= {0, 143}:
                slow.append(name)
    result = {
        "figures": {f"{name}_s": value for name, value in figures.items()},
        "machine": machine(),
        "load": os.getloadavg(),
        "command": "make bench-term",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    if slow:
        raise SystemExit(f"more than {LIMIT_S} s, another code, or finished before: {', '.join(slow)}")


if __name__ == "__main__":
    main()
