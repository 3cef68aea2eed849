"""cortexd-fetch by itself, with a real S3 server, a real web server, and a network between them that misbehaves."""
import fcntl
import hashlib
import json
import os
import random
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import botocore.config
import boto3
import pytest
from cortexd import BUILD, SANITIZED, wait_until
from s3 import ACCESS_KEY, SECRET_KEY, Fault, Proxy, S3, Scripted, WebServer, environment, send

PART = 32 << 20  # of a large object, brought in one request


class Fetch:
    """cortexd-fetch and its cache."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        self.cache = folder / "cache"
        self.output = ""

    def start(self, address, *args, url=None, **who):
        return subprocess.Popen(
            [BUILD / "bin" / "cortexd-fetch", "--cache", self.cache, *args],
            env={**environment(url or self.url, self.folder, **who), "CORTEXD_MODEL": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, address, *args, **who):
        process = self.start(address, *args, **who)
        self.output = process.communicate(timeout=120)[0]
        assert SECRET_KEY not in self.output
        return process.returncode

    def latest(self, address):
        link = self.cache / "latest" / hashlib.sha256(address.encode()).hexdigest()[:40]
        return link.resolve() if link.exists() else None

    def get(self, address, *args, **who):
        """Path of the model."""
        assert self.run(address, *args, **who) == 0, self.output
        path = self.latest(address)
        assert path.is_relative_to(self.cache / "content")
        return path

    def fails(self, address, *args, **who):
        """The last line, which says why."""
        assert self.run(address, *args, **who) == 1, self.output
        line = self.output.splitlines()[-1]
        assert line.startswith("error: ")
        return line

    def leftovers(self):
        return sorted(path for path in self.cache.glob("partial/*/*"))

    def contents(self):
        return sorted(os.listdir(self.cache / "content")) if self.cache.exists() else []


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3(tmp_path_factory.mktemp("s3") / "server")
    yield server
    server.stop()


@pytest.fixture
def bucket(s3, request):
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50]
    return s3.bucket(f"{name.strip('-')}-{random.randrange(10**6)}")


@pytest.fixture
def fetch(tmp_path, s3):
    return Fetch(tmp_path, s3.url)


# --- what is brought ---------------------------------------------------------------------------------------------------
def test_one_object(s3, bucket, fetch):
    s3.put(bucket, "a/model.pkl", b"x" * 1000)
    path = fetch.get(f"s3://{bucket}/a/model.pkl")
    assert path.name == "model.pkl" and path.read_bytes() == b"x" * 1000
    assert "fetched 1000 bytes" in fetch.output
    fetch.get(f"s3://{bucket}/a/model.pkl")
    assert "is there already" in fetch.output and len(fetch.contents()) == 1


def test_an_empty_object(s3, bucket, fetch):
    s3.put(bucket, "empty", b"")
    assert fetch.get(f"s3://{bucket}/empty").read_bytes() == b""


def test_a_folder_with_odd_names(s3, bucket, fetch):
    names = ["a", "sub/deep/er/x.bin", "b c+ü%20.bin", "q?x=1&y#z", "~!*'()", "...", "=@:,;$", "日本", "-", "x" * 200]
    for name in names:
        s3.put(bucket, f"m o/dir/{name}", name.encode())
    s3.put(bucket, "m o/dir-not/other", b"no")
    s3.put(bucket, "m o/dir/mark/", b"")
    for address in (f"s3://{bucket}/m o/dir/", f"s3://{bucket}/m o/dir"):
        path = fetch.get(address)
        assert path.name == "dir"
        found = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
        assert found == {name: name.encode() for name in names}


@pytest.mark.once
def test_five_thousand_objects(s3, bucket, fetch):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: s3.put(bucket, f"many/{i % 70}/{i:05}", b"%d" % i), range(5000)))
    path = fetch.get(f"s3://{bucket}/many")
    found = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert found == {f"{i % 70}/{i:05}": b"%d" % i for i in range(5000)}


def test_another_version_is_another_model(s3, bucket, fetch):
    address = f"s3://{bucket}/m"
    s3.put(bucket, "m", b"one")
    first = fetch.get(address)
    s3.put(bucket, "m", b"two")
    second = fetch.get(address)
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    s3.put(bucket, "m", b"one")
    assert fetch.get(address) == first


def test_what_is_not_there(s3, bucket, fetch):
    s3.put(bucket, "model.pkl", b"x")
    assert "there is no such key" in fetch.fails(f"s3://{bucket}/mode")
    assert "and none below it" in fetch.fails(f"s3://{bucket}/model.pkl/")
    assert "404 NoSuchBucket: " in fetch.fails("s3://no-such-bucket/model.pkl")
    assert fetch.contents() == []


def test_who_may_not(s3, bucket, fetch):
    s3.put(bucket, "m", b"x")
    line = fetch.fails(f"s3://{bucket}/m", secret_key="wrong-secret")
    assert f"s3://{bucket}/m: 403 SignatureDoesNotMatch: " in line and "check the secret key" in line and "wrong-secret" not in line
    line = fetch.fails(f"s3://{bucket}/m", access_key=None)
    assert "403 AccessDenied" in line and "there are no credentials" in line
    assert fetch.contents() == []


def test_a_key_that_is_a_file_and_a_folder(s3, bucket, fetch):
    listing = list_of(("d/a", 1), ("d/a/b", 1))
    choose = lambda number, method, target, head: Fault(status=200, body=listing if "list-type" in target else b"1")
    with Proxy(s3.port, choose) as proxy:
        line = fetch.fails(f"s3://{bucket}/d/", url=proxy.url)
    assert 'cannot store the object "d/a' in line and "another one has the name of its folder" in line
    assert fetch.contents() == []


def list_of(*objects):
    inner = "".join(f"<Contents><Key>{key}</Key><ETag>x</ETag><Size>{size}</Size></Contents>" for key, size in objects)
    return f"<ListBucketResult>{inner}</ListBucketResult>".encode()


@pytest.mark.parametrize("key", ["d/../../../../outside", "d/./x", "d//etc/passwd", "other/x", "d/a/..", "d/a//b"])
def test_a_key_that_wants_to_escape(s3, bucket, fetch, key):
    answer = Fault(status=200, body=list_of(("d/good", 1), (key, 7)))
    with Proxy(s3.port, lambda number, method, target, head: answer if "list-type" in target else None) as proxy:
        line = fetch.fails(f"s3://{bucket}/d/", url=proxy.url)
    assert f'the key "{key}" cannot be a file below a folder' in line
    assert proxy.count() == 1 and fetch.contents() == []
    assert not list(Path(fetch.folder).glob("**/outside"))


# --- networks ----------------------------------------------------------------------------------------------------------
BODY = random.Random(7).randbytes(3 << 20)
ONCE = {
    "closed in the middle": Fault(after=1 << 20, then="close"),
    "closed before the body": Fault(after=0, then="close"),
    "reset": Fault(after=100_000, then="reset"),
    "stalled": Fault(after=2_000_000, then="stall"),
    "corrupt": Fault(after=1234, then="corrupt"),
    "says that it is longer": Fault(length=len(BODY) + 5),
    "says that it is shorter": Fault(length=len(BODY) - 5),
    "503": Fault(status=503, body=b"<Error><Code>SlowDown</Code></Error>"),
    "500": Fault(status=500),
    "429": Fault(status=429, fields="Retry-After: 1\r\n"),
}


@pytest.mark.parametrize("fault", ONCE)
def test_a_fault_that_passes(s3, bucket, fetch, fault):
    s3.put(bucket, "m", BODY)
    faults = [ONCE[fault], ONCE[fault]]
    choose = lambda number, method, target, head: faults.pop() if faults and method == "GET" else None
    with Proxy(s3.port, choose) as proxy:
        path = fetch.get(f"s3://{bucket}/m", "--stall", "1", url=proxy.url)
    assert not faults and path.read_bytes() == BODY


@pytest.mark.parametrize(
    "fault, said",
    [
        (Fault(after=1000, then="close"), "transfer closed with"),
        (Fault(after=2 << 20, then="corrupt"), "its MD5 is not"),
        (Fault(after=1000, then="stall"), "Operation too slow"),
        (Fault(after=1000, then="corrupt"), "its MD5 is not"),
        (Fault(length=len(BODY) + 5), "the server wants to send"),
        (Fault(length=len(BODY) - 5), "the server wants to send"),
        (Fault(status=503, body=b"<Error><Code>SlowDown</Code><Message>Later.</Message></Error>"), "503 SlowDown: Later."),
        (Fault(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"), "403 AccessDenied"),
        (Fault(status=200, body=b"a page of a captive portal"), "the server wants to send"),
    ],
    ids=["close", "corrupt late", "stall", "corrupt", "longer", "shorter", "503", "403", "portal"],
)
def test_a_fault_that_stays(s3, bucket, fetch, fault, said):
    s3.put(bucket, "m", BODY)
    with Proxy(s3.port, lambda number, method, target, head: fault if method == "GET" else None) as proxy:
        begin = time.monotonic()
        line = fetch.fails(f"s3://{bucket}/m", "--stall", "1", "--attempts", "3", url=proxy.url)
        assert time.monotonic() - begin < 30
    assert said in line and f"s3://{bucket}/m: " in line
    assert fetch.contents() == [] and fetch.latest(f"s3://{bucket}/m") is None
    assert proxy.count("GET") <= 3


def test_nobody_listens(fetch, s3):
    with Proxy(s3.port) as proxy:
        pass
    line = fetch.fails("s3://b/m", "--attempts", "2", url=proxy.url)
    assert "s3://b/m: Failed to connect" in line


def test_a_list_that_has_no_end(s3, bucket, fetch):
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    with Proxy(s3.port, lambda number, method, target, head: Fault(status=200, body=page)) as proxy:
        line = fetch.fails(f"s3://{bucket}/d/", url=proxy.url)
    assert "the list of its objects has no end" in line


# --- large ones, killed and changed ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def large(s3, tmp_path_factory):
    """(bucket, key, its SHA-256, size): a GiB, as the AWS command line uploads it: in parts. Less where everything is slow."""
    size = 200 << 20 if SANITIZED else 1 << 30
    path = tmp_path_factory.mktemp("large") / "model.bin"
    block, digest = random.Random(5).randbytes(1 << 20), hashlib.sha256()
    with open(path, "wb") as file:
        for i in range(size >> 20):
            chunk = b"%08d" % i + block[8:]
            file.write(chunk)
            digest.update(chunk)
    bucket = s3.bucket(f"large{random.randrange(10**6)}")
    s3.client.upload_file(str(path), bucket, "model.bin")
    path.unlink()
    return bucket, "model.bin", digest.hexdigest(), size


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_large_object_killed_and_resumed(s3, large, fetch):
    bucket, key, digest, size = large
    address = f"s3://{bucket}/{key}"
    with Proxy(s3.port) as proxy:
        process = fetch.start(address, url=proxy.url)
        wait_until(lambda: any(b"x" in p.read_bytes() for p in fetch.cache.glob("partial/*/parts/*.done")), "some parts are there")
        process.kill()
        process.wait()
        assert fetch.contents() == [] and fetch.latest(address) is None
        there = sum(p.read_bytes().count(b"x") for p in fetch.cache.glob("partial/*/parts/*.done"))
        before = proxy.count("GET")
        path = fetch.get(address, url=proxy.url)
        assert path.stat().st_size == size and sha256(path) == digest
        assert 0 < there < size / PART and proxy.count("GET") - before == -(-size // PART) - there
    assert not list(fetch.cache.glob("partial/*/parts"))


def test_killed_at_random_moments(s3, bucket, fetch):
    rng = random.Random(11)
    files = {f"f{i:03}": rng.randbytes(rng.randrange(1 << 16)) for i in range(200)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: s3.put(bucket, f"d/{name}", files[name]), files))
    address = f"s3://{bucket}/d"
    killed = 0
    for _ in range(20):
        with Proxy(s3.port) as proxy:
            process, last = fetch.start(address, url=proxy.url), rng.randrange(230)
            wait_until(lambda: proxy.count() >= last or process.poll() is not None, "it has come so far")
            process.kill()
            process.communicate()
        killed += process.returncode == -9
        path = fetch.latest(address)
        if path:  # then it is whole
            assert {p.name: p.read_bytes() for p in path.iterdir()} == files
    assert killed > 0
    path = fetch.get(address)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == files
    assert len(fetch.contents()) == 1


def test_a_model_that_changes_while_it_is_fetched(s3, bucket, fetch):
    s3.put(bucket, "m", b"1" * (80 << 20))
    changed = []

    def choose(number, method, target, head):
        if method == "GET" and not changed:
            changed.append(s3.put(bucket, "m", b"2" * (70 << 20)))

    with Proxy(s3.port, choose) as proxy:
        path = fetch.get(f"s3://{bucket}/m", url=proxy.url)
    assert "it changes while it is fetched" in fetch.output
    assert path.stat().st_size == 70 << 20 and path.read_bytes().strip(b"2") == b""


def test_two_at_once(s3, bucket, fetch):
    s3.put(bucket, "m", BODY)
    with Proxy(s3.port) as proxy:
        processes = [fetch.start(f"s3://{bucket}/m", url=proxy.url) for _ in range(4)]
        assert [(p.communicate()[0], p.returncode)[1] for p in processes] == [0] * 4
    assert len(fetch.contents()) == 1 and fetch.latest(f"s3://{bucket}/m").read_bytes() == BODY
    assert proxy.count("GET") == 1 and fetch.leftovers() == []


def test_a_disk_that_is_too_small(s3, bucket, fetch):
    s3.put(bucket, "m", BODY)
    fetch.cache.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=102m", "tmpfs", fetch.cache]).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        line = fetch.fails(f"s3://{bucket}/m")
        assert "needs 4 MiB more" in line and "MiB to give" in line
        assert fetch.contents() == []
    finally:
        subprocess.run(["umount", fetch.cache], check=True)


# --- copies of an earlier time, and what is not needed any more -----------------------------------------------------------
def test_copies(s3, bucket, fetch):
    address = f"s3://{bucket}/m"
    s3.put(bucket, "m", b"one")
    with Proxy(s3.port) as proxy:
        pass  # nobody listens there any more
    fetch.fails(address, "--copy", "always", "--attempts", "1", url=proxy.url)  # there is none
    path = fetch.get(address)
    fetch.fails(address, "--attempts", "1", url=proxy.url)
    assert fetch.get(address, "--copy", "unreachable", "--attempts", "1", url=proxy.url) == path
    assert "warning: " in fetch.output and "the copy that was fetched earlier is used" in fetch.output
    fetch.fails(address, "--copy", "unreachable", secret_key="wrong")
    assert fetch.get(address, "--copy", "always", secret_key="wrong") == path


def test_what_is_not_needed_is_removed(s3, bucket, fetch):
    addresses = [f"s3://{bucket}/{name}" for name in ("a", "b", "c")]
    old = []
    for version in (b"1", b"2"):
        for address in addresses:
            s3.put(bucket, address[-1], version)
            old.append(fetch.get(address))
    hash_of_a = hashlib.sha256(addresses[0].encode()).hexdigest()[:40]
    command = [BUILD / "bin" / "cortexd-fetch", "--cache", fetch.cache, "--collect", "--keep", old[1], "--keep", "/etc/passwd", "--address", hash_of_a]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "removed 4 old models\n"
    assert [path.exists() for path in old] == [False, True, False, True, False, False]
    assert fetch.latest(addresses[0]) == old[3] and fetch.latest(addresses[1]) is None
    assert fetch.get(addresses[1]).read_bytes() == b"2"


def test_nothing_is_removed_while_somebody_fetches(s3, bucket, fetch):
    s3.put(bucket, "m", b"1")
    path = fetch.get(f"s3://{bucket}/m")
    with open(fetch.cache / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        done = subprocess.run([BUILD / "bin" / "cortexd-fetch", "--cache", fetch.cache, "--collect"], capture_output=True, text=True)
    assert done.returncode == 1 and "somebody is using the cache" in done.stdout and path.exists()


# --- web servers -------------------------------------------------------------------------------------------------------
def test_a_web_server(tmp_path, fetch):
    with WebServer(tmp_path / "web") as web:
        (web.folder / "iris model.onnx").write_bytes(BODY)
        address = f"{web.url}/iris%20model.onnx?version=1#part"
        path = fetch.get(address)
        assert path.name == "iris model.onnx" and path.read_bytes() == BODY
        fetch.get(address)
        assert "is there already" in fetch.output
        (web.folder / "iris model.onnx").write_bytes(BODY + b"1")
        assert fetch.get(address).read_bytes() == BODY + b"1"
        assert "404: there is nothing at this address" in fetch.fails(f"{web.url}/nothing?secret=1")
        assert "secret" not in fetch.output


@pytest.mark.parametrize("fault", [Fault(after=1 << 20, then="close"), Fault(after=5, then="stall"), Fault(status=503)], ids=["close", "stall", "503"])
def test_a_web_server_with_a_fault(tmp_path, fetch, fault):
    faults = [fault, fault]
    choose = lambda number, method, target, head: faults.pop() if faults and method == "GET" else None
    with WebServer(tmp_path / "web") as web, Proxy(web.port, choose) as proxy:
        (web.folder / "m").write_bytes(BODY)
        assert fetch.get(f"{proxy.url}/m", "--stall", "1").read_bytes() == BODY
        assert not faults


@pytest.fixture
def public(s3, bucket):
    """A bucket that everybody may read."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}
    s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    return bucket


