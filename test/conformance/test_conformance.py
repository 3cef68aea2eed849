"""Every case of cases.py, against a real cortexd, in four ways.

Who owns the connection is one half: a replica, which is idle and has answered on it before; or the activator, because
the only replica is in a prediction that lasts until all cases are sent. How the bytes come is the other half: in one
piece, or one byte to a segment, the next one only when the server has had its turn. What must come of it is the same.

Behind the bytes of each case goes one more request, the follow-up: when the connection is to stay open it must be
answered, when not it must never run. The predictor writes down each sample it is given, so what was smuggled in shows
even if nobody is answered.

    CASE=coding/ build/test-venv/bin/python -m pytest -c test/blackbox/pytest.ini test/conformance  # what matches
"""
import json
import os
import re
import select
import socket
import time
from collections import Counter
from email.utils import parsedate_to_datetime

import pytest

import client
from cases import ASKED, CASES, CLOSED, CUT, OPEN, Answer, Outcome, echo
from cortexd import SANITIZED, Scoreboard, wait_until

PREDICTOR = """\
    import json
    import os
    import time


    def predict(sample, metadata):
        with open("ran", "a") as ran:
            ran.write(json.dumps(sample, separators=(",", ":"))[:80] + "\\n")
        if sample == "gate":
            while not os.path.exists("go"):
                time.sleep(0.001)
        return sample
"""
API = "requests: {max_body_size: 80Ki, max_queue_length: 10000, timeout: 10m}"
PATIENCE = 60 if SANITIZED else 20  # seconds without a byte before an answer counts as never coming
PATIENCE_LOST = 2  # the same, once that has happened: the test has failed anyway
PACED = 300  # bytes at either end of a long case that wait for the server; those between only leave one by one
LONG = 2048  # bytes from which a case is long
GROUP = 50  # connections that are sent to in turn
IN_PIECES, BY_BYTES = "in one piece", "byte by byte"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


def post(sample):
    body = json.dumps(sample)
    return f"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


