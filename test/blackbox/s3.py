"""A real S3 server (versitygw), and a proxy in front of it, or of a web server, that does what networks and broken servers do."""
import http.server
import os
import socket
import socketserver
import subprocess
import threading
from pathlib import Path

import boto3
import botocore.config
from cortexd import ROOT, reserved_port, wait_until

BINARY = ROOT / "build" / "s3-server" / "versitygw"
ACCESS_KEY, SECRET_KEY = "test-key", "test-secret-0123456789"


class S3:
    def __init__(self, folder):
        self.folder = folder
        self.reserved = reserved_port()
        self.port = self.reserved.__enter__()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        assert BINARY.exists(), "make s3-server builds the S3 server of these tests"
        (folder / "data").mkdir(parents=True)
        self.start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10}),
        )

    def start(self):
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "--port", f"127.0.0.1:{self.port}", "--region", "us-east-1", "--virtual-domain", f"localhost:{self.port}", "--quiet", "posix", self.folder / "data"],
                env={**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, "the S3 server answers")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log.txt").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.reserved.__exit__(None, None, None)

    def bucket(self, name):
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket, key, body):
        return self.client.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]


def environment(url, home, access_key=ACCESS_KEY, secret_key=SECRET_KEY, **more):
    """Variables for who asks that server; whatever this machine has of AWS is out of sight."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    found.update(HOME=str(home), AWS_EC2_METADATA_DISABLED="true", AWS_REGION="us-east-1")
    found.update(more)
    if url:
        found["AWS_ENDPOINT_URL"] = url
    if access_key:
        found.update(AWS_ACCESS_KEY_ID=access_key, AWS_SECRET_ACCESS_KEY=secret_key)
    return found


class Fault:
    """What happens to one answer. The default: nothing.

    after: bytes of the body that pass before something happens; then: "close", "reset", "stall", "corrupt" (one byte) or "end" (an
    orderly end, too early). length: what is said instead of the real Content-Length. status: an answer of its own.
    """

    def __init__(self, after=None, then=None, length=None, status=None, body=b"", fields=""):
        self.after, self.then, self.length = after, then, length
        self.status, self.body, self.fields = status, body, fields


class Proxy:
    """Passes requests on to a server, one connection each. choose(number, method, target, head) gives the Fault of an answer, or None."""

    def __init__(self, port, choose=None):
        self.target = ("127.0.0.1", port)
        self.choose = choose or (lambda *_: None)
        self.requests = []  # (method, target, head)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.closing.set()
        self.listener.close()

    def count(self, method=None, part=""):
        with self.lock:
            return sum((method is None or m == method) and part in t for m, t, _ in self.requests)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    @staticmethod
    def read_head(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None, b""
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def serve(self, client):
        with client:
            try:
                while self.serve_one(client):
                    pass
            except OSError:
                pass

    def serve_one(self, client):
        """True: the connection goes on."""
        head, _ = self.read_head(client)  # none of our requests has a body
        if head is None:
            return False
        method, target = head.split(b" ", 2)[:2]
        with self.lock:
            self.requests.append((method.decode(), target.decode(), head.decode()))
            number = len(self.requests)
        fault = self.choose(number, method.decode(), target.decode(), head.decode()) or Fault()
        if fault.status:
            client.sendall(
                b"HTTP/1.1 %d Fault\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s"
                % (fault.status, len(fault.body), fault.fields.encode(), fault.body)
            )
            return False
        with socket.create_connection(self.target) as server:
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            server.sendall(b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n")
            answer, rest = self.read_head(server)
            if answer is None:
                return False
            return self.pass_on(client, server, answer, rest, fault, method == b"HEAD")

    def pass_on(self, client, server, answer, rest, fault, is_head):
        lines = [line for line in answer.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        lengths = [line for line in lines if line.lower().startswith(b"content-length:")]
        left = int(lengths[0].split(b":")[1]) if lengths else None
        if fault.length is not None and lengths:
            lines[lines.index(lengths[0])] = b"Content-Length: %d" % fault.length
        stays = lengths and fault.then is None and fault.length is None
        client.sendall(b"\r\n".join(lines) + (b"" if stays else b"\r\nConnection: close") + b"\r\n\r\n")
        if is_head or left == 0:
            return bool(stays)
        passed = 0
        while left is None or passed < left:
            data = rest or server.recv(65536)
            rest = b""
            if not data:
                break
            if fault.then and passed + len(data) > fault.after:
                data, tail = data[: fault.after - passed], data[fault.after - passed :]
                client.sendall(data)
                if fault.then == "corrupt":
                    tail = bytes([tail[0] ^ 1]) + tail[1:]
                    client.sendall(tail)
                    passed += len(data) + len(tail)
                    fault = Fault()
                    continue
                if fault.then == "stall":
                    self.closing.wait(60)
                if fault.then == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return False
            client.sendall(data)
            passed += len(data)
        return bool(stays)


class WebServer:
    """A folder behind Python's own http.server: no ranges, no ETags, but Last-Modified."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(inner, *args):
                super().__init__(*args, directory=str(self.folder))

            def log_message(inner, *args):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


class Scripted:
    """A web server that does as it is told: answer(handler) for each request, a BaseHTTPRequestHandler."""

    def __init__(self, answer):
        self.requests = []  # (method, headers)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(inner):
                self.requests.append((inner.command, dict(inner.headers)))
                inner.close_connection = True
                try:
                    answer(inner)
                except OSError:
                    pass  # the client has had enough

            do_GET = do_HEAD = do_PUT = do

            def log_message(inner, *args):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def count(self, method):
        return sum(m == method for m, _ in self.requests)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


def send(handler, status, body=b"", **fields):
    """An answer; Content-Length is that of the body unless said (None: none)."""
    handler.send_response(status)
    fields.setdefault("Content_Length", len(body))
    for name, value in fields.items():
        if value is not None:
            handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
