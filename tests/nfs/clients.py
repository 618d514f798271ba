"""Inside the guest: machines that mount the server's disk, each with a network, mounts, daemons and caches of its own."""

import os
import shlex
import signal
import subprocess
import time

DISK, MOUNT = "/srv/disk", "/lake"
# As long as the slowest command may take in the guest.
LIMIT_S = 240


class Client:
    """A network namespace, a host name and a mount namespace that a process holds; the mount of the disk is at `MOUNT`."""

    def __init__(self, name: str, number: int):
        self.name, self.server = name, f"10.0.{number}.1"
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "sleep", "infinity"])
        self.enter = ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", "--uts", "--root", "--wd=/"]
        # Until it has left this process's network.
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.05)
        link = f"link{number}"
        for line in (
            f"ip link add {link} type veth peer name eth0 netns {self.holder.pid}",
            f"ip addr add {self.server}/24 dev {link}",
            f"ip link set {link} up",
        ):
            subprocess.run(line.split(), check=True)
        # Addresses of daemons and their states are this machine's alone.
        self.shell(f"""
            hostname {name}
            ip link set lo up
            ip addr add 10.0.{number}.2/24 dev eth0
            ip link set eth0 up
            mount -t tmpfs tmpfs /run
            mkdir -p /run/rpcbind /run/sendsigs.omit.d
            mount -t tmpfs tmpfs /var/lib/nfs
            mkdir /var/lib/nfs/sm /var/lib/nfs/sm.bak
            chown -R statd /var/lib/nfs
            rpcbind -w -f </dev/null >/dev/null 2>&1 &
            echo $! >/run/rpcbind.pid
            until rpcinfo -p >/dev/null 2>&1; do sleep 0.1; done
            rpc.statd --no-notify
        """)

    def mount(self, options: str, statd: bool) -> str:
        """Mounts the disk and returns the options that hold; without `statd` the daemons that NFSv3's locks need end."""
        path = DISK if "vers=3" in options else "/"
        self.shell(f"mount -t nfs -o {options} {self.server}:{path} {MOUNT}")
        if not statd:
            # Process numbers are of all machines: only this one's file names its own.
            self.shell("kill $(cat /run/rpc.statd.pid); sleep 0.5; kill $(cat /run/rpcbind.pid)")
        return next(line.split()[3] for line in self.shell("cat /proc/mounts").splitlines() if f" {MOUNT} nfs" in line)

    def shell(self, text: str) -> str:
        command = [*self.enter, "bash", "-e", "-c", f"cd /\n{text}"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=LIMIT_S)
        if done.returncode:
            raise SystemExit(f"{self.name}: {text}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen:
        words = ["bash", "-c", f"cd / && exec {shlex.join(map(str, command))}"]
        return subprocess.Popen([*self.enter, *words], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def close(self) -> None:
        subprocess.run([*self.enter, "umount", "-l", MOUNT], check=False)
        # The daemons end with the guest; their network goes with the holder's.
        self.holder.send_signal(signal.SIGKILL)
        self.holder.wait()


class Ended:
    """How a command ended."""

    def __init__(self, words: list[str], process: subprocess.Popen):
        self.words = words
        self.out, self.error = process.communicate(timeout=LIMIT_S)
        self.code = process.returncode

    def __str__(self) -> str:
        return f"{shlex.join(self.words)}: exit {self.code}\n{self.error.strip()[-1500:]}"
