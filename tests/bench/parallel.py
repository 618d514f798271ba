"""What a second core gives: two ranks of one training, two workers of one annotation and of one set of reports; and the share
of the time in which a model waits for its images.

Every process has one thread, so that one rank or worker uses one core. Networks and images are the demo's. Rates of trainings
are those of their logs after the first rows, rates of annotate and report those of their timings: all without the start. `figures(d2r)` gives
them; run alone it prints them:

    python tests/bench/parallel.py --d2r D2R
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

STEPS = 80
EPOCHS = 6
SETTINGS = [
    "--preset", "demo", "--lake", "lake", "--json", "--quiet",
    "--set", "run.threads=1", "--set", "run.accumulate=2", "--set", "run.log_every=10",
    "--set", "phantom.labelled_images=200", "--set", "phantom.report_studies=300", "--set", "phantom.test_share=0.4",
    "--set", f"detector.train.steps={STEPS}", "--set", f"detector.train.eval_every={STEPS}", "--set", f"detector.train.save_every={STEPS}",
    "--set", f"report.train.epochs={EPOCHS}", "--set", "report.train.batch_size=48", "--set", "report.train.val_studies=2",
]  # fmt: skip
ONE_THREAD = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def start(d2r: str, folder: Path, *args: str, runs: str = "runs") -> subprocess.Popen:
    command = [d2r, *args, *SETTINGS, "--runs", runs]
    return subprocess.Popen(command, cwd=folder, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        error = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"{' '.join(process.args)}: exit {process.returncode}\n{error[-2000:]}")


def only_run(folder: Path, runs: str) -> str:
    (run,) = (folder / runs).iterdir()
    return str(run.relative_to(folder))


def trained(folder: Path, runs: str) -> tuple[float, float]:
    """Median images per second and mean share of waiting, without the first rows of the log."""
    lines = (folder / only_run(folder, runs) / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["phase"] in ("train", "burn_in") and row["images_per_s"]][2:]
    return statistics.median(r["images_per_s"] for r in rows), statistics.mean(r["waiting_share"] for r in rows)


def ranks(d2r: str, folder: Path, name: str, *args: str) -> dict[str, float]:
    """One training on one rank and on two."""
    found: dict[str, float] = {}
    for count, devices in ((1, "cpu"), (2, "cpu,cpu")):
        runs = f"{name}-{count}"
        finish(start(d2r, folder, name, *args, "--devices", devices, runs=runs))
        found[f"{name}.ranks_{count}.images_per_s"], found[f"{name}.ranks_{count}.waiting_share"] = trained(folder, runs)
    return found


def timed(folder: Path, stage: str) -> tuple[float, float]:
    """Images per second of all workers of a stage together, and the share of the time in which a model waited."""
    import polars as pl

    rows = pl.scan_parquet(folder / "lake/v1/timings/**/*.parquet", hive_partitioning=True).filter(pl.col("stage") == stage)
    workers = rows.group_by("shard").agg(pl.col("n", "model_ms", "write_ms", "waiting_ms").sum()).collect()
    seconds = (workers["model_ms"] + workers["write_ms"] + workers["waiting_ms"]) / 1e3
    return float((workers["n"] / seconds).sum()), float(workers["waiting_ms"].sum() / 1e3 / seconds.sum())


def workers(d2r: str, folder: Path, name: str, *args: str) -> dict[str, float]:
    """One stage by one process, then by two that do a half each."""
    found: dict[str, float] = {}
    for count in (1, 2):
        remove = [d2r, "lake", "remove", "--lake", "lake", "--dataset", "mimic", "--producer", name]
        subprocess.run(remove, cwd=folder, check=True, capture_output=True)
        finish(*(start(d2r, folder, name, *args, "--shard", f"{i}/{count}") for i in range(count)))
        found[f"{name}.workers_{count}.images_per_s"], found[f"{name}.workers_{count}.waiting_share"] = timed(folder, name)
    return found


def figures(d2r: str) -> dict[str, float]:
    """Rates, shares of waiting, and ratios of two to one."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        finish(start(d2r, folder, "phantom", "--out", "phantom"))
        for layout in ("vindr", "mimic"):
            finish(start(d2r, folder, "ingest", layout, "--root", f"phantom/{layout}"))
        found = ranks(d2r, folder, "train-detector", "--dataset", "vindr")
        detector = only_run(folder, "train-detector-2")
        found |= workers(d2r, folder, "annotate", "--dataset", "mimic", "--detector", detector)
        found |= ranks(d2r, folder, "train-reporter", "--dataset", "mimic", "--detector", detector)
        test = ["--dataset", "mimic", "--split", "test", "--reporter", only_run(folder, "train-reporter-2")]
        found |= workers(d2r, folder, "report", *test)
    for name in ("train-detector.ranks", "train-reporter.ranks", "annotate.workers", "report.workers"):
        found[f"{name}_ratio"] = found[f"{name}_2.images_per_s"] / found[f"{name}_1.images_per_s"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True)
    args = parser.parse_args()
    for name, value in figures(str(Path(args.d2r).resolve())).items():
        print(f"{name:<40} {value:.3f}")


if __name__ == "__main__":
    main()
