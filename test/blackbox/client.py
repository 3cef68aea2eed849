"""Clients: a raw socket that sends exactly what it is told, and curl."""
import json
import re
import socket
import subprocess

PATIENCE = 90


class Answer:
    def __init__(self, version, status, reason, headers, body):
        self.version = version
        self.status = status
        self.reason = reason
        self.headers = headers  # list of (name, value), names in lower case
        self.body = body

    def header(self, name):
        """The value of a field that appears once; None when it does not."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} appears {len(values)} times"
        return values[0] if values else None

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        assert self.header("content-type") == "application/json", f"not JSON: {self!r}"
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/(\d\.\d) (\d{3}) ?(.*)", lines[0])
    assert match, f"not a status line: {lines[0]!r}"
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        assert colon and name == name.strip(), f"not a header field: {line!r}"
        headers.append((name.lower(), value.strip()))
    return match[1], int(match[2]), match[3], headers


class Connection:
    """A TCP connection (or one to a unix socket) that writes bytes and reads answers, with a buffer for pipelining."""

    def __init__(self, port=None, path=None, host="127.0.0.1", receive_buffer=None):
        self.socket = socket.socket(
            socket.AF_UNIX if path else socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM
        )
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(path or (host, port))
        if not path:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def send_what_is_taken(self, data):
        """Send although the other side may have had enough; True when it took everything."""
        try:
            self.send(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def more(self):
        data = self.socket.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def read_until(self, mark):
        while mark not in self.buffer:
            assert self.more(), f"closed before {mark!r}: {self.buffer[:500]!r}"
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def read_exactly(self, count):
        chunks = bytearray(self.buffer)
        while len(chunks) < count:
            data = self.socket.recv(1 << 18)
            assert data, f"closed after {len(chunks)} of {count} bytes"
            chunks += data
        self.buffer = bytes(chunks[count:])
        return bytes(chunks[:count])

    def answer(self, head=False):
        """Read one answer; head: it has no body, whatever its Content-Length says."""
        version, status, reason, headers = parse_head(self.read_until(b"\r\n\r\n"))
        answer = Answer(version, status, reason, headers, b"")
        length = answer.header("content-length")
        if status < 200 or status == 204:
            assert length is None
        elif not head:
            assert length is not None, f"no length: {answer!r}"
            answer.body = self.read_exactly(int(length))
        return answer

    def final_answer(self):
        """The next answer that is none of the interim ones (RFC 9110 15.2), which any request may get."""
        while True:
            answer = self.answer()
            if answer.status >= 200:
                return answer

    def closed(self):
        """True when the other side ends the connection without a byte more; waits for it."""
        try:
            return not self.buffer and not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def request(self, method, path, body=None, headers=(), version="1.1"):
        if isinstance(headers, dict):
            headers = headers.items()
        fields = [("Host", "localhost"), *headers]
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n"
        self.send(head.encode() + (body or b""))
        return self.answer(head=method == "HEAD")

    def post(self, path, sample, headers=(), content_type="application/json"):
        body = sample if isinstance(sample, bytes) else json.dumps(sample).encode()
        fields = list(headers.items() if isinstance(headers, dict) else headers)
        if content_type is not None:
            fields.append(("Content-Type", content_type))
        return self.request("POST", path, body, fields)


def curl(*args):
    """Run curl; the last answer it got."""
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--include", "--max-time", str(PATIENCE), "--noproxy", "*", *map(str, args)],
        capture_output=True,
        timeout=PATIENCE + 10,
    )
    assert result.returncode == 0, f"curl exited with {result.returncode}: {result.stderr.decode()}"
    rest = result.stdout
    while True:
        head, _, rest = rest.partition(b"\r\n\r\n")
        version, status, reason, headers = parse_head(head)
        if status >= 200:
            return Answer(version, status, reason, headers, rest)
