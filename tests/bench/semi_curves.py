"""AP50 over the number of labelled images per class, for `quality_semi.py --labelled K...`.

A share of the images with boxes is labelled. `k` images per class means: the share by which, in the mean over the classes that
phantoms draw and over all choices of images, k labelled images have a fused annotators' box of the class. Classes are not
equally frequent: of a rare one there are fewer. The seed also chooses the images (`detector.train.labelled_seed`); those of
a smaller k are among those of a larger one. Test images, validation images and images with reports are the same in all cells.

A cell is one training: arm, k, seed. Finished ones are kept in the working folder and, with `--known FILE`, in a JSON list that
is read at the start: a cell of the same settings and phantoms is not trained again. The code's version is not compared.
"""

import argparse
import datetime
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars
from machine import libtorch, machine

# 700 test images as in the preset, and enough others for 50 labelled images per class.
POOL = ["phantom.labelled_images=1250", "phantom.test_share=0.56", "ingest.val_share=0.1"]
# Tables that decide what is trained on and measured.
INPUTS = {"images", "lesions", "reports"}
# What says the same in two files of cells.
KEY = ("settings", "arm", "k", "seed")


class Cells:
    """Finished cells, and the file that keeps them."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.lock = file, threading.Lock()
        self.cells = json.loads(file.read_text()) if file and file.is_file() else []

    def find(self, key: tuple) -> dict | None:
        return next((cell for cell in self.cells if tuple(cell[name] for name in KEY) == key), None)

    def add(self, cell: dict) -> None:
        with self.lock:
            self.cells.append(cell)
            if self.file is None:
                return
            self.file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}.tmp")
            lines = ",\n".join(json.dumps(cell, sort_keys=True) for cell in self.cells)
            temporary.write_text(f"[\n{lines}\n]\n")
            temporary.replace(self.file)


def shares(source: Path, wanted: list[int]) -> dict[int, float]:
    """The share of labelled images for each number of images per class."""

    def read(table: str, split: str = "train") -> polars.DataFrame:
        root = source / ("phantom/truth" if table.startswith("truth_") else "lake")
        return polars.read_parquet(root / f"v1/{table}/dataset=vindr/split={split}/*.parquet")

    images, boxes = read("images").height, read("lesions").filter(polars.col("source") == "fused")
    # Annotators also name classes that nothing was drawn of.
    drawn = read("truth_lesions", "*").select("class_id").unique()
    of_class = boxes.group_by("class_id").agg(polars.col("image_id").n_unique())
    per_class = drawn.join(of_class, on="class_id", how="left")["image_id"].fill_null(0)
    mean = per_class.mean()
    print(f"{images} images that may be labelled, {len(per_class)} classes with {per_class.min()} to {per_class.max()} images, {mean:.1f} in the mean")
    if too_many := [k for k in wanted if k > mean]:
        raise SystemExit(f"--labelled {too_many[0]}: all images together have {mean:.1f} per class")
    return {k: k / mean for k in wanted}


def digest(d2r: str, config: Path, source: Path, flags: list[str], settings: list[str]) -> str:
    """Of all that decides a cell beside arm, k and seed: the resolved settings, the flags, and the tables' contents."""

    def text(*command: str) -> str:
        done = subprocess.run([d2r, *command], cwd=source, check=True, capture_output=True, text=True)
        return done.stdout

    chosen = [word for setting in settings for word in ("--set", setting)]
    rows = json.loads(text("inspect", "lake", "--lake", "lake", "--json"))
    tables = sorted((r["table"], r["dataset"], r["split"], r["content_sha256"]) for r in rows if r["table"] in INPUTS)
    resolved = text("config", "show", "--config", str(config), *chosen)
    return hashlib.sha256(json.dumps([resolved, flags, tables]).encode()).hexdigest()[:16]


