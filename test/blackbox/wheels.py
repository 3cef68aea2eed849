"""Wheels made on the spot, and an index to get them from: what pip needs where there is no network."""
import base64
import functools
import http.server
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path


def make_wheel(folder, name, version, source=None, requires=()):
    """A wheel of one module with a VERSION, or with that source; its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n" if source is None else source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {line}\n" for line in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path


class IndexHandler(http.server.SimpleHTTPRequestHandler):
    """/simple/NAME/ lists the wheels of that name; their links lead to files. Who has no credentials gets nothing."""

    def do_GET(self):
        if self.headers.get("Authorization") != self.server.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="wheels"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/simple/"):
            name = self.path.split("/")[2]
            self.server.asked.append(name)
            links = [f'<a href="/{path.name}">{path.name}</a>' for path in Path(self.directory).glob(f"{name}-*.whl")]
            body = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
            self.send_response(200 if links else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def log_message(self, *unused):
        pass


@contextmanager
def index_of(folder, user, password):
    """A package index that serves the wheels of a folder to one user; .server_port, .asked: names in the order of asking."""
    handler = functools.partial(IndexHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
