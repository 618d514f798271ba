"""The pages under docs/: the book holds each, links lead somewhere, commands and queries in them work."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
OUTSIDE = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "dags/README.md")]
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYWHERE = {"--json", "--quiet", "-q", "--help", "-h"}


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The ids of a page's headings, as GitHub and mdbook make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


class Verbs:
    """Verbs and their flags, as docs/cli.md lists them."""

    def __init__(self, reference: str):
        self.flags: dict[str, set[str]] = {}
        parts = re.split(r"^(##+) (.*)$", reference, flags=re.MULTILINE)
        for title, text in zip(parts[2::3], parts[3::3], strict=True):
            if title.startswith("d2r "):
                verb = title.removeprefix("d2r ")
                own = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
                shared = re.search(r"^Shared: (.*)$", text, re.MULTILINE)
                own |= set(re.findall(r"`(--[a-z-]+)`", shared.group(1))) if shared else set()
                self.flags[verb] = own | self.flags.get(verb.rsplit(" ", 1)[0], set())
        self.presets = set(re.findall(r"`--preset NAME` \| A built-in configuration: (.*?)\. \|", reference)[0].split(", "))

    def problem(self, words: list[str]) -> str | None:
        """What is wrong with the words of a command after `d2r`; `submit` is given a second command after `--`."""
        if "--" in words:
            at = words.index("--")
            return self.problem(words[:at]) or self.problem(words[at + 1 :])
        if "--version" in words:
            return None
        verb, rest = words[0] if words else "", words[1:]
        if verb not in self.flags:
            return f"no verb `{verb}`"
        below = {name.split(" ", 1)[1] for name in self.flags if name.startswith(verb + " ")}
        if below:
            if not rest or rest[0] not in below:
                return f"`{verb}` needs one of {sorted(below)}"
            verb, rest = f"{verb} {rest[0]}", rest[1:]
        for i, word in enumerate(rest):
            flag = word.split("=", 1)[0]
            if flag.startswith("-") and flag not in self.flags[verb] | ANYWHERE:
                return f"`{verb}` has no flag {flag}"
            if flag == "--preset" and rest[i + 1] not in self.presets:
                return f"no preset `{rest[i + 1]}`"
        return None


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """The `d2r` commands in a page's shell blocks: line and words after `d2r`."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in FENCE.finditer(text):
        if block.group(1) != "sh":
            continue
        line = text.count("\n", 0, block.start(2)) + 1
        for row in re.sub(r"\\\n", "  ", block.group(2)).splitlines():
            # A command of the block stands in one row; a string that spans rows belongs to none.
            try:
                words = shlex.split(row.replace("$(make -s d2r-path)", "d2r"), comments=True)
            except ValueError:
                continue
            for i, word in enumerate(words):
                if word in ("d2r", "$D2R") and (i == 0 or words[i - 1] in ("&&", ";", "|")):
                    end = next((j for j in range(i, len(words)) if words[j] in ("&&", ";", "|", ">")), len(words))
                    found.append((line, [w.rstrip(";") for w in words[i + 1 : end]]))
    return found


class Book(unittest.TestCase):
    def test_the_summary_lists_every_page_once(self):
        listed = LINK.findall((DOCS / "SUMMARY.md").read_text(encoding="utf-8"))
        there = sorted(str(page.relative_to(DOCS)) for page in pages() if page.name != "SUMMARY.md")
        self.assertEqual(sorted(listed), there)

    def test_relative_links_lead_to_a_file_and_a_heading(self):
        wrong = []
        for page in [*pages(), *OUTSIDE]:
            for link in LINK.findall(prose(page)):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, heading = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                if not target.exists():
                    wrong.append(f"{page.relative_to(ROOT)}: {link}: no such file")
                elif heading and heading not in anchors(target):
                    wrong.append(f"{page.relative_to(ROOT)}: {link}: no such heading")
                elif page.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
                    wrong.append(f"{page.relative_to(ROOT)}: {link}: leaves docs/, so the book cannot follow it")
        self.assertEqual(wrong, [])

    def test_pictures_of_tutorials_are_small(self):
        for picture in (DOCS / "images").glob("tutorial-*.png"):
            with self.subTest(picture.name):
                self.assertLess(picture.stat().st_size, 150_000)


class Commands(unittest.TestCase):
    def setUp(self):
        self.verbs = Verbs((DOCS / "cli.md").read_text(encoding="utf-8"))

    def test_commands_of_pages_name_verbs_and_flags_that_exist(self):
        wrong, seen = [], 0
        for page in [*pages(), ROOT / "README.md"]:
            for line, words in commands(page):
                seen += 1
                problem = self.verbs.problem(words)
                if problem:
                    wrong.append(f"{page.relative_to(ROOT)}:{line}: {problem}")
        self.assertEqual(wrong, [])
        self.assertGreater(seen, 40)

    def test_make_targets_of_tutorials_exist(self):
        targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        for page in TUTORIALS:
            named = set(re.findall(r"(?<![\w-])make (?:-s )?([a-z][\w-]+)", "\n".join(self.code(page))))
            with self.subTest(page.name):
                self.assertLessEqual(named, targets)

    @staticmethod
    def code(page: Path) -> list[str]:
        text = page.read_text(encoding="utf-8")
        blocks = [block.group(2) for block in FENCE.finditer(text) if block.group(1) == "sh"]
        return blocks + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))

    def test_unknown_verbs_flags_and_presets_are_found(self):
        for command, expected in {
            "reports --images x": "no verb `reports`",
            "ingest chexpert --root x": "`ingest` needs one of",
            "audit --device cpu": "`audit` has no flag --device",
            "train-detector --preset huge": "no preset `huge`",
            "ingest vindr --root x --shard 0/2 --json": "None",
            "submit slurm --shards 2 -- annotate --device cpu": "None",
            "submit slurm --shards 2 -- annotate --images x": "`annotate` has no flag --images",
        }.items():
            with self.subTest(command):
                self.assertIn(expected, str(self.verbs.problem(command.split())))


class Queries(unittest.TestCase):
    def test_queries_of_pages_run_on_a_lake(self):
        with tempfile.TemporaryDirectory() as folder:
            pipeline = [os.environ["D2R"], "pipeline", "--preset", "tiny", "--out", "demo", "--quiet"]
            subprocess.run(pipeline, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            for page in (ROOT / "README.md", DOCS / "tutorials/analyst.md"):
                with self.subTest(page.name):
                    run = [sys.executable, HERE / "doc_queries.py", page, folder]
                    done = subprocess.run(run, capture_output=True, text=True, check=False)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