def plot(cells: dict[tuple[str, int], list[float]], arms: list[str], ks: list[int], interval: Callable, path: Path) -> None:
    """Means over seeds, with their intervals where there are several, one line per arm, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for place, arm in enumerate(arms):
        means = [statistics.mean(cells[arm, k]) for k in ks]
        bounds = [interval(cells[arm, k]) for k in ks]
        error = [[m - b[0] for m, b in zip(means, bounds, strict=True)], [b[1] - m for m, b in zip(means, bounds, strict=True)]]
        # Apart by two hundredths, so that intervals do not cover each other.
        at = [k * 1.02 ** (place - (len(arms) - 1) / 2) for k in ks]
        axes.errorbar(at, means, yerr=error if len(cells[arm, ks[0]]) > 1 else None, capsize=3, marker="o", label=arm)
    axes.set(xscale="log", xlabel="labelled images per class", ylabel="AP50 on the test images")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def curves(
    args: argparse.Namespace, folder: Path, config: Path, arms: dict, init: list[str], prepare: Callable, measured: Callable, interval: Callable
) -> None:
    """Trains what is missing, and writes the cells, the table and the figure. `init`: flags of the initial weights."""
    settings = [*POOL, *args.settings]
    # Beside the digest: threads change no setting of the training.
    limits = [f"run.threads={max(1, (os.cpu_count() or 1) // args.jobs)}"]
    source = folder / "curves-source"
    prepare(args.d2r, source, [*settings, *limits])
    # A folder's name does not decide a cell, the trunk's bytes do.
    trunk = [f"--init {hashlib.sha256(args.trunk.read_bytes()).hexdigest()}"] if args.trunk else []
    share_of, known = shares(source, args.labelled), Cells(args.known)

    def one(job: tuple[int, int, str]) -> dict:
        seed, k, arm = job
        own = [*settings, f"detector.train.labelled_share={share_of[k]!r}"]
        flags, of_arm = arms[arm]
        key = (digest(args.d2r, config, source, [*flags, *trunk], [*own, *of_arm]), arm, k, seed)
        if cell := known.find(key):
            print(f"seed {seed} k {k:<3} {arm:<15} AP50 {cell['ap50']:.3f} known since {cell['date']}", flush=True)
            return cell
        place = folder / f"{arm}-k{k}-{seed}-{key[0][:8]}"
        found = measured(args.d2r, source, place, seed, arm, [*own, f"detector.train.labelled_seed={seed}", *limits], init)
        shutil.rmtree(place / "lake", ignore_errors=True)
        cell = {
            **dict(zip(KEY, key, strict=True)),
            **{name: found[name] for name in ("ap50", "ap", "steps", "train_s", "date")},
        }
        known.add(cell)
        print(f"seed {seed} k {k:<3} {arm:<15} AP50 {cell['ap50']:.3f} AP {cell['ap']:.3f} {cell['train_s']:.0f} s", flush=True)
        return cell

    # Whole curves of one seed first.
    jobs = [(seed, k, arm) for seed in args.seeds for k in args.labelled for arm in args.arms]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = dict(zip(jobs, pool.map(one, jobs), strict=True))
    ap50 = {(arm, k): [done[seed, k, arm]["ap50"] for seed in args.seeds] for arm in args.arms for k in args.labelled}
    write(args, ap50, list(done.values()), interval)


def write(args: argparse.Namespace, ap50: dict[tuple[str, int], list[float]], cells: list[dict], interval: Callable) -> None:
    figures = {}
    several = len(args.seeds) > 1
    what = f"mean over {len(args.seeds)} seeds (95 % interval)" if several else f"seed {args.seeds[0]}"
    print(f"\n| AP50, {what} | {' | '.join(f'k = {k}' for k in args.labelled)} |")
    print(f"|---|{'---|' * len(args.labelled)}")
    for arm in args.arms:
        row = []
        for k in args.labelled:
            values = ap50[arm, k]
            figures[f"ap50_{arm}_k{k}"] = statistics.mean(values)
            row.append(f"{statistics.mean(values):.3f}")
            if several:
                low, high = figures[f"ap50_{arm}_k{k}_ci"] = interval(values)
                row[-1] += f" ({low:.3f} to {high:.3f})"
        print(f"| {arm} | {' | '.join(row)} |")
    assert all(math.isfinite(value) for values in ap50.values() for value in values)
    result = {
        "figures": figures,
        "ratios": {},
        "cells": cells,
        "machine": machine(),
        "versions": {"libtorch": libtorch()},
        "command": f"python tests/bench/quality_semi.py --labelled {' '.join(map(str, args.labelled))} --arms {' '.join(args.arms)}",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    plot(ap50, args.arms, args.labelled, interval, args.out.with_suffix(".svg"))


def today() -> str:
    return datetime.date.today().isoformat()
