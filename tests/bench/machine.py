"""What a bench ran on."""

import os
import platform
from importlib.metadata import version


def machine() -> str:
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}"


def libtorch() -> str:
    """d2r is built against the one of PyTorch's wheel."""
    return version("torch")
