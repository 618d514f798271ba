"""What one CUDA device does with the published systems, in at most twelve minutes; each part is left out when the time is up.

- Detectors: a training step on 8 images (4 labelled and 4 unlabelled ones) and inference at 800 pixels in f32 and bf16, beside
  torchvision's models with the same weights, by `detector.py`.
- Report model: steps of the preset `d2rnet` (ResNet-101, 384 pixels, 32 studies) in f32 and bf16 through `d2r train-reporter`,
  beside torchvision's ResNet-101 alone in the same kind.
- `d2r annotate` in f32 and bf16, and `d2r report`: images per second.

Busy share and peak memory of the device are nvidia-smi's, sampled twice a second during each part.

    python tests/bench/gpu_check.py --d2r D2R --speed TARGET/examples/detector_speed --out bench-results/gpu.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision
from machine import machine

HERE = Path(__file__).parent
# Sizes of a device, and those with which the script itself is tried on a CPU.
REAL = {"images": 400, "phantom_size": 512, "side": 800, "batch": 8, "steps": 10, "rounds": 2, "trunk_batch": 32, "trunk_side": 384, "settings": []}
SMALL_SETTINGS = [
    "report.model.input_size=64", "report.model.network=mini", "report.train.batch_size=4", "report.align.text.size=small",
]  # fmt: skip
SMALL = {"images": 24, "phantom_size": 128, "side": 128, "batch": 2, "steps": 1, "rounds": 1, "trunk_batch": 2, "trunk_side": 64, "settings": SMALL_SETTINGS}


class Device:
    """Samples of nvidia-smi."""

    def __init__(self, name: str):
        self.name = name

    @contextmanager
    def watched(self, into: dict):
        samples: list[tuple[float, float]] = []
        ended = threading.Event()

        def sample() -> None:
            query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i", "0"]
            while not ended.wait(0.5):
                line = subprocess.run(query, check=False, capture_output=True, text=True).stdout.strip()
                if line:
                    samples.append(tuple(float(value) for value in line.split(",")))

        watcher = threading.Thread(target=sample, daemon=True)
        if self.name != "cpu":
            watcher.start()
        start = time.perf_counter()
        try:
            yield
        finally:
            into["seconds"] = time.perf_counter() - start
            ended.set()
            if samples:
                into["busy_share"] = statistics.mean(busy for busy, _ in samples) / 100
                into["peak_memory_mib"] = max(memory for _, memory in samples)


def run(d2r: str, folder: Path, *arguments: str, settings: list[str]) -> dict:
    command = [d2r, *arguments, "--json", "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def trunk(sizes: dict, device: str, kind: torch.dtype) -> float:
    """Images per second of a training step of torchvision's ResNet-101."""
    model = torchvision.models.resnet101(weights=None).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    images = torch.rand(sizes["trunk_batch"], 3, sizes["trunk_side"], sizes["trunk_side"], device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.split(":")[0], dtype=kind, enabled=kind != torch.float32):
            loss = model(images).float().square().mean()
        loss.backward()
        optimizer.step()

    def synchronised() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    step()
    start = synchronised()
    for _ in range(sizes["steps"]):
        step()
    return sizes["steps"] * sizes["trunk_batch"] / (synchronised() - start)


