"""Contribution of each part of the report model, on held-out phantoms.

One detector is trained and annotates the images with reports for all arms. For each seed and each arm a report model is trained from
scratch with the same images, steps and configuration, writes reports of the test split, and is compared with the reference reports and the
drawn lesions. Arms: R2Gen alone; D2R-Net with its published parts alone (region tokens, LERA, CPCA, local and global alignment);
the same with our embedding of the boxes' class, score, place and size; with our grounding loss; with both (full). On demand: R2Gen
with region tokens, and with region tokens and one other published part. Intervals are Student's t over seeds, those of gains over
paired seeds. Writes bench-results/quality-report.json and prints a Markdown table.

    python tests/bench/quality_report.py --d2r D2R --mirror MIRROR_AGREEMENT --out bench-results/quality-report.json
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import libtorch, machine
from quality_semi import interval

CONFIG = Path(__file__).parent / "presets/report_bench.toml"
# Settings were sought on other phantoms; what was tried on these is in docs/results.md and docs/experiments.md.
PHANTOM_SEED = "11"
# `None` is the configuration's value.
R2GEN = {
    "report.model.regions": "off",
    "report.model.lera": "off",
    "report.model.cpca": "false",
    "report.align.lab_weight": "0",
    "report.align.gab_weight": "0",
    "report.train.grounding_weight": "0",
}
REGIONS = {**R2GEN, "report.model.regions": "crops"}
PUBLISHED = {
    **REGIONS,
    "report.model.lera": "corrected",
    "report.model.cpca": "true",
    "report.align.lab_weight": None,
    "report.align.gab_weight": None,
}
EMBEDDING = {"report.model.regions": "crops_and_boxes"}
GROUNDING = {"report.train.grounding_weight": None}
ARMS = {
    "base (R2Gen)": R2GEN,
    "D2R-Net": PUBLISHED,
    "+embedding": {**PUBLISHED, **EMBEDDING},
    "+grounding": {**PUBLISHED, **GROUNDING},
    "full": {**PUBLISHED, **EMBEDDING, **GROUNDING},
}
ON_DEMAND = {
    "+regions": REGIONS,
    "+LERA": {**REGIONS, "report.model.lera": "corrected"},
    "+CPCA": {**REGIONS, "report.model.cpca": "true"},
    "+LAB": {**REGIONS, "report.align.lab_weight": None},
    "+GAB": {**REGIONS, "report.align.gab_weight": None},
    "without LERA": {**PUBLISHED, **EMBEDDING, **GROUNDING, "report.model.lera": "off"},
}
GAINS = [
    ("D2R-Net", "base (R2Gen)"),
    ("full", "base (R2Gen)"),
    ("+embedding", "D2R-Net"),
    ("+grounding", "D2R-Net"),
    ("full", "+embedding"),
    ("full", "+grounding"),
]
FIGURES = {
    "bleu4": ("reports.bleu4", "BLEU-4"),
    "rouge_l": ("reports.rouge_l", "ROUGE-L"),
    "label_f1": ("reports.label_f1_micro", "label F1"),
    "link_precision": ("links.precision", "link precision"),
    "link_recall": ("links.recall", "link recall"),
    "small_lesion_recall": ("links.small_lesion_recall", "small-lesion recall"),
}


def short(arm: str) -> str:
    """An arm's name in figures and folders."""
    return arm.replace(" (R2Gen)", "").lstrip("+").lower().replace(" ", "_").replace("-", "")


