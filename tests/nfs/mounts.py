"""`d2r` with its lake on NFS: NFSv4.2, NFSv3, and NFSv3 without locks, from two machines.

No kernel of this machine is asked for: Debian's kernel in user mode (User-Mode Linux) runs as a process, with this machine's
files as its root, an NFS server of the kernel, and two machines that mount it, each with a network, daemons and caches of its
own. The expected content is what the same commands write to a local file system on this machine.

    python tests/nfs/mounts.py --d2r D2R --packages FOLDER [--kinds KIND ...] [--out bench-results/nfs.json]

FOLDER is what scripts/nfs_setup.sh made. Ends with 1 and the problems when something is wrong.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checks import KINDS, counted, digests

HERE = Path(__file__).parent
REPORTER = HERE.parent.parent / "batch/models/reporter"
MEMORY_MIB = 4096
DISK_BYTES = 2 << 30
# Boot and all kinds.
LIMIT_S = 3600


def without_cuda(d2r: Path, folder: Path) -> None:
    """The libraries of `d2r` as links, with an empty library in place of CUDA's, which take 10 s to load in the guest."""
    empty = next(Path("/lib").glob("*-linux-gnu/libdl.so.2"))
    folder.mkdir()
    for line in subprocess.check_output(["ldd", d2r], text=True).splitlines():
        name, arrow, path, *_ = [*line.split(), "", "", ""][:4]
        if arrow != "=>" or not path.startswith("/"):
            continue
        if name.startswith(("libtorch_cuda", "libc10_cuda", "libtorch_nvshmem")):
            (folder / name).symlink_to(empty)
        elif name.startswith(("libtorch", "libc10", "libgomp", "libcudart", "libcupti", "libmkl", "libiomp")):
            (folder / name).symlink_to(path)


def local(d2r: Path, work: Path, environment: dict[str, str]) -> dict:
    """Rows and digests of the commands on this machine's file system."""
    lake = work / "local/lake"
    common = ["--lake", lake, "--runs", work / "local/runs", "--json", "--quiet"]

    def run(*words) -> dict:
        done = subprocess.run([d2r, *words, *common], env=os.environ | environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
        return counted(json.loads(done.stdout.strip().splitlines()[-1])["rows"])

    for dataset in ("vindr", "mimic"):
        run("ingest", dataset, "--root", work / "phantom" / dataset, "--preset", "tiny")
    ingested = run("validate", "--preset", "tiny")
    report = ["report", "--preset", "demo", "--dataset", "mimic", "--split", "test", "--reporter", REPORTER]
    run(*report, "--set", "generate.beam_size=1")
    return {"ingested": ingested, "all": run("validate", "--preset", "tiny"), "digests": digests(lake)}


def boot(packages: Path, work: Path) -> int:
    """Runs the guest to its end; its output is this process's."""
    with (work / "disk").open("wb") as disk:
        disk.truncate(DISK_BYTES)
    # The guest's memory is a file: in memory where there is room, else beside the disk.
    shared = Path("/dev/shm")
    room = shutil.disk_usage(shared).free if shared.is_dir() else 0
    memory = shared if room > MEMORY_MIB << 20 else work
    command = [
        packages / "usr/bin/linux.uml", f"mem={MEMORY_MIB}M", "rootfstype=hostfs", "rootflags=/", "root=/dev/root", "ro",
        "con=null", "con0=fd:0,fd:1", "quiet", "loglevel=1", f"ubd0={work / 'disk'}", f"init={HERE / 'init.sh'}", f"nfs_packages={packages}",
        f"nfs_work={work}", f"nfs_tests={HERE}", f"nfs_python={sys.executable}",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(work), "TMPDIR": str(memory)}
    # A group of its own: the guest's processes are processes of this machine.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"the guest did not end within {LIMIT_S} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d2r", required=True, type=Path)
    parser.add_argument("--packages", required=True, type=Path)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    d2r, packages, start = args.d2r.resolve(), args.packages.resolve(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="d2r-nfs-") as base:
        work = Path(base).resolve()
        without_cuda(d2r, work / "libraries")
        # One thread on both sides: sums do not depend on the number of cores then.
        environment = {"D2R_RUN__THREADS": "1", "LD_LIBRARY_PATH": str(work / "libraries")}
        phantom = [d2r, "phantom", "--out", work / "phantom", "--preset", "tiny", "--quiet"]
        subprocess.run(phantom, check=True, stdout=subprocess.DEVNULL)
        settings = {"d2r": str(d2r), "reporter": str(REPORTER), "environment": environment, "kinds": args.kinds}
        settings |= local(d2r, work, environment)
        (work / "settings.json").write_text(json.dumps(settings))
        code = boot(packages, work)
        if not (work / "started").exists():
            print(f"skipped: the kernel in user mode does not start here (exit {code}); it needs ptrace and 4 GiB of memory")
            return
        if not (work / "finished").exists():
            raise SystemExit(f"the guest ended with {code} before its checks did")
        kinds = json.loads((work / "result.json").read_text())
    problems = [f"{name}: {problem}" for name, kind in kinds.items() for problem in kind["problems"]]
    result = {"kinds": kinds, "seconds": round(time.monotonic() - start), "load": os.getloadavg(), "command": "make test-nfs"}
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    if problems:
        raise SystemExit("\n".join(["", *problems]))
    print(f"{len(kinds)} kinds of mounts: same content as on a local file system")


if __name__ == "__main__":
    main()
