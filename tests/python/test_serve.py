"""The server of the built page: hosts that it answers for, and its headers beside those that docs/viewer.md gives to others."""

import contextlib
import functools
import http.client
import importlib.util
import re
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOC = (ROOT / "docs" / "viewer.md").read_text(encoding="utf-8")


def script():
    """scripts/serve.py as a module."""
    spec = importlib.util.spec_from_file_location("serve", ROOT / "scripts" / "serve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SERVE = script()


@contextlib.contextmanager
def served():
    """A server of a folder with one page and its compressed copy; gives its port."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "index.html").write_text("<title>page</title>")
        (Path(folder) / "index.html.br").write_bytes(b"packed")
        with SERVE.Server(("127.0.0.1", 0), functools.partial(SERVE.Handler, directory=folder)) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()


def answer(port: int, hosts: list[str], method: str = "GET", path: str = "/index.html", headers: dict[str, str] | None = None):
    """Status, headers and body of a request with these Host headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for host in hosts:
            connection.putheader("Host", host)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def fenced(kind: str) -> str:
    """The one code block of docs/viewer.md of that kind."""
    found = re.findall(rf"^```{kind}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{len(found)} blocks of {kind}"
    return found[0]


def nginx_headers(text: str) -> dict[str, str]:
    """The headers of the `add_header` lines, all of which hold for error pages too."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("add_header")]
    parsed = [re.fullmatch(r'add_header ([\w-]+) "([^"]*)" always;', line) for line in lines]
    assert all(parsed), lines
    return {match[1]: match[2] for match in parsed}


def listed_headers(text: str) -> dict[str, str]:
    """The headers of `NAME: VALUE` lines."""
    return dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line)


class Hosts(unittest.TestCase):
    def test_it_answers_for_this_machine_only(self):
        with served() as port:
            for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"):
                with self.subTest(host):
                    status, _, body = answer(port, [host])
                    self.assertEqual((status, body), (200, b"<title>page</title>"))
            foreign = ["rebound.example", f"rebound.example:{port}", f"127.0.0.1.rebound.example:{port}", "localhost", f"localhost:{port + 1}", ""]
            for hosts in [[], *[[host] for host in foreign], [f"localhost:{port}", "rebound.example"]]:
                for method in ("GET", "HEAD", "POST"):
                    with self.subTest(hosts=hosts, method=method):
                        status, headers, body = answer(port, hosts, method)
                        self.assertEqual(status, 421)
                        self.assertNotIn(b"<title>page", body)
                        self.assertEqual(headers["Content-Security-Policy"], SERVE.POLICY)

    def test_port_80_may_be_left_out(self):
        self.assertTrue(SERVE.is_own_host("localhost", 80) and SERVE.is_own_host("[::1]:80", 80))
        self.assertFalse(SERVE.is_own_host("localhost", 8000))

    def test_a_refusal_after_a_compressed_file_says_no_encoding(self):
        with served() as port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/index.html", headers={"Host": f"localhost:{port}", "Accept-Encoding": "br"})
            first = connection.getresponse()
            self.assertEqual((first.headers["Content-Encoding"], first.read()), ("br", b"packed"))
            connection.request("GET", "/index.html", headers={"Host": "rebound.example"})
            second = connection.getresponse()
            self.assertEqual((second.status, second.headers["Content-Encoding"]), (421, None))
            second.read()
            connection.close()


class Headers(unittest.TestCase):
    def test_every_answer_has_them(self):
        with served() as port:
            for path, status in (("/index.html", 200), ("/missing", 404)):
                found = answer(port, [f"localhost:{port}"], path=path)
                self.assertEqual(found[0], status)
                self.assertEqual({name: found[1].get(name) for name in SERVE.HEADERS}, SERVE.HEADERS)

    def test_the_documented_nginx_configuration_sends_the_same(self):
        self.assertEqual(nginx_headers(fenced("nginx")), SERVE.HEADERS)

    def test_add_header_is_in_the_server_alone(self):
        # A location with an `add_header` of its own has none of the server's.
        for block in re.findall(r"location[^{]*\{([^}]*)\}", fenced("nginx")):
            self.assertNotIn("add_header", block)

    def test_the_documented_headers_file_sends_the_same(self):
        self.assertEqual(listed_headers(fenced("text")), SERVE.HEADERS)

    def test_the_page_s_own_policy_is_the_header_s(self):
        page = (ROOT / "wasm-viewer" / "www" / "index.html").read_text(encoding="utf-8")
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
        # A page cannot say who may frame it.
        self.assertEqual(f"{policy}; frame-ancestors 'none'", SERVE.POLICY)


if __name__ == "__main__":
    unittest.main()