def run(d2r: str, folder: Path, *args: str, settings: list[str] = ()) -> dict:
    command = [d2r, *args, "--config", str(CONFIG), "--lake", "lake", "--runs", "runs", "--json", "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(d2r: str, folder: Path, settings: list[str]) -> tuple[Path, dict]:
    """Draws phantoms, trains a detector, writes its boxes. Returns the detector's run and its figures on the test split."""
    done = folder / "result.json"
    if done.is_file():
        found = json.loads(done.read_text())
        return Path(found["run"]), found
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run(d2r, folder, "phantom", "--out", "phantom", "--seed", PHANTOM_SEED, settings=settings)
    for kind in ("vindr", "mimic"):
        run(d2r, folder, "ingest", kind, "--root", str(folder / f"phantom/{kind}"), settings=settings)
    start = time.perf_counter()
    run(d2r, folder, "train-detector", "--dataset", "vindr", "--seed", "1", settings=settings)
    seconds = time.perf_counter() - start
    (detector,) = (folder / "runs").iterdir()
    for split in ("train", "val", "test"):
        run(d2r, folder, "annotate", "--dataset", "mimic", "--split", split, "--detector", str(detector), settings=settings)
    args = ["evaluate", "detector", "--dataset", "mimic", "--split", "test", "--truth", "phantom/truth"]
    figures = run(d2r, folder, *args, settings=settings)["figures"]
    found = {"ap50": figures["detector.ap50"], "train_s": seconds, "run": str(detector)}
    done.write_text(json.dumps(found))
    return detector, found


def measured(d2r: str, source: Path, detector: Path, folder: Path, seed: int, arm: dict, settings: list[str]) -> dict:
    """Trains a report model, writes its reports and evaluates them in a copy of the lake."""
    done = folder / "result.json"
    if done.is_file():
        return json.loads(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(source / "lake", folder / "lake")
    settings = [*settings, *(f"{key}={value}" for key, value in arm.items() if value is not None)]
    common = ["--dataset", "mimic", "--seed", str(seed)]
    start = time.perf_counter()
    boxes = ["--detector", str(detector)] if arm["report.model.regions"] != "off" else []
    run(d2r, folder, "train-reporter", *common, *boxes, settings=settings)
    seconds = time.perf_counter() - start
    (trained,) = (folder / "runs").iterdir()
    run(d2r, folder, "report", *common, "--split", "test", "--reporter", str(trained), settings=settings)
    truth = ["--truth", str(source / "phantom/truth")]
    figures = run(d2r, folder, "evaluate", "reports", *common, "--split", "test", *truth, settings=settings)["figures"]
    # A report model without regions links nothing: its precision has no denominator, its recall is 0.
    found = {name: figures.get(key) for name, (key, _) in FIGURES.items()}
    found |= {"train_s": seconds, "run": str(trained)}
    done.write_text(json.dumps(found))
    return found


def cell(values: list[float | None]) -> tuple[float, list[float]] | None:
    known = [v for v in values if v is not None]
    if len(known) < len(values) or not known:
        return None
    return statistics.mean(known), interval(known) if len(known) > 1 else [known[0], known[0]]


def mirror_agreement(mirror: str, source: Path, trained: str, folder: Path) -> dict:
    """Share of the full model's linked sentences and boxes that its output for the mirror image repeats, mirrored."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "phantom/mimic").rglob("*.jpg"))[-60:]:
        shutil.copy(path, images)
    command = [mirror, "--reporter", trained, "--images", str(images), "--out", str(folder / "out"), "--config", str(CONFIG)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--mirror", help="the example `mirror_agreement`; without it the figure is left out")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, help="working folder that keeps finished parts, which are not repeated; a temporary folder when absent")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=[*ARMS, *ON_DEMAND])
    parser.add_argument("--jobs", type=int, default=2, help="trainings in parallel; networks of this size gain little from a second thread")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "source"
        detector, found = prepare(args.d2r, source, args.settings)
        print(f"detector AP50 {found['ap50']:.3f} {found['train_s']:.0f} s", flush=True)
        threads = max(1, (os.cpu_count() or 1) // args.jobs)
        settings = [*args.settings, f"run.threads={threads}"]

        def one(job: tuple[int, str]) -> dict:
            seed, name = job
            found = measured(args.d2r, source, detector, folder / f"{short(name)}-{seed}", seed, {**ARMS, **ON_DEMAND}[name], settings)
            shown = " ".join(f"{key} {value:.3f}" for key, value in found.items() if isinstance(value, float))
            print(f"seed {seed} {name:<12} {shown}", flush=True)
            return found

        jobs = [(seed, name) for seed in args.seeds for name in args.arms]
        with ThreadPoolExecutor(args.jobs) as pool:
            done = dict(zip(jobs, pool.map(one, jobs), strict=True))
        runs = {name: [done[seed, name] for seed in args.seeds] for name in args.arms}
        mirrored = None
        if args.mirror and "full" in runs:
            mirrored = mirror_agreement(args.mirror, source, runs["full"][-1]["run"], folder / "mirror")
            print("mirror images", mirrored, flush=True)
    write(args, found, runs, mirrored)


def write(args: argparse.Namespace, detector: dict, runs: dict, mirrored: dict | None) -> None:
    figures = {"detector_ap50": detector["ap50"], "detector_train_s": detector["train_s"]}
    print("\n| | " + " | ".join(title for _, title in FIGURES.values()) + " | training, s |\n|" + "---|" * (len(FIGURES) + 2))
    for name, found in runs.items():
        key = short(name)
        row = []
        for figure in FIGURES:
            value = cell([r[figure] for r in found])
            if value is None:
                row.append("no link")
                continue
            figures[f"{figure}_{key}"], figures[f"{figure}_{key}_ci"] = value
            row.append(f"{value[0]:.3f} ({value[1][0]:.3f} to {value[1][1]:.3f})")
        seconds = statistics.mean(r["train_s"] for r in found)
        figures[f"train_s_{key}"] = seconds
        print(f"| {name} | " + " | ".join(row) + f" | {seconds:.0f} |")
    for name, base in GAINS:
        if name not in runs or base not in runs:
            continue
        print(f"\n{name} over {base}")
        for figure in ("label_f1", "small_lesion_recall"):
            gains = [a[figure] - b[figure] for a, b in zip(runs[name], runs[base], strict=True)]
            key = f"{figure}_gain_{short(name)}_over_{short(base)}"
            figures[key], figures[f"{key}_ci"] = value, (low, high) = cell(gains)
            print(f"{FIGURES[figure][1]} {value:+.3f} ({low:+.3f} to {high:+.3f})")
    if mirrored:
        figures |= {f"mirror_{key}": value for key, value in mirrored.items()}
    result = {
        "figures": figures,
        "ratios": {},
        "runs": runs,
        "settings": args.settings,
        "machine": machine(),
        "versions": {"libtorch": libtorch()},
        "command": "make bench-quality-report",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
