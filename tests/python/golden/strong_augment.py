"""Golden values of the strong augmentation: brightness, contrast, blur, and where and with what pixels are erased.

Brightness and contrast come from torchvision on Pillow images, blur from Pillow; three equal channels give the same
as one, which is checked. Erasing is arithmetic on given draws: each try maps two of them to an area and an aspect, the
first try that fits maps two more to the corner. Fills are cast to bytes modulo 256.

    python tests/python/golden/strong_augment.py        writes batch/golden/detector/strong_augment.json
"""

import math
from collections.abc import Callable

import numpy as np
import PIL
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import functional

from formula import uniform, write

HEIGHT, WIDTH, STREAM = 19, 24, 141
FACTORS = (0.6, 0.75, 1.0, 1.23, 1.4)
RADII = (0.1, 0.7, 1.3, 2.0)
ERASERS = (
    {"area": [0.05, 0.2], "aspect": [0.3, 3.3]},
    {"area": [0.02, 0.2], "aspect": [0.1, 6.0]},
    {"area": [0.02, 0.2], "aspect": [0.05, 8.0]},
)
FILLS = (-3.1, -1.7, -0.5, -0.003, 0.0, 0.001, 0.25, 0.999, 1.0, 1.01, 1.7, 2.6, 3.9)


def noise() -> np.ndarray:
    return np.floor((0.5 + 0.5 * uniform(STREAM, HEIGHT * WIDTH)) * 256).astype(np.uint8).reshape(HEIGHT, WIDTH)


def ramp() -> np.ndarray:
    """Smooth, with edges where it wraps."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return ((5 * rows + 9 * columns) % 256).astype(np.uint8)


def applied(pixels: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> list:
    """Rows after the change; alike in one and in three channels."""
    one = np.asarray(change(Image.fromarray(pixels)))
    three = np.asarray(change(Image.fromarray(np.stack([pixels] * 3, 2))))
    assert (three == one[..., None]).all()
    return one.tolist()


def changes(pixels: np.ndarray) -> dict:
    return {
        "brightness": [
            {"factor": f, "output": applied(pixels, lambda i: functional.adjust_brightness(i, f))} for f in FACTORS
        ],
        "contrast": [
            {"factor": f, "output": applied(pixels, lambda i: functional.adjust_contrast(i, f))} for f in FACTORS
        ],
        "blur": [
            {"radius": r, "output": applied(pixels, lambda i: i.filter(ImageFilter.GaussianBlur(r)))} for r in RADII
        ],
    }


def erased(size: tuple[int, int], eraser: dict, draws: list[float]) -> dict:
    """At most ten tries of two draws in [0, 1); then row and column of the corner from the two draws after."""
    height, width = size
    (low, high), (narrow, tall) = eraser["area"], eraser["aspect"]
    tries, rectangle, position = [], None, 0
    while position < 20 and rectangle is None:
        area = height * width * (low + (high - low) * draws[position])
        aspect = math.exp(math.log(narrow) + (math.log(tall) - math.log(narrow)) * draws[position + 1])
        position += 2
        exact = math.sqrt(area * aspect), math.sqrt(area / aspect)
        assert all(abs(e % 1 - 0.5) > 1e-6 for e in exact)
        h, w = (round(e) for e in exact)
        tries.append([h, w])
        if h < height and w < width:
            row = math.floor(draws[position] * (height - h + 1))
            column = math.floor(draws[position + 1] * (width - w + 1))
            rectangle = [row, column, h, w]
            position += 2
    case = {"size": [height, width], **eraser, "draws": draws[:position], "tries": tries}
    return case | {"rectangle": rectangle, "draws_used": position}


def erasing() -> list:
    def draws(stream: int) -> list[float]:
        return [round(0.5 + 0.5 * v, 4) % 1 for v in uniform(stream, 22)]

    out = []
    for k, eraser in enumerate(ERASERS):
        for j, size in enumerate(((400, 512), (512, 400), (101, 97), (40, 600))):
            out.append(erased(size, eraser, draws(150 + 10 * k + j)))
    # Never fits: an aspect far from that of the image, ten times.
    out.append(erased((60, 600), ERASERS[2], [0.9, 0.95] * 11))
    # Fits after two tries, and the largest corner.
    out.append(erased((60, 600), ERASERS[2], [0.9, 0.95, 0.8, 0.9, 0.1, 0.5] + [0.9999] * 16))
    assert out[-2]["rectangle"] is None and len(out[-1]["tries"]) == 3
    return out


def fills() -> dict:
    values = torch.tensor(FILLS)
    bytes_ = (values.mul(255).trunc().to(torch.int32) % 256).tolist()
    assert bytes_[FILLS.index(-0.5)] == 129 and bytes_[FILLS.index(1.7)] == 177
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(levels.float().div(255).mul(255).trunc().to(torch.uint8), levels)
    return {"values": list(FILLS), "bytes": bytes_}


def main():
    torch.set_num_threads(1)
    inputs = {"noise": noise(), "ramp": ramp()}
    cases = [{"name": k, "sum": int(v.sum()), "first_row": v[0].tolist(), **changes(v)} for k, v in inputs.items()]
    rectangles = erasing()
    print([(len(r["tries"]), r["rectangle"]) for r in rectangles], fills()["bytes"])
    write(
        "strong_augment",
        {
            "pillow": PIL.__version__,
            "size": [HEIGHT, WIDTH],
            "noise_stream": STREAM,
            "images": cases,
            "erase": rectangles,
            "fill": fills(),
        },
    )


if __name__ == "__main__":
    main()