def test_a_web_server_that_knows_ranges_goes_on_in_the_middle(s3, public, fetch):
    s3.put(public, "m", BODY)
    faults = [Fault(after=2 << 20, then="close")]
    choose = lambda number, method, target, head: faults.pop() if faults and method == "GET" else None
    with Proxy(s3.port, choose) as proxy:
        assert fetch.get(f"{proxy.url}/{public}/m", access_key=None).read_bytes() == BODY
        assert "Range: bytes=" in proxy.requests[-1][2] and "If-Range: " in proxy.requests[-1][2]


def test_nobody_in_particular_asks_a_public_bucket(s3, public, fetch):
    s3.put(public, "d/m", b"x")
    assert (fetch.get(f"s3://{public}/d", access_key=None) / "m").read_bytes() == b"x"


def test_the_bucket_as_part_of_the_host(s3, bucket, fetch):
    s3.put(bucket, "d/a b", b"x")
    (fetch.folder / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    with Proxy(s3.port) as proxy:
        url = proxy.url.replace("127.0.0.1", "localhost")
        who = {"url": url, "AWS_CONFIG_FILE": str(fetch.folder / "config")}
        line = fetch.fails(f"s3://{bucket}/d", "--attempts", "1", **who)  # the server knows its own port alone
        assert f"Host: {bucket}.localhost:{proxy.port}" in proxy.requests[0][2], line
    who["url"] = s3.url.replace("127.0.0.1", "localhost")
    assert (fetch.get(f"s3://{bucket}/d", **who) / "a b").read_bytes() == b"x"


def test_a_signed_url(s3, bucket, fetch):
    """Signed for GET alone: HEAD is refused."""
    s3.put(bucket, "m", BODY)
    client = boto3.client("s3", endpoint_url=s3.url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name="us-east-1",
        config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"}))  # fmt: skip
    url = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "m"})
    assert fetch.get(url, access_key=None).read_bytes() == BODY
    assert "Signature" not in fetch.output
    assert len(fetch.contents()) == 1
    assert fetch.get(url, access_key=None).read_bytes() == BODY  # brought again, and found to be the same
    assert len(fetch.contents()) == 1


