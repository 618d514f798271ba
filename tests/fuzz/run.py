"""Runs the fuzz targets under libFuzzer and writes what was run into a JSON file.

The fuzz program is built into a folder of its own with coverage counters (`instrument.sh`), with the ordinary toolchain. Inputs that
reached new code are kept in a folder outside the checkout, so that the next run goes on from there. An input that makes a
target panic, take more than ten seconds, or need more than the memory limit, is kept as `failures/<target>-...` beside them;
the exit code is then 1.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "d2r"
# Executions in thousands, in proportion to each target's speed; ten million in all.
THOUSANDS = {
    "dicom": 600, "png": 3600, "jpeg": 2400, "jpeg_in_dicom": 300, "jpeg_2000": 600, "rle": 400,
    "sections": 800, "labeler": 200, "cleaning": 150,
    "annotation_json": 150, "coco": 150, "mimic_csv": 100, "vindr_csv": 100,
    "configuration": 80, "safetensors": 120, "card_and_samples": 300, "onnx": 500,
}
SECONDS_MAX = 10
MEMORY_MIB_MAX = 2048


def build(target_dir: pathlib.Path) -> pathlib.Path:
    """Builds the program and gives its path."""
    wrapper = ROOT / "tests/fuzz/instrument.sh"
    environment = os.environ | {"CARGO_TARGET_DIR": str(target_dir), "RUSTC_WRAPPER": str(wrapper)}
    command = ["cargo", "build", "--locked", "-p", "d2r-fuzz", "--features", "libfuzzer", "--bin", "fuzz"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return target_dir / "debug/fuzz"


def run(program: pathlib.Path, name: str, size_max: int, runs: int, seconds: int, corpus: pathlib.Path) -> dict:
    """One target; what libFuzzer says about it."""
    failures = corpus.parent / "failures"
    failures.mkdir(exist_ok=True)
    command = [
        program, f"-runs={runs}", f"-max_len={size_max}", f"-timeout={seconds}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}", "-print_final_stats=1", "-reload=0", f"-artifact_prefix={failures}/{name}-", corpus,
    ]
    environment = os.environ | {"D2R_FUZZ_TARGET": name, "RUST_BACKTRACE": "0", "OMP_NUM_THREADS": "1"}
    # Temporary files of the targets belong into memory.
    if pathlib.Path("/dev/shm").is_dir():
        environment["TMPDIR"] = "/dev/shm"
    start = time.monotonic()
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    text = done.stderr.decode(errors="replace")

    def number(pattern: str) -> int:
        found = re.findall(pattern, text)
        return int(found[-1]) if found else 0

    if done.returncode != 0:
        print(text[-4000:], file=sys.stderr)
    return {
        "target": name,
        "executions": number(r"stat::number_of_executed_units: +(\d+)"),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "per_second": number(r"stat::average_exec_per_sec: +(\d+)"),
        "peak_mib": number(r"stat::peak_rss_mb: +(\d+)"),
        "slowest_s": number(r"stat::slowest_unit_time_sec: +(\d+)"),
        "edges": number(r"cov: (\d+)"),
        "inputs": len(list(corpus.iterdir())),
        "failed": done.returncode != 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=list(THOUSANDS), choices=list(THOUSANDS))
    parser.add_argument("--share", type=float, default=1.0, help="of the executions of each target")
    parser.add_argument("--timeout", type=int, default=SECONDS_MAX, help="seconds for one input; more beside other work")
    parser.add_argument("--corpus", type=pathlib.Path, default=CACHE / "fuzz-inputs")
    parser.add_argument("--build", type=pathlib.Path, default=CACHE / "fuzz-target")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    program = build(args.build)
    args.corpus.mkdir(parents=True, exist_ok=True)
    # The program links libtorch, which cargo finds for its own children only.
    libtorch = pathlib.Path(os.environ.get("LIBTORCH", ROOT / ".libtorch"), "lib")
    os.environ["LD_LIBRARY_PATH"] = f"{libtorch}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    seeds = os.environ | {"D2R_FUZZ_SEEDS": str(args.corpus)}
    listed = subprocess.run([program], env=seeds, stdout=subprocess.PIPE, text=True, check=True).stdout
    size_max = {name: int(size) for name, size in (line.split() for line in listed.splitlines())}
    if set(size_max) != set(THOUSANDS):
        sys.exit(f"run.py and the program name different targets: {sorted(set(size_max) ^ set(THOUSANDS))}")
    rows = []
    for name in args.targets:
        rows.append(run(program, name, size_max[name], int(THOUSANDS[name] * 1000 * args.share), args.timeout, args.corpus / name))
        print(rows[-1], flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        total = sum(row["executions"] for row in rows)
        args.out.write_text(json.dumps({"executions": total, "targets": rows}, indent=1) + "\n")
    return int(any(row["failed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
