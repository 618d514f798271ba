"""Peak memory and time of every stage on sets of tiny radiographs, from a thousand to a hundred thousand images; before that, what a
second core gives (parallel.py).

Two sets of each size: COCO boxes for the detector, studies with reports as R2Gen stores them for the others. Models are
tiny, so that what is measured is how a stage reads, holds and writes its rows. Trainings run two steps, once on images that
have to be decoded and once on prepared ones: their second time is the time to start.

    python tests/bench/scale.py --d2r D2R [--sizes 1000 10000 100000] [--without STAGE ...] --out bench-results/scale.json
"""

import argparse
import json
import os
import random
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

from machine import libtorch, machine
from parallel import figures as parallel_figures

SIDE = 64
WORDS = ["no effusion .", "the heart is large .", "there is a nodule in the left lung .", "the lungs are clear ."]
SETTINGS = [
    "--preset", "tiny", "--lake", "lake", "--runs", "runs", "--json",
    "--set", "detector.model.input_size=64", "--set", "detector.train.steps=2", "--set", "detector.train.eval_every=2",
    "--set", "report.train.epochs=1", "--set", "generate.max_words=4", "--set", "generate.beam_size=1",
]  # fmt: skip


def png(rng: random.Random) -> bytes:
    """A grey image that no other one equals, stored without compression."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(range(60, 60 + SIDE))
    lines = b"".join(b"\0" + bytes((v + rng.randrange(64)) % 256 for v in row[:8]) + row[8:] for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 0)) + chunk(b"IEND", b"")


def coco_set(root: Path, size: int) -> None:
    rng = random.Random(size)
    (root / "annotations").mkdir(parents=True)
    images, annotations = [], []
    for split, n in (("train", size), ("val", 20)):
        (root / split).mkdir()
        for index in range(n):
            name = f"{split}{index:06d}.png"
            (root / split / name).write_bytes(png(rng))
            images.append({"id": len(images), "file_name": f"{split}/{name}", "width": SIDE, "height": SIDE})
            box = [rng.randrange(30), rng.randrange(30), 20, 20]
            annotations.append({"id": len(annotations), "image_id": images[-1]["id"], "category_id": 1, "bbox": box})
        document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "Nodule/Mass"}]}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
        images, annotations = [], []


def report_set(root: Path, size: int) -> None:
    rng = random.Random(size + 1)
    document: dict[str, list] = {"train": [], "val": [], "test": []}
    for split, n in (("train", size), ("val", 20), ("test", size)):
        for index in range(n):
            name = f"{split}{index:06d}"
            (root / "images" / name).mkdir(parents=True)
            paths = [f"{name}/0.png"]
            (root / "images" / paths[0]).write_bytes(png(rng))
            text = " ".join(rng.choices(WORDS, k=3))
            document[split].append({"id": name, "report": text, "image_path": paths, "split": split})
    (root / "annotation.json").write_text(json.dumps(document))


def measured(command: list[str], cwd: Path) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {process.returncode}\n{error.decode()[-2000:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def stages(folder: Path):
    """Name and arguments of every stage."""

    def run_of(kind: str) -> str:
        runs = (folder / "runs").glob(f"{kind}-*")
        return str(max(runs, key=lambda p: p.stat().st_mtime, default=folder / kind).relative_to(folder))

    yield "ingest coco", ["ingest", "coco", "--root", "coco"]
    yield "ingest annotation-json", ["ingest", "annotation-json", "--root", "reports", "--dataset", "iu_xray"]
    yield "train-detector", ["train-detector", "--dataset", "coco"]
    yield "train-detector, prepared", ["train-detector", "--dataset", "coco", "--set", "run.seed=2"]
    detector = run_of("detector")
    yield "annotate", ["annotate", "--dataset", "iu_xray", "--detector", detector]
    yield "train-reporter", ["train-reporter", "--dataset", "iu_xray", "--detector", detector]
    yield "train-reporter, prepared", ["train-reporter", "--dataset", "iu_xray", "--detector", detector, "--set", "run.seed=2"]
    reporter = run_of("reporter")
    yield "report", ["report", "--dataset", "iu_xray", "--split", "test", "--reporter", reporter]
    yield "evaluate reports", ["evaluate", "reports", "--dataset", "iu_xray", "--split", "test"]
    yield "validate", ["validate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True, type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--without", nargs="*", default=[], metavar="STAGE", help="stages that are left out")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--without-parallel", action="store_true")
    args = parser.parse_args()
    figures: dict[str, float] = {} if args.without_parallel else parallel_figures(str(args.d2r.resolve()))
    for name, value in figures.items():
        print(f"{name:<44} {value:8.3f}", flush=True)
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as base:
            folder = Path(base)
            coco_set(folder / "coco", size)
            report_set(folder / "reports", size)
            for name, arguments in stages(folder):
                if name in args.without:
                    continue
                seconds, mib = measured([args.d2r.resolve(), *arguments, *SETTINGS], folder)
                figures |= {f"{name}.{size}.s": round(seconds, 1), f"{name}.{size}.mib": round(mib)}
                print(f"{size:>7} {name:<26} {seconds:8.1f} s {mib:8.0f} MiB", flush=True)
        result = {
            "figures": figures,
            "machine": machine(),
            "versions": {"libtorch": libtorch()},
            "command": "make bench-scale",
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