# --- web servers of all kinds ------------------------------------------------------------------------------------------
OLD, NEW = b"1" * (3 << 20), b"2" * (1 << 20)


def test_a_file_that_is_replaced_between_two_attempts_is_not_mixed(fetch):
    """The answer says that it is another version; one that ignores If-Range, and one that obeys it."""

    def obeys(handler):
        if handler.command == "HEAD":
            send(handler, 200, Content_Length=None, ETag='"1"' if server.count("GET") == 0 else '"2"')
        elif server.count("GET") == 1:
            send(handler, 200, OLD[: 2 << 20], Content_Length=len(OLD), ETag='"1"')
        else:
            send(handler, 200, NEW, ETag='"2"')

    def ignores(handler):
        if handler.command == "HEAD":
            send(handler, 200, Content_Length=len(OLD), ETag='"1"' if server.count("GET") < 2 else '"2"')
        elif server.count("GET") == 1:
            send(handler, 200, OLD[: 2 << 20], Content_Length=len(OLD), ETag='"1"')
        elif "Range" in handler.headers:
            send(handler, 206, NEW, Content_Range=f"bytes {2 << 20}-{(3 << 20) - 1}/{3 << 20}", ETag='"2"')
        else:
            send(handler, 200, NEW, ETag='"2"')

    for number, answer in enumerate((obeys, ignores)):
        with Scripted(answer) as server:
            assert fetch.get(f"{server.url}/{number}").read_bytes() == NEW
            assert "it changes while it is fetched" in fetch.output


