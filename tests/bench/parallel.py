"""What a second core gives: two ranks of one training, two workers of one annotation and of one set of reports; and the share
of the time in which a model waits for its images.

Every process has one thread, so that one rank or worker uses one core. One and two take turns (ORDER), since the speed of a
machine changes; figures are means. Networks and images are the demo's. Rates of trainings are those of their logs after the
first rows, rates of annotate and report those of their timings: all without the start. `figures(d2r)` gives them; run alone it
prints them:

    python tests/bench/parallel.py --d2r D2R
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

ORDER = [1, 2, 2, 1]
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


def means(rounds: dict[int, list[tuple[float, float]]], prefix: str) -> dict[str, float]:
    """Mean rate and share of waiting by number of processes."""
    found: dict[str, float] = {}
    for count, values in sorted(rounds.items()):
        rates, shares = zip(*values, strict=True)
        found[f"{prefix}_{count}.images_per_s"] = statistics.mean(rates)
        found[f"{prefix}_{count}.waiting_share"] = statistics.mean(shares)
    found[f"{prefix}_ratio"] = found[f"{prefix}_2.images_per_s"] / found[f"{prefix}_1.images_per_s"]
    return found


def ranks(d2r: str, folder: Path, name: str, *args: str) -> dict[str, float]:
    """One training on one rank and on two."""
    rounds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for turn, count in enumerate(ORDER):
        runs = f"{name}-{turn}"
        finish(start(d2r, folder, name, *args, "--devices", ",".join(["cpu"] * count), runs=runs))
        rounds[count].append(trained(folder, runs))
    return means(rounds, f"{name}.ranks")


def timed(folder: Path, stage: str) -> tuple[float, float]:
    """Images per second of all workers of a stage together, and the share of the time in which a model waited."""
    import polars as pl

    rows = pl.scan_parquet(folder / "lake/v1/timings/**/*.parquet", hive_partitioning=True).filter(pl.col("stage") == stage)
    workers = rows.group_by("shard").agg(pl.col("n", "model_ms", "write_ms", "waiting_ms").sum()).collect()
    seconds = (workers["model_ms"] + workers["write_ms"] + workers["waiting_ms"]) / 1e3
    return float((workers["n"] / seconds).sum()), float(workers["waiting_ms"].sum() / 1e3 / seconds.sum())


def workers(d2r: str, folder: Path, name: str, *args: str) -> dict[str, float]:
    """One stage by one process, and by two that do a half each."""
    rounds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for turn, count in enumerate(ORDER):
        if turn > 0:
            remove = [d2r, "lake", "remove", "--lake", "lake", "--dataset", "mimic", "--producer", name]
            subprocess.run(remove, cwd=folder, check=True, capture_output=True)
        finish(*(start(d2r, folder, name, *args, "--shard", f"{i}/{count}") for i in range(count)))
        rounds[count].append(timed(folder, name))
    return means(rounds, f"{name}.workers")


def figures(d2r: str) -> dict[str, float]:
    """Rates, shares of waiting, and ratios of two to one."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        finish(start(d2r, folder, "phantom", "--out", "phantom"))
        for layout in ("vindr", "mimic"):
            finish(start(d2r, folder, "ingest", layout, "--root", f"phantom/{layout}"))
        found = ranks(d2r, folder, "train-detector", "--dataset", "vindr")
        detector = only_run(folder, "train-detector-0")
        found |= workers(d2r, folder, "annotate", "--dataset", "mimic", "--detector", detector)
        found |= ranks(d2r, folder, "train-reporter", "--dataset", "mimic", "--detector", detector)
        test = ["--dataset", "mimic", "--split", "test", "--reporter", only_run(folder, "train-reporter-0")]
        found |= workers(d2r, folder, "report", *test)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True)
    args = parser.parse_args()
    for name, value in figures(str(Path(args.d2r).resolve())).items():
        print(f"{name:<40} {value:.3f}")


if __name__ == "__main__":
    main()
