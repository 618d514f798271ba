"""Runs the queries of a Markdown page, in order and in one interpreter, inside a folder that holds `demo/lake`.

Usage: doc_queries.py PAGE FOLDER [--write]. Blocks marked `python` are run, blocks marked `sql` are given to DuckDB.
`--write` replaces the `text` block that follows a query by what the query prints. Exits 1 when a query fails.
"""

import contextlib
import io
import os
import re
import sys
import traceback
from pathlib import Path

import duckdb

QUERY = re.compile(r"^```(python|sql)\n(.*?)^```\n(\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def printed(language: str, code: str, names: dict) -> str:
    """What a query prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if language == "sql":
            duckdb.sql(code).show(max_width=110)
        else:
            exec(compile(code, "query", "exec"), names)  # noqa: S102
    return out.getvalue()


def main() -> int:
    page, folder = Path(sys.argv[1]).resolve(), sys.argv[2]
    text = page.read_text(encoding="utf-8")
    os.chdir(folder)
    names: dict = {"__name__": "query"}
    failed = 0

    def run(match: re.Match) -> str:
        nonlocal failed
        language, code, shown = match.group(1), match.group(2), match.group(3)
        line = text.count("\n", 0, match.start()) + 1
        try:
            output = printed(language, code, names)
        except Exception:
            failed += 1
            print(f"{page.name}:{line}: {traceback.format_exc(limit=1)}")
            return match.group(0)
        print(f"{page.name}:{line}: {language}, {len(output.splitlines())} lines")
        if not shown:
            return match.group(0)
        block = "\n".join(row.rstrip() for row in output.rstrip("\n").splitlines())
        return f"```{language}\n{code}```\n\n```text\n{block}\n```\n"

    written = QUERY.sub(run, text)
    if "--write" in sys.argv and not failed:
        page.write_text(written, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