def test_a_file_that_always_breaks_off_and_cannot_be_continued(fetch):
    """Though each attempt brings much."""
    with Scripted(lambda handler: send(handler, 200, OLD[: 2 << 20], Content_Length=len(OLD))) as server:
        fetch.fails(f"{server.url}/m", "--attempts", "3")
        assert server.count("GET") == 3
    assert fetch.contents() == []


def test_a_body_whose_end_cannot_be_told(fetch):
    def answer(handler):
        send(handler, 405 if handler.command == "HEAD" else 200, b"half", Content_Length=0 if handler.command == "HEAD" else None)

    with Scripted(answer) as server:
        assert "the server does not say how long the file is" in fetch.fails(f"{server.url}/m", "--attempts", "2")


def test_a_body_in_chunks(fetch):
    def answer(handler):
        send(handler, 200, b"3\r\nabc\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked", ETag='"x"')

    with Scripted(answer) as server:
        assert fetch.get(f"{server.url}/m").read_bytes() == b"abc"


def test_a_server_that_says_0_for_want_of_a_body(fetch):
    def answer(handler):
        send(handler, 200, b"" if handler.command == "HEAD" else b"abc")

    with Scripted(answer) as server:
        assert fetch.get(f"{server.url}/m").read_bytes() == b"abc"


