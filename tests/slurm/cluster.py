"""A Slurm cluster of its own: one controller and two nodes on the loopback of this machine, in a folder, for one user."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NODES = ("d2r-a", "d2r-b")
CONFIG = """\
ClusterName=d2r
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2
ReturnToService=2
InactiveLimit=0
KillWait=5
MinJobAge=600
MailProg=/bin/true
{nodes}
PartitionName=d2r Nodes={names} Default=YES MaxTime=60 State=UP
"""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that no process listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """Started by `start`, stopped by `stop`; needs `slurmctld` and a `slurmd` with support for several nodes per host."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        # Of a Slurm job that this test may itself be part of.
        for name in [name for name in self.environment if name.startswith(("SLURM_", "SBATCH_")) and name != "SLURM_CONF"]:
            del self.environment[name]

    def start(self) -> None:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        controller, *ports = free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=8000 State=UNKNOWN"
            for name, port in zip(NODES, ports, strict=True)
        )
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        text = CONFIG.format(
            host=host, user=user, controller=controller, folder=self.folder, nodes=nodes, names=",".join(NODES)
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        self.daemon("slurmctld", "-D", "-c")
        for node in NODES:
            self.daemon("slurmd", "-D", "-c", "-N", node)
        self.wait(lambda: self.idle() == len(NODES), 60, "no idle nodes")

    def daemon(self, program: str, *arguments: str) -> None:
        path = shutil.which(program) or f"/usr/sbin/{program}"
        with (self.folder / f"{program}-{len(self.daemons)}.out").open("wb") as log:
            # A session of its own: Ctrl-C reaches the test, which stops the daemon in order.
            daemon = subprocess.Popen(
                [path, *arguments], env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.daemons.append(daemon)

    def stop(self) -> None:
        subprocess.run(["scancel", "--full", "--me"], env=self.environment, capture_output=True, check=False)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}{self.logs()}")
        return done.stdout.strip()

    def idle(self) -> int:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%T"], env=self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout.split().count("idle")

    def wait(self, done, seconds: float, problem: str) -> None:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise AssertionError(f"{problem} after {seconds:.0f} s{self.logs()}")
            time.sleep(0.5)

    def submit(self, script: Path, *options: str, cwd: Path) -> str:
        """The number of the submitted array."""
        return self.run("sbatch", "--parsable", *options, str(script), cwd=cwd).split(";")[0]

    def element(self, array: str, index: int) -> dict[str, str]:
        """What the controller says about an element of an array."""
        text = self.run("scontrol", "show", "job", "-o", f"{array}_{index}")
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def states(self, array: str, count: int) -> list[str]:
        return [self.element(array, index)["JobState"] for index in range(count)]

    def start_now(self, array: str, index: int) -> None:
        """Slurm holds an element that was put back for two minutes; the test does not wait for them."""
        subprocess.run(
            ["scontrol", "update", f"JobId={array}_{index}", "StartTime=now"],
            env=self.environment, capture_output=True, check=False,
        )

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        parts = []
        for log in sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")]):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            parts.append(f"\n--- {log.name}\n" + "\n".join(lines))
        return "".join(parts)
