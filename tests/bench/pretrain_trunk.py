"""A trunk pre-trained on report labels, in place of ImageNet weights: radiographs of drawn MIMIC-CXR studies, the 14 labels of
their reports (`mimic-cxr-2.0.0-chexpert.csv.gz`; uncertain labels give no loss), no boxes. The network is the ResNet-18 of
width 16 of the detectors `mini` and `small`; its file has torchvision's names without a classifier.

    d2r phantom --out pretraining --seed 301 --set phantom.labelled_images=0 --set phantom.report_studies=4000 ...
    python tests/bench/pretrain_trunk.py --mimic pretraining/mimic --out trunk.safetensors
    python tests/bench/quality_semi.py --trunk trunk.safetensors --labelled 10 ...

Written with PyTorch and torchvision's blocks, as the weights that it stands for come from elsewhere too.
"""

import argparse
import csv
import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock

WIDTH = 16
# The detectors' normalisation (`input_mean`, `input_std`).
MEAN, STD = 0.449, 0.226
BATCH = 32
# One study in ten shows what was learnt.
HELD_OUT = 10


class Trunk(nn.Module):
    """ResNet-18 with torchvision's names; f32 `[B, 3, H, W]` in, `[B, 16 * WIDTH]` out: largest and mean values of the last features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        inputs = WIDTH
        for level in range(4):
            outputs, stride = WIDTH << level, 1 if level == 0 else 2
            shortcut = None
            if level:
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            layer = nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))
            setattr(self, f"layer{level + 1}", layer)
            inputs = outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = nn.functional.max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        for level in range(4):
            features = getattr(self, f"layer{level + 1}")(features)
        # The mean over the image hides a small lesion.
        return torch.cat([features.amax((2, 3)), features.mean((2, 3))], 1)


def studies(root: Path) -> tuple[list[list[Path]], torch.Tensor, list[str]]:
    """Images and labels of each study: 1, 0, or NaN where the report is uncertain."""
    files: dict[str, list[Path]] = {}
    for path in sorted(root.glob("files/p*/p*/s*/*.jpg")):
        files.setdefault(path.parent.name[1:], []).append(path)
    with gzip.open(root / "mimic-cxr-2.0.0-chexpert.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in {"subject_id", "study_id"}]
    value = {"1.0": 1.0, "-1.0": float("nan")}
    labels = torch.tensor([[value.get(row[name], 0.0) for name in names] for row in rows])
    return [files[row["study_id"]] for row in rows], labels, names


def read(path: Path, size: int) -> torch.Tensor:
    """u8 `[size, size]`, letterboxed."""
    image = ImageOps.pad(Image.open(path).convert("L"), (size, size), Image.Resampling.BILINEAR)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size)


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Flips, shifts by up to a sixteenth, changes of brightness and contrast; f32 `[B, 1, H, W]`, normalised."""
    images = images.float()[:, None] / 255
    flips = torch.rand(len(images)) < 0.5
    images[flips] = images[flips].flip(3)
    size = images.shape[-1]
    margin = size // 16
    padded = nn.functional.pad(images, [margin] * 4)
    at = torch.randint(0, 2 * margin + 1, (len(images), 2)).tolist()
    images = torch.stack([padded[i, :, y : y + size, x : x + size] for i, (y, x) in enumerate(at)])
    gain, offset = torch.empty(2, len(images), 1, 1, 1).uniform_(-0.2, 0.2)
    return normalised((images * (1 + gain) + offset).clamp(0, 1))


def normalised(images: torch.Tensor) -> torch.Tensor:
    return ((images - MEAN) / STD).expand(-1, 3, -1, -1)


def auroc(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Of one label, ties counted half; NaN without both kinds."""
    known = ~labels.isnan()
    scores, positive = scores[known], labels[known] == 1
    if not 0 < positive.sum() < len(positive):
        return float("nan")
    pairs = scores[positive][:, None] - scores[~positive]
    return float(((pairs > 0).float() + 0.5 * (pairs == 0).float()).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mimic", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--size", type=int, default=128, help="square input, pixels")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    paths, labels, names = studies(args.mimic)
    flat = [(path, i) for i, found in enumerate(paths) for path in found]
    with ThreadPoolExecutor(args.threads) as pool:
        images = torch.stack(list(pool.map(lambda item: read(item[0], args.size), flat)))
    study = torch.tensor([i for _, i in flat])
    held_out = study % HELD_OUT == 0
    training, others = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
    trunk, head = Trunk(), nn.Linear(16 * WIDTH, len(names))
    parameters = [*trunk.parameters(), *head.parameters()]
    steps = args.epochs * (len(training) // BATCH)
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    start = time.perf_counter()
    for epoch in range(args.epochs):
        trunk.train()
        total, order = 0.0, training[torch.randperm(len(training))]
        for batch in order[: len(order) // BATCH * BATCH].view(-1, BATCH):
            target = labels[study[batch]]
            known = ~target.isnan()
            logits = head(trunk(augmented(images[batch])))
            loss = nn.functional.binary_cross_entropy_with_logits(logits[known], target[known])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        trunk.eval()
        with torch.no_grad():
            batches = (normalised(images[part].float()[:, None] / 255) for part in others.split(BATCH))
            scores = torch.cat([head(trunk(part)) for part in batches])
        by_label = [auroc(scores[:, k], labels[study[others]][:, k]) for k in range(len(names))]
        mean = torch.tensor(by_label).nanmean()
        print(f"epoch {epoch + 1} loss {total / (len(order) // BATCH):.4f} AUROC held out {mean:.3f} {time.perf_counter() - start:.0f} s", flush=True)
    print(" ".join(f"{name}={value:.2f}" for name, value in zip(names, by_label, strict=True)))
    save_file({name: tensor.contiguous() for name, tensor in trunk.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