# --- one case on one connection ---------------------------------------------------------------------------------------
class Exchange:
    """A case, the connection that it goes over, and what has come back."""

    def __init__(self, case, owner, port):
        self.case = case
        self.owner = owner
        self.outcome = case.outcome_at(owner)
        self.follow_up = f"after {case.id}"
        self.connection = client.Connection(port)
        self.socket = self.connection.socket
        self.socket.settimeout(None)  # with one, Python waits even where MSG_DONTWAIT says not to
        self.received = b""
        self.parsed = 0
        self.answers = []
        self.ended = None  # or "closed", or "reset"
        self.unreadable = None
        self.late = False

    # --- sending
    def segments(self, number, delivery):
        """What to send after so many pauses. The follow-up is the end of the last part.

        Who has asked for the end must not send on: there it comes with the last byte, not while the answer is made.
        """
        data = self.case.parts[number]
        follow_up = post(self.follow_up) if number == len(self.case.parts) - 1 and self.outcome.end != CUT else b""
        if delivery == IN_PIECES:
            return [data + follow_up]
        if self.outcome.end == ASKED:
            return [data[i : i + 1] for i in range(len(data) - 1)] + [data[-1:] + follow_up]
        data += follow_up
        return [data[i : i + 1] for i in range(len(data))]

    def send(self, data):
        """False when the server does not take any more, which may be right."""
        if self.ended == "reset":
            return False
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def finish_sending(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset already; drain() finds out

    # --- receiving
    def drain(self):
        """Take what has come."""
        while not self.ended:
            try:
                data = self.socket.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                self.ended = "reset"
                break
            self.received += data
            if not data:
                self.ended = "closed"
        self.parse()

    def parse(self):
        while not self.unreadable:
            end = self.received.find(b"\r\n\r\n", self.parsed)
            if end < 0:
                return
            try:
                answer = client.Answer(*client.parse_head(self.received[self.parsed : end]), b"")
                length = 0 if self.is_bodiless(answer) else int(answer.header("content-length"))
            except (AssertionError, TypeError, ValueError) as e:
                self.unreadable = f"an answer that cannot be read: {e}"
                return
            if len(self.received) < end + 4 + length:
                return
            answer.body = self.received[end + 4 : end + 4 + length]
            self.answers.append(answer)
            self.parsed = end + 4 + length

    def finals(self):
        return [answer for answer in self.answers if answer.status >= 200]

    def is_bodiless(self, answer):
        expected = [a for a in self.outcome.answers if a.final]
        n = len(self.finals())
        return answer.status < 200 or answer.status == 204 or (n < len(expected) and expected[n].head)

    # --- progress
    def has_all(self):
        """Nothing more is expected, but that the connection ends when we end it."""
        return self.ended or self.unreadable or len(self.finals()) > sum(a.final for a in self.outcome.answers)

    def has_what_needs_no_replica(self):
        if self.ended or self.unreadable:
            return True
        for n, answer in enumerate(a for a in self.outcome.answers if a.final):
            if answer.predicted:
                return len(self.finals()) >= n
        return self.outcome.end == OPEN and len(self.finals()) >= sum(a.final for a in self.outcome.answers)

    # --- judging
    def executed(self):
        """The samples that the predictor must have been given, as it writes them down."""
        bodies = [a.body for a in self.outcome.answers if a.ran]
        bodies += [json.dumps(self.follow_up).encode()] if self.outcome.end == OPEN else []
        return [body.decode("latin-1")[:80] for body in bodies]

    def complaints(self):
        problems = self.differences(self.outcome)
        if self.outcome is not self.case.outcome and not self.differences(self.case.outcome):
            problems.append("it does what the RFC demands now: take away `known`")
        if problems and self.outcome is not self.case.outcome:
            problems.append(f"known: {self.case.known}")
        return problems

    def differences(self, outcome):
        """In what way it is not that outcome."""
        problems = [self.unreadable] if self.unreadable else []
        problems += ["something that was waited for did not come"] if self.late else []
        expected = list(outcome.answers)
        if outcome.end == OPEN:
            expected.append(echo(json.dumps(self.follow_up)))
        got = list(self.answers)
        for answer in expected:
            if answer.may and not (got and got[0].status in answer.statuses):
                continue
            if not got:
                problems.append(f"no answer {answer}")
                break
            found = got.pop(0)
            faults = self.faults(found, answer, is_last=not got, end=outcome.end)
            problems += [f"{found.status} instead of {answer}: {fault}" for fault in faults]
        problems += [f"one answer too many: {answer.status}" for answer in got]
        if len(self.received) > self.parsed and not self.unreadable:
            problems.append(f"not an answer: {self.received[self.parsed :][:200]!r}")
        if self.ended is None:
            problems.append("the connection does not end")
        elif self.ended == "reset" and outcome.end != ASKED:  # who sends on after its own "close" may be reset
            problems.append("the connection was reset; the answer may be lost on the way")
        return problems

    def faults(self, found, expected, is_last, end):
        problems = []

        def check(holds, what):
            if not holds:
                problems.append(what)

        check(found.status in expected.statuses, "another status")
        if expected.body is not None and not expected.head:
            check(found.body == expected.body, "another body")
        check(found.version == "1.1", "not HTTP/1.1")
        check(not re.search(r"[^\t -~]", found.reason), "bad reason phrase")
        names = [name for name, _ in found.headers]
        check(len(set(names)) == len(names), "a field twice")
        check(all(TOKEN.fullmatch(name) for name in names), "a field name that is no token")
        check(all(re.fullmatch(r"[\t -~]*", value) for _, value in found.headers), "bad bytes in a field")
        if len(set(names)) < len(names):
            return problems
        if found.status < 200:
            check(not names, "fields in an interim answer")
            return problems
        date = found.header("date") or ""
        check(DATE.fullmatch(date) and abs(parsedate_to_datetime(date).timestamp() - time.time()) < 600, "bad Date")
        check(found.header("access-control-allow-origin") == "*", "no Access-Control-Allow-Origin")
        check(found.header("transfer-encoding") is None, "a transfer encoding")
        length = found.header("content-length")
        if found.status == 204:
            check(length is None, "a length without a body")
        else:
            check(length is not None and re.fullmatch(r"\d+", length), "no length")
            check(length != "0" and found.header("content-type"), "no body, or one without a type")
        if expected.head and expected.body is not None:
            check(length == str(len(expected.body)), "another length")
        if found.status in (405, 204):
            check(found.header("allow"), "no Allow")
        if end != CUT:
            close = "close" if is_last and end != OPEN else "keep-alive" if expected.kept else None
            check(found.header("connection") == close, f"Connection is not {close}")
        return problems

    def report(self, way):
        case = self.case
        sent = b" ... ".join(case.parts)
        shown = repr(sent) if len(sent) <= 400 else f"{sent[:250]!r} ... {sent[-120:]!r} ({len(sent)} bytes)"
        got = [f"{a.status} {a.body[:60]!r} {dict(a.headers).get('connection') or ''}" for a in self.answers]
        return (
            f"{case.id}, {way} (RFC {case.rfc}: {case.why})\n"
            f"    sent      {shown}\n"
            f"    expected  {self.outcome}\n"
            f"    got       {', '.join([*got, self.ended or 'open'])}\n"
        )


# --- many of them -----------------------------------------------------------------------------------------------------
class Patience:
    """Waiting for answers. Once one has not come, the others are not waited for as long."""

    lost = False

    def settle(self, exchanges, condition):
        """Receive until the condition holds for each; or until nothing comes any more."""
        poll = select.poll()
        waiting = {}
        for exchange in exchanges:
            exchange.drain()
            if not condition(exchange):
                waiting[exchange.socket.fileno()] = exchange
                poll.register(exchange.socket, select.POLLIN)
        while waiting:
            ready = poll.poll(1000 * (PATIENCE_LOST if self.lost else PATIENCE))
            if not ready:
                self.lost = True
                for exchange in waiting.values():
                    exchange.late = True
                return
            for fd, _ in ready:
                waiting[fd].drain()
                if waiting[fd].ended or condition(waiting[fd]):
                    poll.unregister(fd)
                    del waiting[fd]


class Pacer:
    """A connection of its own to the owner of the others. Its answer means that what came before it has been read."""

    def __init__(self, cortexd):
        self.connection = cortexd.connect()

    def __call__(self):
        assert self.connection.request("GET", "/healthz").status == 200


def send_in_turn(group, number, delivery, pace):
    """A segment to each of them, and then let the server have its turn."""
    segments = {exchange: exchange.segments(number, delivery) for exchange in group}
    last = max(map(len, segments.values())) - 1
    for position in range(last + 1):
        for exchange in list(segments):
            if position >= len(segments[exchange]) or not exchange.send(segments[exchange][position]):
                del segments[exchange]
            elif position % 32 == 31:
                exchange.drain()
        if delivery == BY_BYTES and (len(group) > 1 or position < PACED or position > last - PACED):
            pace()


def send(group, number, delivery, pace):
    group = [exchange for exchange in group if number < len(exchange.case.parts)]
    send_in_turn(group, number, delivery, pace)
    for exchange in group:
        if exchange.outcome.end == CUT and number == len(exchange.case.parts) - 1:
            exchange.finish_sending()


def send_all(group, delivery, pace, patience):
    """All parts; each but the first when something was answered to the one before."""
    for number in range(max(len(exchange.case.parts) for exchange in group)):
        if number > 0:
            paused = [exchange for exchange in group if number < len(exchange.case.parts)]
            patience.settle(paused, lambda exchange: exchange.answers or exchange.ended)
        send(group, number, delivery, pace)


def finish(exchanges, patience):
    """Read what is left, end those that are to stay open, and see that nothing more comes of that."""
    patience.settle(exchanges, Exchange.has_all)
    for exchange in exchanges:
        if not exchange.ended:
            exchange.finish_sending()
    patience.settle(exchanges, lambda exchange: exchange.ended)
    for exchange in exchanges:
        exchange.connection.close()


def groups_of(cases):
    """Those of about the same length together, and long ones alone."""
    cases = sorted(cases, key=lambda case: len(b"".join(case.parts)))
    group = []
    for case in cases:
        if len(group) == GROUP or (group and len(b"".join(case.parts)) >= LONG):
            yield group
            group = []
        group.append(case)
    if group:
        yield group


def selected_cases():
    return [case for case in CASES if re.search(os.environ.get("CASE", ""), case.id)]


def ran(cortexd):
    return (cortexd.folder / "ran").read_text().splitlines()


def report(exchanges, way, executed, expected):
    """Fail with everything that was wrong."""
    failures = []
    for exchange in exchanges:
        problems = exchange.complaints()
        if problems:
            failures.append(exchange.report(way) + "".join(f"    - {problem}\n" for problem in problems))
    too_often = Counter(executed) - Counter(expected)
    too_rarely = Counter(expected) - Counter(executed)
    if too_often:
        failures.append(f"ran although they must not: {dict(too_often)}\n")
    if too_rarely:
        failures.append(f"did not run: {dict(too_rarely)}\n")
    if failures:
        pytest.fail(f"{len(failures)} failures in {len(exchanges)} cases:\n\n" + "\n".join(failures), pytrace=False)


# --- who owns the connection ------------------------------------------------------------------------------------------
def give_to_replica(connections, pace, board):
    """Until the replica owns exactly these and the pacer's. A prediction that was not short gives the others away."""

    def is_so():
        for connection in (*connections, pace.connection):
            assert connection.post("/d/a", "prime").status == 200
        pace()
        ((state, count, _),) = board.slots()
        return state == "idle" and count == len(connections) + 1

    wait_until(is_so, "the replica owns its connections")


@pytest.mark.parametrize("delivery", [IN_PIECES, BY_BYTES])
def test_connections_of_a_replica(start, delivery):
    cortexd = start(PREDICTOR, api=API, server="log: {level: warning}")
    patience, done = Patience(), []
    pace = Pacer(cortexd)
    with Scoreboard(cortexd.pid) as board:
        for case in selected_cases():
            exchange = Exchange(case, "replica", cortexd.port)
            give_to_replica([exchange.connection], pace, board)
            send_all([exchange], delivery, pace, patience)
            finish([exchange], patience)
            done.append(exchange)
    pace.connection.close()
    executed = [sample for sample in ran(cortexd) if sample != '"prime"']
    report(done, f"{delivery} to a replica", executed, [sample for exchange in done for sample in exchange.executed()])


@pytest.mark.parametrize("delivery", [IN_PIECES, BY_BYTES])
def test_connections_of_the_activator(start, delivery):
    cortexd = start(PREDICTOR, api=API, server="log: {level: warning}")
    patience, exchanges = Patience(), []
    with cortexd.connect() as gate, Scoreboard(cortexd.pid) as board:
        gate.send(post("gate"))
        wait_until(lambda: board.slots()[0][0] == "long", "the only replica is busy for long")
        pace = Pacer(cortexd)
        try:
            for cases in groups_of(selected_cases()):
                group = [Exchange(case, "activator", cortexd.port) for case in cases]
                send_all(group, delivery, pace, patience)
                patience.settle(group, Exchange.has_what_needs_no_replica)
                exchanges += group
            pace()
            for exchange in exchanges:
                if exchange.ended:
                    exchange.connection.close()
            left = [exchange for exchange in exchanges if not exchange.ended]
            # The replica has been in predict all the time: what is open and not the gate's is the activator's.
            wait_until(lambda: board.connections() == len(left) + 2, "the activator owns its connections")
            assert ran(cortexd) == ['"gate"']
        finally:
            (cortexd.folder / "go").touch()
        assert gate.answer().status == 200
        finish(left, patience)
        pace.connection.close()
    expected = ['"gate"', *(sample for exchange in exchanges for sample in exchange.executed())]
    report(exchanges, f"{delivery} to the activator", ran(cortexd), expected)


# --- what takes a moment of its own -----------------------------------------------------------------------------------
@pytest.mark.parametrize("version, fields", [("1.0", ""), ("1.1", "Host: h\r\nConnection: close\r\n")])
def test_a_line_break_behind_the_last_request_does_not_cost_its_answer(start, version, fields):
    """Old clients send one behind a POST (RFC 9112 2.2); a reset must not destroy the answer (9.6)."""
    cortexd = start(PREDICTOR)
    with cortexd.connect() as connection:
        connection.send(f'POST /d/a HTTP/{version}\r\n{fields}Content-Length: 6\r\n\r\n"gate"')
        wait_until((cortexd.folder / "ran").exists, "it runs")
        connection.send("\r\n")
        (cortexd.folder / "go").touch()
        assert connection.answer().status == 200


# --- the table itself -------------------------------------------------------------------------------------------------
def test_the_table_is_sound():
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids)), [case_id for case_id, count in Counter(ids).items() if count > 1]
    for case in CASES:
        assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9.-]+", case.id), case.id
        assert re.fullmatch(r"(9110|9112|3986|9113|8446|none)( \d+(\.\d+)*)?", case.rfc), case
        assert case.why and case.parts and all(isinstance(part, bytes) for part in case.parts), case
        assert bool(case.known) == bool(case.now), case
        for outcome in (case.outcome, *case.now.values()):
            assert isinstance(outcome, Outcome) and outcome.end in (OPEN, CLOSED, ASKED, CUT), case
            assert all(isinstance(answer, Answer) for answer in outcome.answers), case
            assert not any(answer.ran and answer.body is None for answer in outcome.answers), case
        if not case.known:  # the four ways must agree, so there is no choice
            assert all(isinstance(answer.status, int) for answer in case.outcome.answers), case
