"""Times of every stage of the demo, as the pipeline itself records them, and its figures.

Runs the demo in a temporary folder, prints a table, writes bench-results/pipeline.json.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from machine import libtorch, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d2r", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--preset", default="demo")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [args.d2r, "pipeline", "--preset", args.preset, "--out", f"{folder}/demo"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads(Path(folder, "demo", "summary.json").read_text())
    figures = {f"wall_s.{name}": seconds for name, seconds in summary["wall_s"].items()}
    figures["wall_s.total"] = summary["wall_s_total"]
    figures["peak_rss_mb"] = summary["peak_rss_mb"]
    for group in ("detector", "reports", "links"):
        figures |= {f"{group}.{name}": value for name, value in summary[group].items()}
    for name, value in figures.items():
        print(f"{name:<36} {value:>10.3f}")
    result = {
        "figures": figures,
        "ratios": {},
        "machine": machine(),
        "versions": {"d2r": summary["code_version"], "libtorch": libtorch()},
        "command": "make bench-pipeline",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
