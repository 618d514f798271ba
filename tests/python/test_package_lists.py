"""Lists of packages in built programs and the wheel's bill of materials (scripts/package_lists.py)."""

import contextlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LISTED = [{"name": "itoa", "version": "1.0.15", "source": "registry"}, {"name": "d2r", "version": "0.2.0", "root": True}]
SECTION = zlib.compress(json.dumps({"packages": LISTED}).encode())
METADATA = """Metadata-Version: 2.5
Name: d2r-airflow
Version: 0.2.0
License-Expression: Apache-2.0
Requires-Dist: apache-airflow<4,>=3.3
Requires-Dist: other; extra == 'docker'
"""


def script():
    spec = importlib.util.spec_from_file_location("package_lists", ROOT / "scripts" / "package_lists.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LISTS = script()


def wasm(*sections: tuple[str, bytes]) -> bytes:
    """A module of custom sections, each shorter than 128 bytes or than 16384."""
    def number(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])

    bodies = [number(len(name)) + name.encode() + data for name, data in sections]
    return b"\0asm\1\0\0\0" + b"".join(b"\0" + number(len(body)) + body for body in bodies)


class PackageLists(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def run_main(self, *arguments: object) -> tuple[int, str, str]:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = LISTS.main([str(a) for a in arguments])
        return code, out.getvalue(), err.getvalue()

    @unittest.skipUnless(shutil.which("objcopy") and sys.platform == "linux", "needs objcopy")
    def test_the_list_of_an_elf_program_is_read(self):
        section, program = self.file("section", SECTION), self.folder / "program"
        subprocess.run(["objcopy", "--add-section", f".dep-v0={section}", sys.executable, program], check=True)
        self.assertEqual(LISTS.packages(program), LISTED)
        self.assertEqual(self.run_main("binary", program), (0, "2 packages are listed in program\n", ""))

    def test_the_list_of_a_module_is_read_behind_longer_sections(self):
        module = self.file("m.wasm", wasm(("other", b"x" * 300), (".dep-v0", SECTION), ("last", b"")))
        self.assertEqual(LISTS.packages(module), LISTED)

    def test_a_file_without_a_list_or_with_a_damaged_one_is_an_error(self):
        for data in (wasm(("other", b"")), wasm((".dep-v0", SECTION[:-9])), wasm((".dep-v0", SECTION))[:-5], b"text", b"", b"\x7fELF"):
            code, out, err = self.run_main("binary", self.file("f", data))
            self.assertEqual((code, out, err.count("\n")), (1, "", 1), data)
        self.assertEqual(self.run_main("binary", self.folder / "absent")[0], 1)

    def test_a_bill_lists_what_the_wheel_imports(self):
        wheel = self.folder / "d2r_airflow-0.2.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("d2r_airflow-0.2.0.dist-info/METADATA", METADATA)
        code, text, _ = self.run_main("wheel", wheel, ROOT / "requirements" / "airflow-locked.txt")
        self.assertEqual(code, 0)
        bill = json.loads(text)
        names = {c["name"]: c for c in bill["components"]}
        self.assertGreater(len(names), 50)
        self.assertEqual(names["apache-airflow"]["purl"], f"pkg:pypi/apache-airflow@{names['apache-airflow']['version']}")
        for component in bill["components"]:
            digests = [h["content"] for r in component["externalReferences"] for h in r["hashes"]]
            self.assertTrue(digests and all(len(d) == 64 for d in digests), component["name"])
        self.assertEqual(bill["dependencies"][0]["dependsOn"], [names["apache-airflow"]["bom-ref"]])
        self.assertEqual(self.run_main("wheel", wheel, ROOT / "requirements" / "airflow-locked.txt")[1], text)
        code, _, err = self.run_main("wheel", wheel, ROOT / "requirements" / "uv-locked.txt")
        self.assertTrue(code == 1 and "lacks apache-airflow" in err, err)


if __name__ == "__main__":
    unittest.main()