class Check:
    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder, self.sizes = args, folder, SMALL if args.small else REAL
        self.watch = Device(args.device)
        self.device = ["--device", args.device]
        self.parts: dict[str, dict] = {}

    def detectors(self, part: dict, kinds: list[str]) -> None:
        sizes, out = self.sizes, self.folder / "detector.json"
        command = [sys.executable, str(HERE / "detector.py"), "--d2r", self.args.d2r, "--speed", self.args.speed, "--out", str(out)]
        for name in ("side", "batch", "steps", "rounds"):
            command += ["--size" if name == "side" else f"--{name}", str(sizes[name])]
        command += ["--devices", self.args.device, "--precisions", *kinds]
        with self.watch.watched(part):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        part.update(json.loads(out.read_text()))

    def data(self, part: dict) -> None:
        """Phantoms in a lake, and a detector with random weights."""
        sizes, count = self.sizes, self.sizes["images"]
        drawn = [f"phantom.size={sizes['phantom_size']}", "phantom.test_share=0.2"]
        run(self.args.d2r, self.folder, "phantom", "--images", str(count), "--out", "phantom", settings=drawn)
        for kind in ("vindr", "mimic"):
            run(self.args.d2r, self.folder, "ingest", kind, "--root", f"phantom/{kind}", settings=[])
        scratch = ["detector.model.backbone=scratch", "detector.train.steps=1", "detector.train.eval_every=1"]
        if self.args.small:
            scratch += [f"detector.model.input_size={sizes['side']}", "detector.model.network=mini"]
        preset = ["--preset", self.args.preset, *self.device]
        run(self.args.d2r, self.folder, "train-detector", "--dataset", "vindr", *preset, settings=scratch)
        (self.detector,) = (self.folder / "runs").glob("detector-*")
        part["images"] = count

    def annotate(self, part: dict, kind: str) -> None:
        flags = ["--dataset", "mimic", "--detector", str(self.detector), "--preset", self.args.preset, *self.device, "--precision", kind]
        with self.watch.watched(part):
            done = run(self.args.d2r, self.folder, "annotate", *flags, settings=[])
        part["lesions"] = done["rows"].get("lesions", 0)
        part["images_per_s"] = self.sizes["images"] / part["seconds"]

    def train_reporter(self, part: dict, kind: str) -> None:
        steps = ["report.train.epochs=1", "run.log_every=5", "report.model.trunk=scratch", "report.train.val_studies=4"]
        flags = ["--dataset", "mimic", "--detector", str(self.detector), "--preset", self.args.preset, *self.device, "--precision", kind]
        runs = self.folder / f"runs-{kind}"
        with self.watch.watched(part):
            run(self.args.d2r, self.folder, "train-reporter", *flags, "--runs", str(runs), settings=[*steps, *self.sizes["settings"]])
        (self.reporter,) = runs.glob("reporter-*")
        rows = [json.loads(line) for line in (self.reporter / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["phase"] == "train"]
        # The first row has the start of the device in it.
        for name in ("images_per_s", "waiting_share"):
            part[name] = statistics.median(row[name] for row in rows[1:] or rows)
        part["resnet101_alone_images_per_s"] = trunk(self.sizes, self.args.device, torch.bfloat16 if kind == "bf16" else torch.float32)

    def report(self, part: dict) -> None:
        flags = ["--dataset", "mimic", "--split", "test", "--reporter", str(self.reporter), "--preset", self.args.preset, *self.device]
        with self.watch.watched(part):
            done = run(self.args.d2r, self.folder, "report", *flags, settings=[])
        part["images_per_s"] = done["rows"].get("generated_reports", 0) / part["seconds"]

    def run(self) -> None:
        kinds = ["f32"] if self.args.device == "cpu" else ["f32", "bf16"]
        parts = [("data", self.data)]
        # The boxes in f32 are those of the report model.
        parts += [(f"annotate_{kind}", lambda part, kind=kind: self.annotate(part, kind)) for kind in reversed(kinds)]
        parts += [(f"train_reporter_{kind}", lambda part, kind=kind: self.train_reporter(part, kind)) for kind in kinds]
        parts += [("report", self.report), ("detectors", lambda part: self.detectors(part, kinds))]
        until = time.monotonic() + 60 * self.args.minutes
        for name, work in parts:
            part = self.parts[name] = {}
            if time.monotonic() > until:
                part["left_out"] = "the time was up"
                continue
            try:
                work(part)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                part["failed"] = str(error)
            shown = {key: round(value, 3) for key, value in part.items() if isinstance(value, float)}
            print(f"{name:<22} {part.get('failed') or shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True, type=os.path.abspath)
    parser.add_argument("--speed", required=True, type=os.path.abspath)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--preset", default="d2rnet")
    parser.add_argument("--minutes", type=float, default=10, help="no part is begun after that")
    parser.add_argument("--small", action="store_true", help="sizes with which the script itself is tried on a CPU")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: nothing was measured (--device cpu --small tries the script)")
    with tempfile.TemporaryDirectory() as folder:
        check = Check(args, Path(folder))
        check.run()
    result = {
        "parts": check.parts,
        "device": torch.cuda.get_device_name(0) if args.device != "cpu" else "cpu",
        "machine": machine(),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "command": "scripts/gpu_check.sh",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    if any("failed" in part for part in check.parts.values()):
        raise SystemExit("a part failed; the message is above and in the result")


if __name__ == "__main__":
    main()