def test_signed_urls_of_one_content_at_once(fetch):
    """Two addresses, and the store tells nothing that could tell them apart."""

    def answer(handler):
        send(handler, 403 if handler.command == "HEAD" else 200, b"" if handler.command == "HEAD" else BODY)

    with Scripted(answer) as server:
        for _ in range(5):
            processes = [fetch.start(f"{server.url}/m?signature={i}") for i in range(6)]
            for process in processes:
                output = process.communicate()[0]
                assert process.returncode == 0, output
            assert len(fetch.contents()) == 1 and fetch.leftovers() == []


# --- stores of all kinds -----------------------------------------------------------------------------------------------
def test_parts_that_arrive_broken(s3, bucket, fetch, tmp_path):
    """An object that was uploaded in parts: its ETag is no MD5 of it."""
    (tmp_path / "m").write_bytes(os.urandom(20 << 20))
    s3.client.upload_file(str(tmp_path / "m"), bucket, "m")
    assert s3.client.head_object(Bucket=bucket, Key="m")["ETag"].endswith('-3"')
    faults = [Fault(after=9 << 20, then="corrupt")]
    with Proxy(s3.port, lambda number, method, target, head: faults.pop() if faults and method == "GET" else None) as proxy:
        assert fetch.get(f"s3://{bucket}/m", url=proxy.url).read_bytes() == (tmp_path / "m").read_bytes()
        assert not faults and proxy.count("GET") == 2


