"""Scans a lake's folders until SIGTERM, as an analyst's query does; prints the number of scans and what was wrong, as JSON."""

import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "kill"))

from storm import Scanner  # noqa: E402 - of the folder beside this one


def main() -> None:
    scanner = Scanner(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: scanner.stopped.set())
    print("ready", flush=True)
    # In this thread: the handler of the signal runs in it.
    scanner.run()
    print(json.dumps({"scans": scanner.scans, "wrong": scanner.wrong}))


if __name__ == "__main__":
    main()
