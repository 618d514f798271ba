"""The image of `make image` under a real daemon, hardened as an administrator would: no root, no capabilities, nothing in the
image writable, no network.

    python -m unittest -v test_image        (from this folder; DOCKER_HOST=... uses a daemon that is there)
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from daemon import Daemon

ROOT = Path(__file__).resolve().parents[2]
BASE, IMAGE = "d2r-base:test", "d2r:test"
HARDENED = ["--rm", "--read-only", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"]


def suite() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"].strip('"')


def sources() -> list[str]:
    """apt's sources of this machine, which mmdebstrap takes as they are."""
    folder = Path("/etc/apt")
    return [str(p) for p in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.sources"))] if p.is_file() and p.stat().st_size]


@unittest.skipIf(Daemon.missing(), Daemon.missing())
@unittest.skipIf(shutil.which("mmdebstrap") is None, "needs mmdebstrap (apt-get install mmdebstrap)")
class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="d2r-image-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.daemon = cls.enterClassContext(Daemon(cls.folder / "daemon"))
        base = cls.folder / "base.tar"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=essential", "--include=libstdc++6", suite(), base, *sources()], check=True)
        cls.daemon.docker("import", str(base), BASE)
        environment = {**os.environ, "CONTAINER_TOOL": shutil.which("docker"), "DOCKER_HOST": cls.daemon.address}
        subprocess.run([ROOT / "scripts/image.sh", IMAGE, BASE], check=True, env=environment)
        cls.work = cls.folder / "work"
        cls.work.mkdir()
        cls.work.chmod(0o777)

    def run_in_image(self, *arguments: str, before: tuple[str, ...] = (), code: int = 0) -> subprocess.CompletedProcess:
        mounts = ["-v", f"{self.work}:/work", "-v", f"{ROOT}/batch/models:/models:ro"]
        command = ["docker", "-H", self.daemon.address, "run", *HARDENED, *mounts, *before, IMAGE, *arguments]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def test_reports_of_a_shipped_model(self):
        self.run_in_image("phantom", "--images", "4", "--seed", "9", "--out", "phantom")
        images = "phantom/mimic/files"
        self.run_in_image("report", "--preset", "demo", "--images", images, "--reporter", "/models/reporter", "--out", "reports")
        self.assertIn("<svg", (self.work / "reports/report.html").read_text())
        owners = {path.stat().st_uid for made in ("phantom", "reports") for path in (self.work / made).rglob("*")}
        self.assertEqual(owners, {65534}, "no file of root")

    def test_nothing_in_the_image_is_writable(self):
        result = self.run_in_image("phantom", "--images", "2", "--out", "/opt/d2r/phantom", code=78)
        self.assertIn("/opt/d2r/phantom", result.stderr)

    def test_another_user(self):
        self.run_in_image("phantom", "--images", "2", "--seed", "3", "--out", "other", before=("--user", "12345:12345"))
        self.assertEqual((self.work / "other").stat().st_uid, 12345)

    def test_a_shell_finds_the_command(self):
        result = self.run_in_image("-c", "d2r --version --verbose && id -u", before=("--entrypoint", "/bin/sh"))
        self.assertIn("libtorch", result.stdout)
        self.assertEqual(result.stdout.splitlines()[-1], "65534")

    def test_labels_and_bill_of_materials(self):
        config = json.loads(self.daemon.docker("image", "inspect", IMAGE))[0]["Config"]
        labels = config["Labels"]
        self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")
        self.assertIn("not a medical device", labels["org.opencontainers.image.description"])
        self.assertRegex(labels["org.opencontainers.image.revision"], "^[0-9a-f]{40}$")
        self.assertEqual(config["User"], "65534:65534")
        listed = self.run_in_image("/opt/d2r/share/doc/d2r/d2r-batch.cdx.json", before=("--entrypoint", "/bin/cat")).stdout
        self.assertIn("tch", {component["name"] for component in json.loads(listed)["components"]})


if __name__ == "__main__":
    unittest.main()