def test_a_folder_without_etags(fetch):
    contents = {"a": b"1", "b": b"1"}

    def answer(handler):
        key = handler.path.partition("?")[0].rpartition("/")[2]
        if "list-type" in handler.path:
            inner = "".join(f"<Contents><Key>d/{key}</Key><Size>1</Size></Contents>" for key in contents)
            send(handler, 200, f"<ListBucketResult>{inner}</ListBucketResult>".encode())
        else:
            send(handler, 200, contents[key])

    with Scripted(answer) as server:
        first = fetch.get("s3://bucket/d/", url=server.url)
        assert fetch.get("s3://bucket/d/", url=server.url) == first
        contents["b"] = b"2"
        second = fetch.get("s3://bucket/d/", url=server.url)
        assert (second / "b").read_bytes() == b"2" and (first / "b").read_bytes() == b"1"


def test_a_store_that_is_overloaded_is_not_asked_for_everything_at_once(fetch):
    def answer(handler):
        if "list-type" in handler.path:
            inner = "".join(f"<Contents><Key>d/{i}</Key><ETag>x</ETag><Size>1</Size></Contents>" for i in range(1000))
            send(handler, 200, f"<ListBucketResult>{inner}</ListBucketResult>".encode())
        else:
            send(handler, 503)

    with Scripted(answer) as server:
        assert "the server answers 503" in fetch.fails("s3://bucket/d/", "--attempts", "2", url=server.url)
        assert server.count("GET") < 60


