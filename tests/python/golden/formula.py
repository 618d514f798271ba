"""Parameters and inputs of the detector fixtures, from a formula, so that a fixture holds results only.

A test in another language repeats these few lines and gets the same numbers: an FNV-1a hash of the parameter's name
selects a counter-based stream, and the parameter's kind selects what is done with it.

    uniform(stream, n)   n numbers in [-1, 1), double precision
    parameter(name, ...) one tensor of a network, scaled by the gains whose key occurs in the name
    image(stream, ...)   numbers in [0, 1)
    sampled(tensor, n)   a few values of a large tensor: where, what, and the sums of everything
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[3] / "batch/golden/detector"


def fnv1a32(name: str) -> int:
    """32-bit FNV-1a of the UTF-8 bytes."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def uniform(stream: int, count: int) -> np.ndarray:
    """`count` numbers in [-1, 1) of a counter-based stream."""
    with np.errstate(over="ignore"):
        x = np.uint64(stream) * np.uint64(1000003) + np.arange(count, dtype=np.uint64)
        x = x * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        x ^= x >> np.uint64(33)
        x *= np.uint64(0xFF51AFD7ED558CCD)
        x ^= x >> np.uint64(33)
    return (x >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def parameter(name: str, shape: tuple[int, ...], gains: dict[str, float]) -> torch.Tensor:
    """Values of one parameter or buffer, float32."""
    u = uniform(fnv1a32(name), math.prod(shape)).reshape(shape)
    if name.endswith("running_var"):
        values = 1 + 0.3 * u
    elif name.endswith("running_mean"):
        values = 0.1 * u
    elif name.endswith(".bias"):
        values = 0.05 * u
    elif len(shape) == 1:
        values = 1 + 0.2 * u
    else:
        values = u * math.sqrt(3 / math.prod(shape[1:]))
    for key in sorted(gains):
        if key in name:
            values = values * gains[key]
    return torch.from_numpy(values.astype(np.float32))


@torch.no_grad()
def fill(model: torch.nn.Module, gains: dict[str, float]) -> None:
    """Every parameter and buffer of a model by the formula; the batch counters stay."""
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(parameter(name, tuple(tensor.shape), gains))


def image(stream: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [0, 1), float32."""
    values = 0.5 + 0.5 * uniform(stream, math.prod(shape))
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def signed(stream: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [-1, 1), float32."""
    return torch.from_numpy(uniform(stream, math.prod(shape)).astype(np.float32)).reshape(shape)


def plain(values) -> list | float | int:
    """A tensor as nested lists of numbers of 9 significant digits."""
    if isinstance(values, torch.Tensor):
        values = values.detach().tolist()
    if isinstance(values, (list, tuple)):
        return [plain(v) for v in values]
    return float(f"{values:.9g}") if isinstance(values, float) else values


def sampled(tensor: torch.Tensor, count: int) -> dict:
    """Values at `count` scattered row-major positions, with sums over everything."""
    flat = tensor.detach().flatten()
    where = sorted({(k * 2654435761 + 12345) % flat.numel() for k in range(count)})
    wide = flat.double()
    return {
        "shape": list(tensor.shape),
        "at": where,
        "values": plain(flat[where]),
        "sum": plain(wide.sum().item()),
        "abs_sum": plain(wide.abs().sum().item()),
    }


def write(topic: str, golden: dict) -> None:
    path = FOLDER / f"{topic}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    path.write_text(json.dumps({"generator": versions, **golden}, allow_nan=False) + "\n")
    size = path.stat().st_size
    assert size < 150_000, f"{path.name}: {size} bytes"
    print(path.name, size, "bytes")
