#!/usr/bin/env python3
"""Serves the built viewer on this machine, with the headers that a production server should send.

`serve.py FOLDER [PORT]`. The content security policy allows the page's own origin only. Where `FILE.br` exists, it is sent with
Content-Encoding br. A request whose Host header names another machine or port is refused with 421: a foreign page whose name was
pointed at this machine (DNS rebinding) reads nothing.
"""

import functools
import http.server
import pathlib
import sys

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


# Names of this machine's loopback, as a browser writes them.
HOSTS = ("localhost", "127.0.0.1", "[::1]")


def is_own_host(host, port):
    """Whether a Host header names this machine's loopback and the served port; 80 may be left out."""
    allowed = {f"{name}:{port}" for name in HOSTS}
    if port == 80:
        allowed.update(HOSTS)
    return host is not None and host.strip().lower() in allowed


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of one folder."""

    protocol_version = "HTTP/1.1"
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
        ".arrow": "application/vnd.apache.arrow.file",
        ".svg": "image/svg+xml",
    }

    def parse_request(self):
        """Refuses requests for other hosts, whatever their method."""
        self.encoding = None
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host", [])
        if len(hosts) == 1 and is_own_host(hosts[0], self.server.server_address[1]):
            return True
        self.send_error(421, "Misdirected Request", "this server answers for localhost and its port only")
        return False

    def send_head(self):
        """Sends the compressed copy where there is one and the browser accepts it."""
        path = pathlib.Path(self.translate_path(self.path))
        packed = path.with_name(path.name + ".br")
        if packed.is_file() and "br" in self.headers.get("Accept-Encoding", ""):
            self.encoding = "br"
            self.path = self.path.split("?")[0] + ".br"
        return super().send_head()

    def guess_type(self, path):
        """The type of the uncompressed file."""
        return super().guess_type(path.removesuffix(".br"))

    def end_headers(self):
        """Adds the headers to every response."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if getattr(self, "encoding", None):
            self.send_header("Content-Encoding", self.encoding)
        super().end_headers()

    def log_message(self, *_):
        """Writes no log."""


class Server(http.server.ThreadingHTTPServer):
    """One thread per connection."""

    def handle_error(self, request, client_address):
        """Ignores connections that the browser closes."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    """Serves until interrupted."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    if not (folder / "index.html").is_file():
        sys.exit(f"serve: {folder} has no index.html; build the page with: make viewer")
    port = int(sys.argv[2]) if len(sys.argv) == 3 else 8000
    handler = functools.partial(Handler, directory=str(folder))
    with Server(("127.0.0.1", port), handler) as server:
        print(f"serve: http://127.0.0.1:{server.server_address[1]}/   (this machine only; Ctrl-C stops it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
