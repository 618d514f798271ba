"""Detectors on real radiographs: a sample of NIH ChestX-ray14, with and without the images that have no boxes.

The sample is a folder in NIH's layout: `Data_Entry_2017.csv`, `BBox_List_2017.csv`, `images/`. All boxes are of one class, since
a small sample has too few of each. Patients with boxes are divided into folds; for each fold a detector is trained from random
weights on the others, once on their images alone (supervised), once with the images without boxes as unlabelled ones
(Unbiased Teacher), for the same number of steps. Detections of all folds are scored together. Intervals are 95 %, by drawing
patients with replacement.

    python tests/bench/real.py --d2r D2R --data NIH --out bench-results/real.json
"""

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import polars
from machine import libtorch, machine

CONFIG = Path(__file__).parent / "presets/real_bench.toml"
FOLDS = 5
DRAWS = 2000
# False positives per image of the FROC curve.
RATES = (0.5, 1, 2, 4)
LABELS = """name = "lesion"
classes = [{{ name = "Lesion", also = [{names}] }}]
"""


def run(d2r: str, folder: Path, *args: str) -> dict:
    command = [d2r, *args, "--config", str(CONFIG), "--lake", "lake", "--runs", "runs", "--json", "--quiet"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Sample:
    """Rows of the two tables of a sample."""

    def __init__(self, root: Path):
        self.root = root
        with (root / "Data_Entry_2017.csv").open(newline="") as file:
            self.entry_header, *self.entries = list(csv.reader(file))
        with (root / "BBox_List_2017.csv").open(newline="") as file:
            self.box_header, *self.boxes = list(csv.reader(file))
        patient = self.entry_header.index("Patient ID")
        self.patient = {row[0]: row[patient] for row in self.entries}
        self.with_boxes = sorted({row[0] for row in self.boxes})
        self.classes = sorted({row[1] for row in self.boxes})

    def folds(self) -> list[list[str]]:
        """Images with boxes, those of a patient in one fold."""
        patients = sorted({self.patient[image] for image in self.with_boxes})
        random.Random(1).shuffle(patients)
        fold_of = {patient: i % FOLDS for i, patient in enumerate(patients)}
        return [[image for image in self.with_boxes if fold_of[self.patient[image]] == fold] for fold in range(FOLDS)]

    def write(self, folder: Path, images: set[str], test: set[str], boxes: bool) -> None:
        """These images as a set of their own."""
        (folder / "images").mkdir(parents=True)
        for image in images:
            shutil.copyfile(self.root / "images" / image, folder / "images" / image)

        def table(name: str, header: list[str], rows: list[list[str]]) -> None:
            with (folder / name).open("w", newline="") as file:
                csv.writer(file).writerows([header, *(row for row in rows if row[0] in images)])

        table("Data_Entry_2017.csv", self.entry_header, self.entries)
        if boxes:
            table("BBox_List_2017.csv", self.box_header, self.boxes)
        (folder / "train_val_list.txt").write_text("".join(f"{image}\n" for image in sorted(images - test)))
        (folder / "test_list.txt").write_text("".join(f"{image}\n" for image in sorted(test)))


def fold_rows(d2r: str, sample: Sample, test: list[str], folder: Path, seed: int) -> dict:
    """Boxes of the annotators and of both detectors on the images of one fold."""
    held_out = {sample.patient[image] for image in test}
    unread = {i for i, patient in sample.patient.items() if i not in set(sample.with_boxes) and patient not in held_out}
    sample.write(folder / "labelled", set(sample.with_boxes), set(test), boxes=True)
    sample.write(folder / "unread", unread, set(), boxes=False)
    labels = folder / "lesion.toml"
    labels.write_text(LABELS.format(names=", ".join(f'"{name}"' for name in sample.classes)))
    found = {}
    for arm, flags in (("supervised", []), ("semi", ["--unlabelled", "unread"])):
        work = folder / arm
        work.mkdir()
        for name in ("labelled", "unread"):
            run(d2r, work, "ingest", "nih", "--root", str(folder / name), "--dataset", name, "--labels", str(labels))
        start = time.perf_counter()
        run(d2r, work, "train-detector", "--dataset", "labelled", "--seed", str(seed), *flags)
        seconds = time.perf_counter() - start
        (trained,) = (work / "runs").iterdir()
        run(d2r, work, "annotate", "--dataset", "labelled", "--split", "test", "--detector", str(trained))
        rows = polars.scan_parquet(work / "lake/v1/lesions", hive_partitioning=True)
        rows = rows.filter(polars.col("split").cast(polars.String) == "test").collect().to_dicts()
        images = polars.scan_parquet(work / "lake/v1/images", hive_partitioning=True)
        images = images.filter(polars.col("split").cast(polars.String) == "test").collect().to_dicts()
        found[arm] = {"rows": rows, "images": images, "seconds": seconds}
    return found


def box(row: dict) -> tuple[float, ...]:
    return tuple(row[name] for name in ("x_min", "y_min", "x_max", "y_max"))


def iou(a: tuple, b: tuple) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


# A patient's images: of each its detections, each with its score and whether it is the first on a lesion, and its lesions.
OfPatient = list[tuple[list[tuple[float, bool]], int]]


def matched(rows: list[dict], images: list[dict]) -> dict[str, OfPatient]:
    """The images of each patient, in the order of rows of `images`."""
    truths, detections = defaultdict(list), defaultdict(list)
    for row in rows:
        (detections if row["source"] == "pseudo" else truths)[row["image_id"]].append(row)
    result = defaultdict(list)
    for image, patient in ((row["image_id"], row["subject_id"]) for row in images):
        open_truths = [box(row) for row in truths[image] if row["source"] == "fused"]
        count, hits = len(open_truths), []
        for row in sorted(detections[image], key=lambda row: -row["score"]):
            best = max(open_truths, key=lambda truth: iou(truth, box(row)), default=None)
            hit = best is not None and iou(best, box(row)) >= 0.5
            if hit:
                open_truths.remove(best)
            hits.append((row["score"], hit))
        result[patient].append((hits, count))
    return result


def figures(images: list[tuple[list[tuple[float, bool]], int]]) -> dict[str, float]:
    """AP50 (101 points) and the sensitivity at some rates of false positives."""
    lesions = sum(count for _, count in images)
    hits = sorted((hit for found, _ in images for hit in found), key=lambda hit: -hit[0])
    true, points, at_rate = 0, [], dict.fromkeys(RATES, 0.0)
    for i, (_, hit) in enumerate(hits):
        true += hit
        points.append((true / max(lesions, 1), true / (i + 1)))
        for rate in RATES:
            if i + 1 - true <= rate * len(images):
                at_rate[rate] = true / max(lesions, 1)
    ap = sum(max((p for r, p in points if r >= level / 100), default=0.0) for level in range(101)) / 101
    return {"ap50": ap, **{f"sensitivity_at_{rate}": value for rate, value in at_rate.items()}}


def scored(by_patient: dict[str, dict[str, OfPatient]]) -> dict[str, dict[str, list[float]]]:
    """Figures of both arms and of their difference: value, lower and upper end."""
    patients = sorted(by_patient["supervised"])

    def of(drawn: list[str]) -> dict[str, dict[str, float]]:
        both = {arm: figures([image for patient in drawn for image in found[patient]]) for arm, found in by_patient.items()}
        both["gain"] = {name: both["semi"][name] - both["supervised"][name] for name in both["semi"]}
        return both

    value, generator = of(patients), random.Random(2)
    draws = [of([generator.choice(patients) for _ in patients]) for _ in range(DRAWS)]
    result = {}
    for arm, found in value.items():
        result[arm] = {}
        for name, point in found.items():
            values = sorted(draw[arm][name] for draw in draws)
            result[arm][name] = [point, values[int(0.025 * DRAWS)], values[int(0.975 * DRAWS) - 1]]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True, type=os.path.abspath)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not (args.data / "BBox_List_2017.csv").is_file():
        raise SystemExit(f"{args.data} holds no BBox_List_2017.csv: --data names a sample in the layout of NIH ChestX-ray14")
    sample = Sample(args.data)
    by_patient, seconds = {"supervised": {}, "semi": {}}, defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        for number, test in enumerate(sample.folds()):
            for arm, found in fold_rows(args.d2r, sample, test, Path(temporary) / str(number), args.seed).items():
                by_patient[arm].update(matched(found["rows"], found["images"]))
                seconds[arm].append(found["seconds"])
            print(f"fold {number + 1} of {FOLDS}: {len(test)} images, {[round(s[-1]) for s in seconds.values()]} s", flush=True)
    found = scored(by_patient)
    print(f"\n{len(by_patient['semi'])} patients with boxes, {len(sample.patient)} images in all\n")
    names = list(found["semi"])
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for arm, values in found.items():
        print(f"| {arm} | " + " | ".join("{:.3f} ({:.3f} to {:.3f})".format(*values[name]) for name in names) + " |")
    result = {
        "figures": found,
        "ratios": {},
        "seconds": seconds,
        "seed": args.seed,
        "machine": machine(),
        "versions": {"libtorch": libtorch()},
        "command": "make bench-real NIH=FOLDER",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
