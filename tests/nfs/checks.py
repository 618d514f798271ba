"""Inside the guest: `d2r` with its lake on mounts of several kinds, from two machines.

    python checks.py WORK

WORK holds `settings.json` of mounts.py; `result.json` is written there.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from clients import DISK, LIMIT_S, MOUNT, Client, Ended

HERE = Path(__file__).parent
KINDS = {
    "NFSv4.2": {"options": "vers=4.2"},
    "NFSv3": {"options": "vers=3"},
    # Locks hold for the processes of one machine.
    "NFSv3, nolock": {"options": "vers=3,nolock", "locks": "machine"},
    # Every lock ends with ENOLCK.
    "NFSv3 without statd": {"options": "vers=3", "statd": False, "locks": "none"},
}
# What a client knows of names and files is kept for ten minutes in place of one: what is out of date stays so for all checks,
# on a slow machine too.
CACHE = "actimeo=600"
RENAMES = "rename,renameat,renameat2"
# Where the commit of `ingest vindr` is killed: the journal is there and no part is; half of the parts are in place; half of
# the manifests are written; only the journal is left to remove.
KILLS = {
    "journal": f"{RENAMES}:signal=SIGKILL:when=2",
    "parts": f"{RENAMES}:signal=SIGKILL:when=9",
    "manifests": f"{RENAMES}:signal=SIGKILL:when=24",
    "end": "unlink,unlinkat:signal=SIGKILL:when=1",
}
# Where it is stopped, to go on later: half of the parts are in place; parts are written and the journal is not.
HALFWAY = f"{RENAMES}:signal=SIGSTOP:when=9"
STAGING = "fsync:signal=SIGSTOP:when=4"


def rows(validated: Ended) -> dict[str, int] | None:
    """Rows of every table, histories of runs aside; nothing where the command failed."""
    return None if validated.code else counted(json.loads(validated.out.strip().splitlines()[-1])["rows"])


def counted(tables: dict[str, int]) -> dict[str, int]:
    return {table: count for table, count in tables.items() if table != "timings"}


class Kind:
    """The checks of one kind of mount."""

    def __init__(self, name: str, settings: dict, number: int):
        self.name, self.settings, self.locks = name, settings, KINDS[name].get("locks", "server")
        self.problems: list[str] = []
        self.done: dict[str, object] = {}
        folder = f"kind{number}"
        Path(DISK, folder).mkdir()
        self.stored = Path(DISK, folder, "lake")
        self.lake = f"{MOUNT}/{folder}/lake"
        self.common = ["--lake", self.lake, "--runs", f"{MOUNT}/{folder}/runs", "--json"]
        self.a, self.b = (Client(f"machine-{letter}", 2 * number + i) for i, letter in enumerate("ab"))
        for client in (self.a, self.b):
            self.done["mount"] = client.mount(f"{KINDS[name]['options']},{CACHE}", KINDS[name].get("statd", True))

    # The commands.

    def words(self, verb: str, *more: str) -> list[str]:
        preset = ["--preset", "demo" if verb == "report" else "tiny"]
        return [self.settings["d2r"], verb, *more, *preset, *self.common]

    def ingest(self, dataset: str) -> list[str]:
        return self.words("ingest", dataset, "--root", f"{MOUNT}/phantom/{dataset}")

    def report(self, shard: str) -> list[str]:
        reporter = ["--reporter", self.settings["reporter"], "--set", "generate.beam_size=1", "--shard", shard]
        return self.words("report", "--dataset", "mimic", "--split", "test", *reporter)

    def run(self, client: Client, words: list[str], codes: tuple[int, ...] = (0,), inject: str | None = None) -> Ended:
        """Runs a command to its end."""
        return self.ends(self.start(client, words, inject), codes)

    def start(self, client: Client, words: list[str], inject: str | None = None):
        tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={inject}"] if inject else []
        print(f"{time.monotonic():7.1f} {self.name}: {client.name}: {' '.join(words[1:4])} {inject or ''}", flush=True)
        return words, client.start(*tracer, *words)

    def ends(self, started, codes: tuple[int, ...] = (0,)) -> Ended:
        ended = Ended(*started)
        if ended.code not in codes:
            self.problems.append(str(ended))
            print(f"        WRONG {ended}", flush=True)
        return ended

    def expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems.append(problem)
            print(f"        WRONG {problem}", flush=True)

    # The checks.

    def two_writers(self) -> None:
        """Two datasets at once into a lake that is not there yet."""
        # A file system whose locks hold for one machine gives two writers of one machine what they need.
        other = self.b if self.locks == "server" else self.a
        codes = (0, 75) if self.locks == "none" else (0,)
        started = [self.start(self.a, self.ingest("vindr")), self.start(other, self.ingest("mimic"))]
        ended = [self.ends(one, codes) for one in started]
        self.done["two writers"] = [one.code for one in ended]
        if self.locks == "none":
            self.expect("no locks" in "".join(one.error for one in ended), "nothing says that there are no locks")
            # What ended with 75 is run again, alone.
            for dataset in ("vindr", "mimic"):
                self.run(self.a, self.ingest(dataset))
        validated = self.run(self.b, self.words("validate"))
        if validated.code == 0:
            self.expect(rows(validated) == self.settings["ingested"], f"other rows: {rows(validated)}")

    def shards(self) -> None:
        """Both halves of a report at once, beside a scan; without locks of the server one after the other."""
        python = os.environ["nfs_python"]
        scan = self.b.start(python, str(HERE / "scan.py"), self.lake)
        scan.stdout.readline()
        halves = [(self.a, self.report("0/2")), (self.b, self.report("1/2"))]
        if self.locks == "server":
            for one in [self.start(*half) for half in halves]:
                self.ends(one)
        else:
            for half in halves:
                self.run(*half)
        for pid in processes(str(HERE / "scan.py"), "python"):
            os.kill(pid, signal.SIGTERM)
        ended = Ended(["scan.py"], scan)
        found = json.loads(ended.out.strip().splitlines()[-1]) if ended.code == 0 else {"wrong": [str(ended)]}
        self.done["scans"] = found.get("scans")
        self.expect(not found["wrong"], f"a scan saw {found['wrong'][:3]}")
        self.expect(found.get("scans", 0) > 0, "no table was scanned")

    def killed(self, point: str) -> None:
        """A commit that is killed on one machine is finished by the next command of another, which has the lake in its cache."""
        self.run(self.b, self.words("lake", "remove", "--dataset", "vindr"))
        before = rows(self.run(self.b, self.words("validate")))
        self.run(self.a, self.ingest("vindr"), (-9, 137), KILLS[point])
        self.expect((self.stored / "commit.json").exists(), f"killed at {point}: there is no journal")
        # The commit was decided: it counts, for every machine.
        for client in (self.b, self.a):
            validated = self.run(client, self.words("validate"))
            if validated.code == 0:
                now = rows(validated)
                self.expect(
                    now == self.settings["all"],
                    f"killed at {point}: {client.name} sees {now}, before the commit {before}",
                )
        self.run(self.b, self.ingest("vindr"))
        self.same(f"killed at {point}")

    def beside(self) -> None:
        """Reading commands while a commit of another machine is under way."""
        self.run(self.b, self.words("lake", "remove", "--dataset", "vindr"))
        writer = self.start(self.a, self.ingest("vindr"), HALFWAY)
        stopped = self.stopped(writer, (self.stored / "commit.json").exists)
        # Locks of one machine protect from its own processes.
        validated = self.run(self.a if self.locks == "machine" else self.b, self.words("validate"))
        if validated.code == 0:
            self.expect(rows(validated) == self.settings["all"], f"beside a commit: {rows(validated)}")
        os.kill(stopped, signal.SIGCONT)
        self.ends(writer)
        self.same("beside a reader")

    def other_machine(self) -> None:
        """A machine that does not see the writer's locks clears its temporary files: the writer says so and changes nothing."""
        self.run(self.b, self.words("lake", "remove", "--dataset", "vindr"))
        writer = self.start(self.a, self.ingest("vindr"), STAGING)
        stopped = self.stopped(writer, lambda: len(list((self.stored / "tmp").iterdir())) >= 3)
        self.run(self.b, self.words("validate"))
        os.kill(stopped, signal.SIGCONT)
        ended = self.ends(writer, (75,))
        self.expect("nolock" in ended.error, f"the message does not name the cause: {ended}")
        self.done["other machine"] = ended.code
        self.run(self.a, self.ingest("vindr"))
        self.same("cleared by another machine")

    def stopped(self, writer, under_way) -> int:
        """The process of a writer, once it is stopped where it should be."""
        end, before = time.monotonic() + LIMIT_S, None
        while writer[1].poll() is None and time.monotonic() < end:
            time.sleep(0.5)
            found = processes(self.settings["d2r"], "d2r")
            if found and under_way():
                # The tracer stops it at every call, too: one that is stopped for good takes no time.
                state, spent = stat(found[0])
                if state in "tT" and before == spent:
                    return found[0]
                before = spent
        raise SystemExit(f"the writer was not stopped: {Ended(*writer)}")

    def seen_at_once(self) -> None:
        """What one machine has asked for in vain is found once another has written it."""
        for client, lake in ((self.a, f"{self.lake}-2"), (self.b, f"{self.lake}-3")):
            other = self.b if client is self.a else self.a
            place = ["--lake", lake, "--runs", f"{lake}-runs", "--json", "--preset", "tiny"]
            d2r = self.settings["d2r"]
            prepare = [d2r, "prepare", "--dataset", "mimic", "--split", "test", *place]
            self.run(client, [d2r, "ingest", "vindr", "--root", f"{MOUNT}/phantom/vindr", *place])
            self.run(other, prepare, (66,))
            self.run(client, [d2r, "ingest", "mimic", "--root", f"{MOUNT}/phantom/mimic", *place])
            self.run(other, prepare)

    def same(self, after: str) -> None:
        """The content digests are those of a local file system, and nothing is left over."""
        expected = self.settings["digests"]
        found = digests(self.stored)
        differing = sorted(k for k in expected | found if expected.get(k) != found.get(k))
        self.expect(not differing, f"{after}: other content in {differing[:5]} and {max(0, len(differing) - 5)} more")
        left = [p.name for p in (self.stored / "tmp").iterdir() if self.locks != "none"]
        self.expect(not left, f"{after}: left in the temporary folder: {left[:5]}")
        registered = json.loads((self.stored / "datasets.json").read_text())
        self.expect(set(registered) == {"vindr", "mimic"}, f"{after}: registered datasets are {sorted(registered)}")

    def all(self) -> dict:
        start = time.monotonic()
        self.two_writers()
        self.shards()
        self.same("two writers")
        if self.locks == "server":
            self.seen_at_once()
        self.beside()
        points = list(KILLS) if self.locks == "server" else ["parts"]
        for point in points:
            self.killed(point)
        self.done["killed at"] = points
        if self.locks == "machine":
            self.other_machine()
        for client in (self.a, self.b):
            client.close()
        return {**self.done, "seconds": round(time.monotonic() - start), "problems": self.problems}


def processes(word: str, name: str) -> list[int]:
    """Processes whose name begins so, with this word in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if word in words and (folder / "comm").read_text().startswith(name):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def stat(pid: int) -> tuple[str, int]:
    """A process's state and the time that it has spent."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def digests(lake: Path) -> dict[str, str]:
    """Of every table's rows, histories of runs aside."""
    found = {}
    for path in sorted((lake / "manifests").rglob("*.json")):
        part = json.loads(path.read_text())["part"]
        if part["table"] != "timings":
            found["/".join(str(part[k]) for k in ("table", "dataset", "split", "producer"))] = part["content_sha256"]
    return found


def main() -> None:
    work = Path(sys.argv[1])
    settings = json.loads((work / "settings.json").read_text())
    os.environ.update(settings["environment"])
    shutil.copytree(work / "phantom", Path(DISK, "phantom"))
    result = {}
    for number, name in enumerate(settings["kinds"] or KINDS):
        result[name] = Kind(name, settings, number).all()
        (work / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    (work / "finished").touch()


if __name__ == "__main__":
    main()
