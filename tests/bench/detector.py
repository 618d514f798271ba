"""Images per second of our detectors and of torchvision's: the same weights, images, boxes and batch, in one run.

Torchvision's random weights are written as safetensors, imported, and both run in turns; the ratio is ours over
theirs, the median over the rounds. Writes bench-results/detector.json.

    python tests/bench/detector.py --d2r D2R --speed TARGET/examples/detector_speed --out bench-results/detector.json
"""

import argparse
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from machine import machine

CLASSES = 22
ARCHITECTURES = ["faster_rcnn", "fcos"]


def reference(name: str, size: int) -> torch.nn.Module:
    torch.manual_seed(0)
    trunk = {"backbone_name": "resnet50", "weights": None, "norm_layer": FrozenBatchNorm2d, "trainable_layers": 5}
    if name == "fcos":
        backbone = resnet_fpn_backbone(**trunk, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
        return FCOS(backbone, num_classes=CLASSES, min_size=size, max_size=size)
    return FasterRCNN(resnet_fpn_backbone(**trunk), num_classes=CLASSES + 1, min_size=size, max_size=size)


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def timed(steps: int, device: str, call) -> float:
    call()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        call()
    synchronise(device)
    return (time.perf_counter() - start) / steps


def theirs(model: torch.nn.Module, size: int, batch: int, steps: int, device: str, precision: str) -> dict[str, float]:
    model = model.to(device)
    in_kind = torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")
    images = [torch.rand(3, size, size, device=device) for _ in range(batch)]
    corners = [[a * size, a * size, b * size, b * size] for a, b in ((0.1, 0.4), (0.3, 0.8), (0.5, 0.65))]
    boxes, labels = torch.tensor(corners, device=device), torch.tensor([1, 2, 3], device=device)
    targets = [{"boxes": boxes, "labels": labels} for _ in images]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def infer() -> None:
        with torch.no_grad(), in_kind:
            model(images)

    def train() -> None:
        optimizer.zero_grad()
        with in_kind:
            loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()

    inference = timed(steps, device, model.eval() and infer)
    model.train()
    return {
        "inference_images_per_s": batch / inference,
        "training_images_per_s": batch / timed(steps, device, train),
    }


def like_torchvision(path: Path) -> None:
    """Sets what torchvision's models have here and no configuration key changes: all stages are trained, on 2000 proposals."""
    card = json.loads(path.read_text())
    card["model"]["config"]["frozen_stages"] = 0
    card["model"]["config"]["rcnn"]["proposals_train"] = 2000
    path.write_text(json.dumps(card))


def ours(d2r: str, speed: str, name: str, weights: Path, folder: Path, args: argparse.Namespace, device: str, precision: str):
    runs = folder / name
    if not runs.exists():
        command = [d2r, "import-weights", "torchvision", "--weights", str(weights), "--runs", str(runs), "--quiet"]
        for setting in (f"architecture={name}", "backbone=imported"):
            command += ["--set", f"detector.model.{setting}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        like_torchvision(*runs.glob("detector-*/card.json"))
    (run,) = runs.glob("detector-*")
    score = "0.2" if name == "fcos" else "0.05"
    command = [speed, "--run", str(run), "--size", str(args.size), "--batch", str(args.batch)]
    command += ["--steps", str(args.steps), "--device", device, "--score-min", score, "--precision", precision]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--speed", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", nargs="+", default=["cpu"] + (["cuda:0"] if torch.cuda.is_available() else []))
    parser.add_argument("--precisions", nargs="+", default=["f32"], choices=["f32", "bf16"])
    args = parser.parse_args()
    figures, ratios = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ARCHITECTURES:
            model = reference(name, args.size)
            weights = Path(folder, f"{name}.safetensors")
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
            for device, precision in itertools.product(args.devices, args.precisions):
                rounds = []
                for _ in range(args.rounds):
                    reference_speed = theirs(model, args.size, args.batch, args.steps, device, precision)
                    rounds.append((ours(args.d2r, args.speed, name, weights, Path(folder), args, device, precision), reference_speed))
                for what in ("inference_images_per_s", "training_images_per_s"):
                    kind = "" if precision == "f32" else f".{precision}"
                    key = f"{name}.{device.split(':')[0]}{kind}.{what}"
                    figures[f"{key}.ours"] = statistics.median(our[what] for our, _ in rounds)
                    figures[f"{key}.torchvision"] = statistics.median(their[what] for _, their in rounds)
                    ratios[key] = statistics.median(our[what] / their[what] for our, their in rounds)
                    print(f"{key:<48} {figures[f'{key}.ours']:>8.3f} {figures[f'{key}.torchvision']:>8.3f} {ratios[key]:>7.2f}")
    result = {
        "figures": figures,
        "ratios": ratios,
        "machine": machine(),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "command": "make bench-detector",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
