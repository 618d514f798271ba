"""Shared by the fixtures of whole detectors: the batch of images, and the check that the results are stable.

A result is only worth storing where rounding cannot change it. `settled` therefore asks for the same answer in double
precision and with every threshold moved a little.
"""

from collections.abc import Callable

import torch
from torchvision.models.detection.image_list import ImageList

from formula import image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((160, 192), (128, 176))
PADDED = (160, 192)
CLASSES = 5


def images(streams: tuple[int, int], dtype: torch.dtype = torch.float32) -> ImageList:
    """Normalised, then padded with zeros to the right and below; the true sizes beside."""
    batch = torch.zeros(len(SIZES), 3, *PADDED)
    for row, stream, (h, w) in zip(batch, streams, SIZES):
        mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
        row[:, :h, :w] = (image(stream, (3, h, w)) - mean) / std
    return ImageList(batch.to(dtype), list(SIZES))


def described(streams: tuple[int, int]) -> dict:
    """The batch, for the fixture."""
    return {
        "image_streams": list(streams),
        "image_sizes": [list(s) for s in SIZES],
        "padded": list(PADDED),
        "mean": list(MEAN),
        "std": list(STD),
        "num_classes": CLASSES,
    }


def same(first: list[dict], second: list[dict]) -> bool:
    """Whether two lists of detections hold the same boxes of the same classes in the same order."""
    for a, b in zip(first, second):
        if a["labels"].tolist() != b["labels"].tolist():
            return False
        if len(a["boxes"]) and (a["boxes"].double() - b["boxes"].double()).abs().max() > 1e-2:
            return False
    return True


def settled(detect: Callable[[], list[dict]], owner: object, knobs: dict[str, float]) -> list[str]:
    """Names of the thresholds that, moved by the stated amount, change what is detected."""
    reference = detect()
    out = []
    for name, step in knobs.items():
        value = getattr(owner, name)
        for moved in (value - step, value + step):
            setattr(owner, name, moved)
            if not same(reference, detect()):
                out.append(f"{name} {moved}")
        setattr(owner, name, value)
    return out


def smallest_gap(scores: torch.Tensor) -> float:
    """Between neighbours of a descending list."""
    return (scores[:-1] - scores[1:]).min().item() if len(scores) > 1 else 1.0
