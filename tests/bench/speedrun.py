"""Minutes from drawn phantoms to a detector and a report model of a stated quality, on held-out images.

Runs the whole pipeline (phantoms are drawn first and not counted) once per seed with the settings of a preset or a file,
and takes the wall time of ingest, audit, both trainings, annotation, reports. A run counts when its figures on the test
split reach all of GOALS. The result is the median over the seeds; it is a record only when every seed counts.

The machine factor is the time of a fixed PyTorch computation (MACHINE_STEPS training steps of a small convolutional
network on two threads) divided by MACHINE_REFERENCE_S, its time on the machine of the first record: minutes divided by
the factor compare across machines.

    python tests/bench/speedrun.py --d2r D2R --out bench-results/speedrun.json [--config FILE] [--devices cpu] [--seeds 1 2 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from machine import libtorch, machine

GOALS = {"detector.ap50": 0.70, "reports.label_f1_micro": 0.85, "links.precision": 0.90}
UNCOUNTED = {"phantom", "evaluate-detector", "evaluate-reports", "validate"}
MACHINE_STEPS = 30
MACHINE_REFERENCE_S = 5.9


def machine_seconds() -> float:
    """The median of three times of the fixed computation."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    layers, width = [], 1
    for channels, stride in ((16, 2), (32, 2), (64, 2), (128, 1), (128, 1)):
        layers += [torch.nn.Conv2d(width, channels, 3, stride, 1), torch.nn.BatchNorm2d(channels), torch.nn.ReLU()]
        width = channels
    net = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    images, labels = torch.randn(16, 1, 256, 256), torch.randint(0, 10, (16,))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(MACHINE_STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def run(d2r: str, settings: list[str], seed: int, devices: str) -> dict:
    """One pipeline: counted seconds, figures, whether the goals are reached."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        command = [d2r, "pipeline", *settings, "--seed", str(seed), "--devices" if "," in devices else "--device", devices, "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((out / "summary.json").read_text())
    seconds = sum(wall for stage, wall in summary["wall_s"].items() if stage not in UNCOUNTED)
    figures = {name: summary[name.split(".")[0]].get(name.split(".")[1]) for name in GOALS}
    reached = all(value is not None and value >= GOALS[name] for name, value in figures.items())
    whole = {name: summary[name] for name in ("detector", "reports", "links")}
    return {"seed": seed, "seconds": seconds, "stages": summary["wall_s"], "figures": figures, "reached": reached, "summary": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--config", type=Path, help="settings in place of the preset demo")
    parser.add_argument("--devices", default="cpu", help="one, or those of the processes of both trainings, for instance cpu,cpu (run.accumulate of the settings must allow them)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    reference = machine_seconds()
    factor = reference / MACHINE_REFERENCE_S
    settings = ["--config", str(args.config)] if args.config else ["--preset", "demo"]
    runs = []
    for seed in args.seeds:
        runs.append(run(args.d2r, settings, seed, args.devices))
        print(json.dumps({key: runs[-1][key] for key in ("seed", "seconds", "figures", "reached")}), flush=True)
    minutes = statistics.median(r["seconds"] for r in runs) / 60
    record = all(r["reached"] for r in runs)
    print(f"{minutes:.1f} minutes (median of {len(runs)}), machine factor {factor:.2f}, {minutes / factor:.1f} on the reference")
    print("a record: every seed reaches the goals" if record else "no record: a seed misses a goal")
    result = {
        "figures": {"minutes": minutes, "machine_factor": factor, "machine_s": reference, "minutes_reference": minutes / factor},
        "reached": record,
        "goals": GOALS,
        "runs": runs,
        "settings": settings,
        "devices": args.devices,
        "machine": machine(),
        "load": os.getloadavg(),
        "versions": {"libtorch": libtorch()},
        "command": "make bench-speedrun",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
