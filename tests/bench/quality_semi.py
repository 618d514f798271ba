"""What unlabelled films are worth: AP50 on held-out phantoms with 10 % of the training films labelled.

For each seed the same detector is trained for the same number of steps on the same labelled films: supervised; in the
semi-supervised loop (strong and weak views, teacher as moving average) alone, with pseudo-labels that count nothing; and with
them (Unbiased Teacher v2). Intervals are Student's over
seeds. Writes bench-results/quality-semi.json and prints a Markdown table.

    python tests/bench/quality_semi.py --d2r D2R --out bench-results/quality-semi.json
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from machine import libtorch, machine

PRESET = "semi_bench"
UNLABELLED = ["--unlabelled", "vindr"]
# Plain supervised training; the semi-supervised loop whose pseudo-labels count nothing; and with them.
ARMS = {
    "supervised": ([], []),
    "alone": (UNLABELLED, ["--set", "semi.unlabelled_weight=0", "--set", "semi.side_weight=0"]),
    "semi": (UNLABELLED, []),
}


def run(d2r: str, folder: Path, *args: str) -> dict:
    command = [d2r, *args, "--preset", PRESET, "--lake", "lake", "--runs", "runs", "--json", "--quiet"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(d2r: str, source: Path, folder: Path, seed: int, arm: tuple[list[str], list[str]]) -> dict:
    """Trains in a copy of the lake; the figures of the teacher on the test split."""
    folder.mkdir()
    shutil.copytree(source / "lake", folder / "lake")
    start = time.perf_counter()
    flags, settings = arm
    common = ["--seed", str(seed), *settings]
    run(d2r, folder, "train-detector", "--dataset", "vindr", *flags, *common)
    seconds = time.perf_counter() - start
    (trained,) = (folder / "runs").iterdir()
    run(d2r, folder, "annotate", "--dataset", "vindr", "--split", "test", "--detector", str(trained), *common)
    figures = run(d2r, folder, "evaluate", "detector", "--dataset", "vindr", "--split", "test", *common)["figures"]
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    curve = {
        phase: [(r["step"], r["score"]) for r in rows if r["phase"] == phase]
        for phase in ("validation", "validation_student")
    }
    return {"ap50": figures["detector.ap50"], "ap": figures["detector.ap"], "train_s": seconds, "curve": curve}


def interval(values: list[float]) -> list[float]:
    """95 % Student interval of the mean over seeds."""
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[len(values)]
    half = quantile * statistics.stdev(values) / len(values) ** 0.5
    return [statistics.mean(values) - half, statistics.mean(values) + half]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    runs = {name: [] for name in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        run(args.d2r, source, "phantom", "--out", "phantom")
        run(args.d2r, source, "ingest", "vindr", "--root", str(source / "phantom/vindr"))
        for seed in args.seeds:
            for name, arm in ARMS.items():
                found = measured(args.d2r, source, Path(folder, f"{name}-{seed}"), seed, arm)
                runs[name].append(found)
                print(f"seed {seed} {name:<10} AP50 {found['ap50']:.3f} AP {found['ap']:.3f} {found['train_s']:.0f} s", flush=True)
    ap50 = {name: [r["ap50"] for r in found] for name, found in runs.items()}
    def gains(over: str) -> list[float]:
        return [semi - other for semi, other in zip(ap50["semi"], ap50[over], strict=True)]

    figures = {}
    print("\n| | AP50, mean over seeds | 95 % interval | by seed |\n|---|---|---|---|")
    rows = {f"ap50_{name}": values for name, values in ap50.items()}
    rows |= {"ap50_gain": gains("supervised"), "ap50_gain_over_alone": gains("alone")}
    for name, values in rows.items():
        figures[name], figures[f"{name}_ci"] = statistics.mean(values), interval(values)
        low, high = figures[f"{name}_ci"]
        print(f"| {name} | {figures[name]:.3f} | {low:.3f} to {high:.3f} | {', '.join(f'{v:.3f}' for v in values)} |")
    result = {
        "figures": figures,
        "ratios": {},
        "runs": runs,
        "machine": machine(),
        "versions": {"libtorch": libtorch()},
        "command": "make bench-quality-semi",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