def test_what_a_store_says_stays_on_its_line(fetch):
    """And in no header of ours."""

    def answer(handler):
        if "list-type" in handler.path:
            key = "d/a" if "good" in handler.path else "d//%0Aerror: forged"
            etag = "x&#13;&#10;X-Evil: 1"
            inner = f"<EncodingType>url</EncodingType><Contents><Key>{key}</Key><ETag>{etag}</ETag><Size>1</Size></Contents>"
            send(handler, 200, f"<ListBucketResult>{inner}</ListBucketResult>".encode().replace(b"d/", b"good/" if "good" in handler.path else b"d/"))
        else:
            send(handler, 200, b"x")

    with Scripted(answer) as server:
        line = fetch.fails("s3://bucket/d/", url=server.url)
        assert line.startswith("error: s3://bucket/d/: the key") and "forged" in line
        fetch.get("s3://bucket/good/", url=server.url)
        assert not any("X-Evil" in headers for _, headers in server.requests)


# --- who asks ----------------------------------------------------------------------------------------------------------
def test_credentials_of_files(s3, bucket, fetch):
    s3.put(bucket, "m", b"x")
    folder = fetch.folder / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(f"[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    (folder / "config").write_text(f"[default]\nregion = us-east-1\n[profile work]\nregion = us-east-1\nendpoint_url = {s3.url}\n[profile role]\nrole_arn = x\n")
    assert "403" in fetch.fails(f"s3://{bucket}/m", access_key=None)
    assert fetch.get(f"s3://{bucket}/m", access_key=None, AWS_PROFILE="work").read_bytes() == b"x"
    unset = Fetch(fetch.folder, None)
    assert unset.get(f"s3://{bucket}/m", access_key=None, AWS_PROFILE="work").read_bytes() == b"x"
    assert 'profile "other" (AWS_PROFILE) has no credentials' in fetch.fails(f"s3://{bucket}/m", access_key=None, AWS_PROFILE="other")
    assert "uses role_arn, which cortexd cannot" in fetch.fails(f"s3://{bucket}/m", access_key=None, AWS_PROFILE="role")
    (folder / "config").write_text("[default]\nregion = us-east-1\n[work]\n[profile work]\naws_session_token = of-other-keys\n")
    assert fetch.get(f"s3://{bucket}/m", access_key=None, AWS_DEFAULT_PROFILE="work").read_bytes() == b"x"
    line = fetch.fails(f"s3://{bucket}/m", access_key=None, AWS_WEB_IDENTITY_TOKEN_FILE="/token")
    assert "AWS_WEB_IDENTITY_TOKEN_FILE is set, which cortexd cannot use" in line
    assert "AWS_SECRET_ACCESS_KEY is not" in fetch.fails(f"s3://{bucket}/m", access_key=None, AWS_ACCESS_KEY_ID="x")


def metadata(answers, needs=None):
    """What a container's agent or an instance answers: {(method, path): text}; everything else is 404."""

    def answer(handler):
        text = answers.get((handler.command, handler.path))
        if needs and handler.command == "GET" and handler.headers.get(needs[0]) != needs[1]:
            text = None
        send(handler, 200 if text else 404, (text or "").encode())

    return Scripted(answer)


KEYS = json.dumps({"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Expiration": "2099-01-01T00:00:00Z"})


def test_credentials_of_a_container(s3, bucket, fetch):
    s3.put(bucket, "m", b"x")
    with metadata({("GET", "/creds"): KEYS}, needs=("Authorization", "the token")) as server:
        url = server.url
        variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the token"}
        assert fetch.get(f"s3://{bucket}/m", access_key=None, **variables).read_bytes() == b"x"
        (fetch.folder / "token").write_text("the token\n")
        variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(fetch.folder / "token")}
        assert fetch.get(f"s3://{bucket}/m", access_key=None, **variables).read_bytes() == b"x"
        assert "answers 404" in fetch.fails(f"s3://{bucket}/m", access_key=None, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/creds")
    line = fetch.fails(f"s3://{bucket}/m", access_key=None, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://example.com/creds")
    assert "neither https nor this machine" in line


def test_credentials_of_an_instance(s3, bucket, fetch):
    s3.put(bucket, "m", b"x")
    credentials = "/latest/meta-data/iam/security-credentials/"
    answers = {("PUT", "/latest/api/token"): "t0ken", ("GET", credentials): "role", ("GET", f"{credentials}role"): KEYS}
    with metadata(answers, needs=("X-aws-ec2-metadata-token", "t0ken")) as server:
        variables = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}
        assert fetch.get(f"s3://{bucket}/m", access_key=None, **variables).read_bytes() == b"x"


# --- the command -------------------------------------------------------------------------------------------------------
def test_wrong_arguments():
    def run(*args, **variables):
        return subprocess.run([BUILD / "bin" / "cortexd-fetch", *args], env={**os.environ, **variables}, capture_output=True, text=True)

    assert run().returncode == 2 and "needs --cache" in run().stderr
    assert run("--cache", "x", "--attempts", "0", CORTEXD_MODEL="s3://b/k").returncode == 2
    assert run("--cache", "x", "--copy", "often", CORTEXD_MODEL="s3://b/k").returncode == 2
    assert run("--cache", "/proc/x", CORTEXD_MODEL="s3://b/k").stdout.startswith("error: cannot use the cache of models")
    assert "no bucket of that name" in run("--cache", "x", CORTEXD_MODEL="s3:///k").stdout
    assert run("--help").returncode == 0
