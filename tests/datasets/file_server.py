"""A local HTTP server with failures, and the registry of its files.

The path selects the behaviour: ``/truncate/...`` closes the connection early,
``/corrupt/...`` sends other bytes, ``/status/404/...`` fails, ``/stall/...`` stops
half-way, ``/once/...`` fails the first time, all others serve the file.
"""

import hashlib
import http.server
import threading
from contextlib import contextmanager


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        how, _, name = self.path.lstrip("/").partition("/")
        if how == "status" or (how == "once" and len(self.server.requests) == 1):
            self.send_error(int(name.partition("/")[0]) if how == "status" else 503)
            return
        body = self.server.files[name]
        if how == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = how in ("truncate", "stall")
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()
        if how == "stall":
            self.server.stalled.set()
            self.server.released.wait(60)

    def log_message(self, *args):
        pass


class FileServer(http.server.ThreadingHTTPServer):
    """Serve `files` (name -> bytes) and record the paths of requests."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = files, []
        self.stalled, self.released = threading.Event(), threading.Event()

    def registry(self, how="file", port=None, **more):
        """Return the registry of all files, served in the way `how`."""
        base = f"http://127.0.0.1:{port or self.server_port}/{how}"
        return {
            name: {
                "sha256": hashlib.sha256(body).hexdigest(),
                "url": f"{base}/{name}",
                **more,
            }
            for name, body in self.files.items()
        }


@contextmanager
def serve(files):
    """Run a `FileServer` in a thread."""
    server = FileServer(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
