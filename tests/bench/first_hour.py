"""What a newcomer waits for: setup, build, quickstart and demo in a fresh clone with its own build folder, one after the other.

Nothing else should run meanwhile. Writes bench-results/first-hour.json and prints the README's line about it.

    python tests/bench/first_hour.py --out bench-results/first-hour.json [--without-demo]
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--without-demo", action="store_true")
    args = parser.parse_args()
    seconds: dict[str, float] = {}
    summary: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "d2r")
        subprocess.run(["git", "clone", "-q", ".", clone], check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("LIBTORCH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")}
        environment["CARGO_TARGET_DIR"] = f"{folder}/target"
        for target in ("setup", "build", "quickstart", "demo")[: 3 if args.without_demo else 4]:
            start = time.perf_counter()
            subprocess.run(["make", "-s", target], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds[target] = time.perf_counter() - start
            print(f"{target:<12} {seconds[target]:8.0f} s", flush=True)
        if "demo" in seconds:
            summary = json.loads((clone / "demo" / "summary.json").read_text())
    minutes = {name: f"{value / 60:.1f}" for name, value in seconds.items()}
    print("README: " + ", ".join(f"{name} {value} min" for name, value in minutes.items()))
    result = {
        "figures": {f"{name}_s": value for name, value in seconds.items()} | {"demo_peak_rss_mb": summary.get("peak_rss_mb")},
        "ratios": {},
        "machine": machine(),
        "load": os.getloadavg(),
        "versions": {"commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()},
        "command": "make bench-first-hour",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
