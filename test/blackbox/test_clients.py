"""Client libraries that people use, with sessions that keep their connections."""
import asyncio

import httpx
import requests

ECHO = """\
    def predict(sample, metadata):
        return {"got": sample}
"""


def test_requests_session(start):
    cortexd = start(ECHO)
    with requests.Session() as session:
        session.trust_env = False
        for i in range(100):
            answer = session.post(cortexd.url, json={"i": i})
            assert answer.status_code == 200 and answer.json() == {"got": {"i": i}}
        assert len(session.adapters["http://"].poolmanager.pools) == 1
        assert session.get(cortexd.url).json()["message"].startswith("make a prediction")
        assert session.head(cortexd.url).status_code == 200
        assert "POST" in session.options(cortexd.url).headers["Access-Control-Allow-Methods"]
        assert session.post(cortexd.url, data=b"{", headers={"Content-Type": "application/json"}).text.strip() == "malformed json"
        assert session.post(cortexd.url, data={"a": "b"}).status_code == 415


def test_requests_streams_a_chunked_body(start):
    cortexd = start(ECHO)
    with requests.Session() as session:
        session.trust_env = False
        pieces = (piece for piece in (b"[", b"1, ", b"2", b"]"))
        answer = session.post(cortexd.url, data=pieces, headers={"Content-Type": "application/json"})
        assert answer.json() == {"got": [1, 2]}


def test_httpx_client(start):
    cortexd = start(ECHO)
    with httpx.Client(trust_env=False) as session:
        for i in range(100):
            assert session.post(cortexd.url, json=i).json() == {"got": i}


def test_httpx_async_client_with_many_at_once(start):
    cortexd = start(ECHO, replicas=2)

    async def run():
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(trust_env=False, limits=limits, timeout=60) as session:
            return await asyncio.gather(*(session.post(cortexd.url, json=i) for i in range(300)))

    answers = asyncio.run(run())
    assert [answer.json() for answer in answers] == [{"got": i} for i in range(300)]


def test_the_same_connection_is_used_again(start):
    cortexd = start(ECHO)
    with requests.Session() as session:
        session.trust_env = False
        ports = set()
        for i in range(10):
            answer = session.post(cortexd.url, json=i, stream=True)
            ports.add(answer.raw.connection.sock.getsockname() if answer.raw.connection else None)
            answer.content
        assert len(ports - {None}) <= 1
