"""What cortexd must do with requests, good and bad: one row per case, each with the section of the RFC that says so.

A case is the bytes that a client sends, and the outcome: the answers in their order, and how the connection ends. The
outcome is what the RFC demands (or, where it leaves a choice, what cortexd has chosen). Where cortexd does something
else, the row says so in `known`, with what it does in `now`; test_conformance.py fails when that changes. Nothing here
knows how the bytes are sent or who receives them.

It is one long file because it is one table: the sections go from the first line of a request to what is behind it.
The cases of a section stand in the order of the grammar, first what is valid.

The server has one api at /d/a whose predict returns its sample and whose max_body_size is 80Ki.
"""
from dataclasses import dataclass, field, replace

INDEX = b'{"message": "make a prediction by sending a post request to this endpoint with a json sample"}'
HEALTH = b'{"ok": true}'
MAX_BODY = 81920
MAX_TARGET = 8192
MAX_HEAD = 32768
MAX_FIELDS = 100

# How a connection ends.
OPEN = "stays open"  # and the follow-up request is answered
CLOSED = "is closed by the server"  # with care: no reset, so that the answer arrives; the follow-up must not run
ASKED = "is closed as the client asked"  # who sends a follow-up all the same may be reset; it must not run
CUT = "is ended by the client"  # after its last byte; no follow-up


# --- the words of a row -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Answer:
    status: int | tuple  # or several, where the RFC only demands one of them
    body: bytes | None = None  # None: any that is not empty
    predicted: bool = False  # it takes a replica to say so
    ran: bool = False  # predict was called, with `body` as its sample
    head: bool = False  # to a HEAD: only the length of the body
    kept: bool = False  # with Connection: keep-alive, as HTTP/1.0 needs it
    may: bool = False  # need not come

    @property
    def statuses(self):
        return self.status if isinstance(self.status, tuple) else (self.status,)

    @property
    def final(self):
        return self.statuses[0] >= 200

    def __str__(self):
        body = "" if self.body is None else f" {self.body[:60]!r}"
        return ("perhaps " if self.may else "") + " or ".join(map(str, self.statuses)) + body


@dataclass(frozen=True)
class Outcome:
    answers: tuple
    end: str

    def __str__(self):
        return ", ".join(map(str, self.answers)) + f"; the connection {self.end}"


@dataclass(frozen=True)
class Case:
    id: str
    parts: tuple  # sent with a pause between them, until something is answered
    outcome: Outcome
    rfc: str
    why: str
    known: str | None = None
    now: dict = field(default_factory=dict)  # by owner of the connection, those that differ

    def outcome_at(self, owner):
        return self.now.get(owner, self.outcome)


CASES = []
_section = None


def section(name):
    global _section
    _section = name


def case(name, request, outcome, rfc, why, known=None, now=None, only=None):
    """A row. request: text or bytes, or a tuple of them; known, now: see above; only: the owner that `now` is about."""
    parts = request if isinstance(request, tuple) else (request,)
    parts = tuple(part.encode("latin-1") if isinstance(part, str) else part for part in parts)
    owners = (only,) if only else ("replica", "activator")
    CASES.append(Case(f"{_section}/{name}", parts, outcome, rfc, why, known, dict.fromkeys(owners, now) if now else {}))


def echo(sample):
    """What predict makes of a sample that is JSON as Python would write it."""
    return Answer(200, sample.encode() if isinstance(sample, str) else sample, predicted=True, ran=True)


def opened(*answers):
    return Outcome(answers, OPEN)


def asked(*answers):
    return Outcome(answers, ASKED)


def refused(status, *before):
    return Outcome((*before, Answer(status)), CLOSED)


def cut(*answers):
    return Outcome(answers, CUT)


MALFORMED = Answer(400, b"malformed json", predicted=True)
UNSUPPORTED = Answer(415, predicted=True)
ONE = echo("[1]")
OK = Answer(200, HEALTH)
NOT_FOUND = Answer(404)
CONTINUE = Answer(100)
MAYBE_CONTINUE = Answer(100, may=True)
HEALTHY = opened(OK)
PREDICTED = opened(ONE)
BAD = refused(400)


# --- requests ---------------------------------------------------------------------------------------------------------
def head(line, *fields, host="h"):
    """A request line and its fields, all as they are, with the empty line."""
    hosts = [] if host is None else [f"Host: {host}"]
    return "".join(f"{text}\r\n" for text in (line, *hosts, *fields, ""))


def get(*fields, target="/healthz", host="h"):
    return head(f"GET {target} HTTP/1.1", *fields, host=host)


def get_1_0(*fields, host=None):
    return head("GET /healthz HTTP/1.0", *fields, host=host)


def post(*fields, body="[1]", target="/d/a", version="1.1"):
    """With the right length."""
    return head(f"POST {target} HTTP/{version}", *fields, f"Content-Length: {len(body)}") + body


def post_with(*fields, body="[1]"):
    """With these fields and no length but theirs."""
    return head("POST /d/a HTTP/1.1", *fields) + body


CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = "3\r\n[1]\r\n0\r\n\r\n"


def chunks(body, *fields):
    return post_with(*fields, CHUNKED, body=body)


SMUGGLED = post(body='"smuggled"')


# --- methods ----------------------------------------------------------------------------------------------------------
section("method")
case("get", get(), HEALTHY, "9110 9.3.1", "GET is one of the two methods that every server supports")
case(
    "head", head("HEAD /healthz HTTP/1.1"), opened(Answer(200, HEALTH, head=True)), "9110 9.3.2", "GET without content",
)
case("head-of-an-api", head("HEAD /d/a HTTP/1.1"), opened(Answer(200, INDEX, head=True)), "9110 9.3.2", "same length")
case(
    "head-of-nothing", head("HEAD /x HTTP/1.1"), opened(Answer(404, head=True)), "9110 9.3.2",
    "errors too have no body",
)
case("get-of-an-api", get(target="/d/a"), opened(Answer(200, INDEX)), "9110 9.3.1", "a hint")
case("post", post(), PREDICTED, "9110 9.3.3", "a prediction")
case("options-of-an-api", head("OPTIONS /d/a HTTP/1.1"), opened(Answer(204)), "9110 9.3.7", "with Allow")
case("options-of-healthz", head("OPTIONS /healthz HTTP/1.1"), opened(Answer(204)), "9110 9.3.7", "with Allow")
case("options-of-the-server", head("OPTIONS * HTTP/1.1"), opened(Answer(204)), "9112 3.2.4", "asterisk-form")
for name in ("PUT", "DELETE", "PATCH", "TRACE"):
    case(name.lower(), head(f"{name} /d/a HTTP/1.1"), opened(Answer(405)), "9110 15.5.6", "must send Allow")
case("put-of-healthz", head("PUT /healthz HTTP/1.1"), opened(Answer(405)), "9110 15.5.6", "must send Allow")
case("post-of-healthz", post(target="/healthz"), opened(Answer(405)), "9110 15.5.6", "its body is read and ignored")
case("put-with-a-body", head("PUT /d/a HTTP/1.1", "Content-Length: 3") + "[1]", opened(Answer(405)), "9112 6", "framed")
case("with-a-dash", head("M-SEARCH /d/a HTTP/1.1"), opened(Answer(405)), "9110 9.1", "a method is a token")
for name, method in (("unknown", "FLY"), ("lower-case", "get"), ("longer", "GETS"), ("shorter", "GE")):
    case(
        name, head(f"{method} /healthz HTTP/1.1"), refused(501), "9110 9.1",
        "a method that is not recognized should be answered with 501; names are case-sensitive",
        known="llhttp takes any method that it does not know for a syntax error", now=BAD,
    )
case(
    "of-another-protocol", head("DESCRIBE /healthz HTTP/1.1"), refused(501), "9110 9.1",
    "RTSP's methods mean nothing in HTTP",
    known="llhttp knows it, and refuses it with HTTP", now=BAD,
)
case(
    "long", head("A" * 200 + " /healthz HTTP/1.1"), refused(501), "9112 3",
    "a method longer than any that the server implements should be answered with 501",
    known="as with every unknown method", now=BAD,
)
case("missing", head(" /healthz HTTP/1.1"), BAD, "9112 3.1", "a method has at least one character")
for name, method in (("bracket", "GE(T"), ("quote", 'G"T'), ("control", "G\x01T"), ("nul", "G\0"), ("latin", "G\xc9T")):
    case(f"with-{name}", head(f"{method} /healthz HTTP/1.1"), BAD, "9110 5.6.2", "not a character of a token")

# --- versions ---------------------------------------------------------------------------------------------------------
section("version")
case("1.1", get(), HEALTHY, "9112 2.3", "what we are")
case("1.0", get_1_0(), asked(OK), "9112 9.3", "closes by default")
case("1.0-post", post(version="1.0"), asked(ONE), "9112 9.3", "closes by default")
for minor in (2, 9):
    case(
        f"1.{minor}", head(f"GET /healthz HTTP/1.{minor}"), HEALTHY, "9110 2.5",
        "a higher minor version should be processed as the highest one that is known",
        known="llhttp knows 0.9, 1.0, 1.1 and 2.0 only", now=refused(505),
    )
for number in ("0.9", "2.0", "3.0", "9.9"):
    case(number, head(f"GET /healthz HTTP/{number}"), refused(505), "9110 15.6.6", "another major version")
case("none", "GET /healthz\r\n\r\n", refused(505), "9110 15.6.6", "HTTP/0.9, as HTTP/1.0 still understood it")
case("none-with-fields", head("GET /healthz"), refused(505), "9112 3", "400 or, as here, that 0.9 is not spoken")
for name, text in (
    ("lower-case", "http/1.1"), ("no-name", "1.1"), ("no-slash", "HTTP1.1"), ("another-name", "HTCPCP/1.0"),
    ("https", "HTTPS/1.1"), ("gap-before-slash", "HTTP /1.1"), ("two-digits-major", "HTTP/11.1"),
    ("no-minor", "HTTP/1"), ("comma", "HTTP/1,1"), ("two-digits-minor", "HTTP/1.10"), ("leading-zero", "HTTP/01.1"),
    ("empty-minor", "HTTP/1."), ("empty-major", "HTTP/.1"), ("letter", "HTTP/1.x"), ("gap", "HTTP/ 1.1"),
    ("tail", "HTTP/1.1x"), ("more-words", "HTTP/1.1 HTTP/1.1"), ("space-behind", "HTTP/1.1 "),
    ("tab-behind", "HTTP/1.1\t"), ("bare-cr-behind", "HTTP/1.1\rX: y"), ("two-crs-behind", "HTTP/1.1\r"),
):
    case(
        name, head(f"GET /healthz {text}"), BAD, "9112 2.3",
        "HTTP in upper case, a slash, a digit, a dot and a digit; a bad request line should be answered with 400",
    )
for name, request in (("rtsp", get()), ("rtsp-post", post())):
    case(f"of-{name}", request.replace("HTTP/1.1", "RTSP/1.0"), BAD, "9112 2.3", "not HTTP at all")
case("of-icecast", get().replace("HTTP/1.1", "ICE/1.0"), BAD, "9112 2.3", "not HTTP at all")

# --- the white space of the request line ------------------------------------------------------------------------------
section("line")
case(
    "after-an-empty-line", "\r\n" + get(), HEALTHY, "9112 2.2",
    "should ignore at least one empty line before a request",
)
case("after-two-empty-lines", "\r\n\r\n" + post(), PREDICTED, "9112 2.2", "at least one")
case("empty-line-between", post() + "\r\n" + get(), opened(ONE, OK), "9112 2.2", "old clients put one behind a POST")
case("empty-lines-without-end", "\r\n" * 16400, refused(431), "9112 2.2", "they count as head, so they are bounded")
for name, text in (("target", "GET  /healthz HTTP/1.1"), ("version", "GET /healthz  HTTP/1.1")):
    case(f"spaces-before-{name}", head(text), BAD, "9112 3", "one space; to be lenient is allowed, and a risk")
for name, text in (
    ("tab-before-target", "GET\t/healthz HTTP/1.1"), ("tab-before-version", "GET /healthz\tHTTP/1.1"),
    ("form-feed", "GET\f/healthz HTTP/1.1"), ("vertical-tab", "GET /healthz\vHTTP/1.1"),
    ("bare-cr-as-space", "GET\r/healthz HTTP/1.1"), ("no-break-space", "GET\xa0/healthz HTTP/1.1"),
    ("space-before", " GET /healthz HTTP/1.1"), ("tab-before", "\tGET /healthz HTTP/1.1"),
    ("space-in-target", "GET /heal thz HTTP/1.1"), ("method-only", "GET"), ("method-and-space", "GET "),
):
    case(name, head(text), BAD, "9112 3", "not a valid request line")
case("no-target", head("GET HTTP/1.1"), BAD, "9112 3", "a request line has three parts")
case("bare-lf", get().replace("HTTP/1.1\r\n", "HTTP/1.1\n"), BAD, "9112 2.2", "a bare LF may be taken or refused")
case("bare-lf-before", "\n" + get(), BAD, "9112 2.2", "only CRLF is an empty line here")
case("bare-cr-before", "\r" + get(), BAD, "9112 2.2", "a bare CR is invalid or a space, and never an empty line")
case("lf-everywhere", get().replace("\r\n", "\n"), BAD, "9112 2.2", "may be taken or refused, but alike by everyone")
case("cr-everywhere", get().replace("\r\n", "\r") + "\r\n\r\n", BAD, "9112 2.2", "CR ends no line")
case("nul", "\0" + get(), BAD, "9112 3", "not a request line")
case("unfinished", "GET /heal", cut(), "9112 8", "an incomplete request is none; it may go without an answer")

# --- targets ----------------------------------------------------------------------------------------------------------
section("target")
for name, target in (
    ("root", "/"), ("of-nothing", "/x"), ("upper-case", "/HEALTHZ"), ("two-slashes", "//healthz"),
    ("dot", "/./healthz"), ("dot-dot", "/d/../healthz"), ("encoded-question-mark", "/healthz%3Fx"),
    ("encoded-line-break", "/healthz%0d%0aX:%20y"), ("parameter", "/healthz;x=y"), ("encoded-twice", "/%2568ealthz"),
):
    case(name, get(target=target), opened(NOT_FOUND), "9110 15.5.5", "another resource, and not there")
for name, target in (
    ("query", "/healthz?x=y"), ("empty-query", "/healthz?"),
    ("query-with-all-that-is-allowed", "/healthz?-._~!$&'()*+,;=:@/?%20"), ("slash-behind", "/healthz/"),
    ("percent", "/h%65althz"), ("percent-lower-case", "/health%7a"), ("percent-upper-case", "/health%7A"),
):
    case(
        name, get(target=target), HEALTHY, "9110 4.2.3",
        "unreserved characters equal their encoding; so we took the rest",
    )
case("encoded-slash", post(target="/d%2Fa"), PREDICTED, "3986 2.2", "not equivalent, but a server may treat it alike")
case("post-with-query", post(target="/d/a?x"), PREDICTED, "9112 3.2.1", "origin-form has a query")
for name, target in (("zz", "/%zz"), ("cut", "/healthz%"), ("cut-in-the-middle", "/healthz%4"), ("nul", "/healthz%00")):
    case(
        f"percent-{name}", get(target=target), opened(Answer(400)), "3986 2.1", "two hexadecimal digits, and not a NUL",
    )
case(
    "percent-zz-in-query", get(target="/healthz?%zz"), opened(Answer(400)), "3986 2.1",
    "not a valid target, which should be answered with 400",
    known="the query is looked at for debug=true only", now=HEALTHY,
)
for name, target in (
    ("quote", '/healthz?"'), ("angle-brackets", "/healthz?<x>"), ("braces", "/healthz?{x}"),
    ("square-brackets", "/healthz?x[]=1"), ("backslash", "/healthz?\\"), ("bar-and-caret", "/healthz?|^`"),
):
    case(
        name, get(target=target), BAD, "3986 2",
        "not a character of a URI, so not a valid request line, which should be answered with 400",
        known="llhttp takes any printable character, as browsers send some of them", now=HEALTHY,
    )
case(
    "fragment", get(target="/healthz#x"), BAD, "9112 3.2",
    "no form of a target has a fragment; a bad request line should be answered with 400",
    known="it is cut off", now=HEALTHY,
)
for name, character in (("latin", "\xe9"), ("utf-8", "\xc3\xa9"), ("control", "\x01"), ("nul", "\0"), ("del", "\x7f")):
    case(f"with-{name}", get(target=f"/healthz?{character}"), BAD, "3986 2", "not a character of a URI")
case("no-slash", get(target="healthz"), BAD, "9112 3.2.1", "origin-form begins with a slash")
case("only-query", get(target="?x"), BAD, "9112 3.2.1", "origin-form begins with a slash")
case("asterisk-with-get", get(target="*"), opened(NOT_FOUND), "9112 3.2.4", "only for OPTIONS; 400 would do as well")
case("asterisk-and-more", head("OPTIONS *x HTTP/1.1"), opened(Answer(400)), "9112 3.2.4", "the asterisk stands alone")

case("absolute", get(target="http://h/healthz"), HEALTHY, "9112 3.2.2", "a server must accept absolute-form")
case("absolute-post", post(target="http://h/d/a"), PREDICTED, "9112 3.2.2", "a server must accept absolute-form")
case("absolute-upper-case", get(target="HTTP://H/healthz"), HEALTHY, "3986 3.1", "schemes are case-insensitive")
case("absolute-port", get(target="http://h:80/healthz?x"), HEALTHY, "9112 3.2.2", "with a port")
case("absolute-ipv6", get(target="http://[::1]:80/healthz"), HEALTHY, "3986 3.2.2", "an IP-literal")
case("absolute-other-host", get(target="http://i/healthz"), HEALTHY, "9112 3.2.2", "Host must be ignored then")
case("absolute-no-host-field", get(target="http://h/healthz", host=None), BAD, "9112 3.2", "but must be there")
case(
    "absolute-no-path", get(target="http://h"), opened(NOT_FOUND), "9110 4.2.3", "an empty path is the same as a slash",
)
case(
    "absolute-options-no-path", head("OPTIONS http://h HTTP/1.1"), opened(Answer(404)), "9110 4.2.3",
    "as above; from a proxy it would be the asterisk (9112 3.2.4), but this is no proxy's next hop",
)
case(
    "absolute-no-authority", get(target="http:///healthz"), opened(Answer(400)), "9110 4.2.1",
    "an empty host must be rejected",
)
case(
    "absolute-userinfo", get(target="http://u:p@h/healthz"), opened(Answer(400)), "9110 4.2.4",
    "its presence should be treated as an error",
)
case(
    "absolute-https", get(target="https://h/healthz"), opened(Answer((400, 421))), "9110 7.4",
    "must be rejected on a connection that is not secured, unless it is from a trusted gateway",
    known="as if it always came from a trusted gateway", now=HEALTHY,
)
case("absolute-other-scheme", get(target="ftp://h/healthz"), opened(Answer(400)), "9110 7.4", "not ours")
case("absolute-one-slash", get(target="http:/healthz"), BAD, "9112 3.2.2", "http needs an authority")
case("authority", get(target="h:80"), BAD, "9112 3.2.3", "authority-form is for CONNECT")
case(
    "connect", head("CONNECT h:80 HTTP/1.1", host="h:80"), opened(Answer((405, 501))), "9110 9.1",
    "a good request with a method that is not implemented, or not allowed here",
    known="authority-form is taken for a malformed target", now=opened(Answer(400)),
)
case("connect-no-port", head("CONNECT h HTTP/1.1"), opened(Answer(400)), "9110 9.3.6", "must be rejected")
case(
    "connect-path", head("CONNECT /d/a HTTP/1.1"), opened(Answer(405)), "9112 3.2.3",
    "not authority-form; 400 would do as well",
)

LONGEST = "/healthz?".ljust(MAX_TARGET, "x")
case("longest", get(target=LONGEST), HEALTHY, "9112 3", "at least 8000 are recommended; here it is 8192")
case("too-long", get(target=LONGEST + "x"), refused(414), "9112 3", "must be answered with 414")
case("much-too-long", get(target=LONGEST * 3), refused(414), "9112 3", "must be answered with 414")
case("too-long-post", post(target="/d/a?" + "x" * MAX_TARGET), refused(414), "9112 3", "whatever the method")
case("too-long-and-no-end", "GET /" + "x" * MAX_TARGET, refused(414), "9112 3", "as soon as it is clear")

# --- fields -----------------------------------------------------------------------------------------------------------
section("field")
for name, line in (
    ("plain", "X: y"), ("empty-value", "X:"), ("blank-value", "X: \t "), ("no-space", "X:y"),
    ("much-space", "X: \t y \t "), ("tab-inside", "X: a\tb"), ("colons-inside", "X: a:b::c"),
    ("obs-text", "X: \x80\xff\xe9"), ("utf-8", "X: \xe2\x82\xac"), ("quoted", 'X: "a \\" b", (c)'),
    ("every-character-of-a-token", "!#$%&'*+-.^_`|~09azAZ: y"), ("upper-case", "USER-AGENT: y"),
    ("twice", "X: y\r\nX: z"), ("long-name", "X" * 1000 + ": y"), ("underscore-length", "Content_Length: 5"),
):
    case(name, post(line), PREDICTED, "9110 5.5", "a valid field that means nothing to us")
case("name-in-any-case", post_with("cONTENT-lENGTH: 3"), PREDICTED, "9110 5.1", "names are case-insensitive")
for name, line in (("space-before-colon", "X : y"), ("tab-before-colon", "X\t: y"), ("space-in-name", "X y: z")):
    case(name, post(line), BAD, "9112 5.1", "no white space between name and colon: must be 400")
for name, line in (
    ("no-name", ": y"), ("no-colon", "X"), ("bracket", "X(y: z"), ("quote", 'X"y": z'), ("slash", "X/y: z"),
    ("at", "X@y: z"), ("latin-name", "X\xe9: z"), ("nul-in-name", "X\0y: z"), ("control-in-name", "X\x01y: z"),
    ("del-in-name", "X\x7fy: z"),
):
    case(name, post(line), BAD, "9110 5.1", "a name is a token")
for name, line in (
    ("fold", "X: a\r\n b"), ("fold-with-tab", "X: a\r\n\tb"), ("fold-that-is-empty", "X: a\r\n  "),
    ("fold-of-length", "Content-Length:\r\n 3"), ("fold-of-coding", "Transfer-Encoding:\r\n chunked"),
):
    case(name, head("GET /healthz HTTP/1.1", line), BAD, "9112 5.2", "obsolete folding: 400, or replaced by a space")
case("fold-of-first-line", head(" X: y").join(("GET /healthz HTTP/1.1\r\n", "")), BAD, "9112 2.2", "reject or ignore")
for name, line in (
    ("bare-cr", "X: a\rb"), ("bare-cr-and-a-field", "X: a\rContent-Length: 5"), ("two-crs", "X: a\r"),
    ("cr-alone", "\r"), ("bare-cr-behind-colon", "X:\rContent-Length: 5"),
):
    case(name, post(line), BAD, "9112 2.2", "a bare CR is invalid, or a space; never the end of a line")
for name, line in (
    ("bare-lf", "X: a\nY: b"), ("bare-lf-and-length", "X: a\nContent-Length: 5"), ("bare-lf-behind-colon", "X:\nY: b"),
):
    case(name, post(line), BAD, "9112 2.2", "a bare LF may be taken or refused")
for name, end in (("lf", "\n"), ("lf-lf", "\n\n"), ("cr-cr-lf", "\r\r\n"), ("lf-crlf", "\n\r\n"), ("cr-x", "\rX")):
    request = "GET /healthz HTTP/1.1\r\nHost: h\r\n" + end
    case(f"end-with-{name}", request + "\r\n\r\n", BAD, "9112 2.1", "the empty line is CRLF and nothing else")
case("end-with-crlf-space", "GET /healthz HTTP/1.1\r\nHost: h\r\n \r\n\r\n", BAD, "9112 5.2", "a fold of nothing")
for name, value in (("nul", "a\0b"), ("nul-alone", "\0"), ("nul-behind", "a\0")):
    case(name, post(f"X: {value}"), BAD, "9110 5.5", "must be rejected or replaced")
for name, value in (("control", "a\x01b"), ("escape", "\x1b[0m"), ("vertical-tab", "\v"), ("del", "a\x7fb")):
    case(name, post(f"X: {value}"), BAD, "9110 5.5", "invalid; may be retained where it is safe")


def fields(count, first=2):
    """So many, counting Host and Content-Length."""
    return [f"X{i}: y" for i in range(count - first)]


case("most", post(*fields(MAX_FIELDS)), PREDICTED, "9110 5.4", "100 fields")
case("too-many", post(*fields(MAX_FIELDS + 1)), refused(431), "9110 5.4", "must be answered with a 4xx")
PADDING = MAX_HEAD - len(get("X: "))
case("longest-head", get("X: " + "y" * PADDING), HEALTHY, "9110 5.4", "32768 bytes with the empty line")
case("too-long-head", get("X: " + "y" * (PADDING + 1)), refused(431), "9110 5.4", "must be answered with a 4xx")
case("head-without-end", "GET / HTTP/1.1\r\nX: " + "y" * MAX_HEAD, refused(431), "9110 5.4", "as soon as it is clear")
case("name-without-end", "GET / HTTP/1.1\r\n" + "y" * MAX_HEAD, cut(Answer(431)), "9110 5.4", "as soon as it is clear")
case("unfinished", get()[:-2], cut(), "9112 8", "an incomplete request is none")

# --- Host -------------------------------------------------------------------------------------------------------------
section("host")
for name, host in (
    ("name", "example.org"), ("port", "h:8888"), ("empty-port", "h:"), ("ipv4", "127.0.0.1:80"), ("ipv6", "[::1]:80"),
    ("ip-future", "[v1.x]"), ("empty", ""), ("percent", "h%41"), ("punctuation", "a_b~c!$&'()*+,;="),
    ("of-somebody-else", "evil.example"),
):
    case(name, get(host=host), HEALTHY, "9110 7.2", "uri-host and perhaps a port; every name leads here")
case("missing", get(host=None), BAD, "9112 3.2", "must be answered with 400")
case("missing-post", post().replace("Host: h\r\n", ""), BAD, "9112 3.2", "must be answered with 400")
case("missing-1.0", get_1_0(), asked(OK), "9112 3.2", "HTTP/1.0 had no Host")
case("twice", get("Host: h"), BAD, "9112 3.2", "must be answered with 400")
case("twice-different", get("Host: i"), BAD, "9112 3.2", "must be answered with 400")
case("twice-in-other-case", get("hOST: h"), BAD, "9112 3.2", "must be answered with 400")
case("twice-1.0", get_1_0("Host: h", host="h"), BAD, "9112 3.2", "any request with more than one")
for name, host in (
    ("space", "a b"), ("list", "a, b"), ("path", "h/healthz"), ("userinfo", "u@h"), ("url", "http://h"),
    ("query", "h?x"), ("fragment", "h#x"), ("bad-port", "h:8x"), ("two-ports", "h:80:80"), ("open-bracket", "[::1"),
    ("not-an-address", "[x]"), ("bad-percent", "h%zz"), ("quote", '"h"'), ("backslash", "h\\i"), ("latin", "h\xe9"),
):
    case(f"with-{name}", get(host=host), BAD, "9112 3.2", "a Host with an invalid value must be answered with 400")

# --- Content-Length ---------------------------------------------------------------------------------------------------
section("length")
case("right", post(), PREDICTED, "9112 6.2", "framed by its length")
case("missing", post_with(body=""), opened(UNSUPPORTED), "9112 6.3", "then there is no body, and that is not JSON")
case("zero", post_with("Content-Length: 0", body=""), opened(UNSUPPORTED), "9112 6.3", "an empty body is not JSON")
case(
    "missing-1.0", head("POST /d/a HTTP/1.0"), asked(UNSUPPORTED), "9112 6.3",
    "nor is a request ended by the end of the connection",
)
case("leading-zeros", post_with("Content-Length: 0003"), PREDICTED, "9110 8.6", "1*DIGIT, so decimal")
case("many-leading-zeros", post_with(f"Content-Length: {'0' * 40}3"), PREDICTED, "9110 8.6", "1*DIGIT")
for name, value in (("space", "  3  "), ("tab-before", "\t3"), ("nothing", "3")):
    case(f"with-{name}", post_with(f"Content-Length:{value}"), PREDICTED, "9110 5.5", "OWS is no part of the value")
case(
    "with-tab-behind", post_with("Content-Length: 3\t"), PREDICTED, "9110 5.5", "OWS is no part of the value",
    known="llhttp takes a space there and no tab", now=BAD,
)
case("shorter", post_with("Content-Length: 2"), refused(400, UNSUPPORTED), "9112 6.3", "the rest is a bad next request")
case("longer", post_with("Content-Length: 4"), cut(), "9112 6.3", "incomplete when the client ends")
case("with-get", get("Content-Length: 3") + "[1]", HEALTHY, "9110 9.3.1", "content of a GET is framed and ignored")
case(
    "with-head", head("HEAD /healthz HTTP/1.1", "Content-Length: 3") + "[1]", opened(Answer(200, HEALTH, head=True)),
    "9110 9.3.2", "as of a GET",
)
case(
    "with-options", head("OPTIONS * HTTP/1.1", "Content-Length: 3") + "[1]", opened(Answer(204)), "9110 9.3.7",
    "framed",
)
case("of-nothing", post(target="/x"), opened(NOT_FOUND), "9112 6", "a body is framed whatever it is for")
for name, value in (
    ("empty", ""), ("blank", "  "), ("plus", "+3"), ("minus", "-3"), ("minus-zero", "-0"), ("hexadecimal", "0x3"),
    ("letter", "3a"), ("letter-before", "a3"), ("gap", "3 3"), ("tab-inside", "3\t3"), ("point", "3.0"),
    ("exponent", "3e0"), ("underscore", "0_3"), ("quotes", '"3"'), ("semicolon", "3;x"), ("vertical-tab", "\v3"),
    ("form-feed", "3\f"), ("nul", "3\0"), ("other-digits", "\xef\xbc\x93"), ("list-different", "3, 4"),
    ("list-with-junk", "3, x"), ("list-empty", ","), ("too-large-for-64-bits", "18446744073709551619"),
    ("much-too-large", "9" * 60),
):
    case(
        f"value-{name}", post_with(f"Content-Length: {value}"), BAD, "9112 6.3",
        "an invalid length must be 400 and the end",
    )
for name, value in (("equal", "3, 3"), ("with-empty-element", "3,"), ("three", "3,3,3")):
    case(f"list-{name}", post_with(f"Content-Length: {value}"), BAD, "9110 8.6", "must be rejected or replaced by one")
case(
    "twice", post_with("Content-Length: 3", "Content-Length: 3"), BAD, "9110 8.6",
    "must be rejected or replaced by one",
)
case("twice-different", post_with("Content-Length: 3", "Content-Length: 0"), BAD, "9112 6.3", "must be 400")
case("twice-in-other-case", post_with("Content-Length: 0", "CONTENT-LENGTH: 3"), BAD, "9112 6.3", "must be 400")
case("twice-with-get", get("Content-Length: 0", "Content-Length: 3") + "[1]", BAD, "9112 6.3", "whatever the method")
case("then-empty", post_with("Content-Length: 3", "Content-Length:"), BAD, "9112 6.3", "must be 400")
case("invalid-1.0", get_1_0("Content-Length: x"), BAD, "9112 6.3", "in every version")
case(
    "largest", post(body=f'"{"x" * (MAX_BODY - 2)}"'), opened(echo(f'"{"x" * (MAX_BODY - 2)}"')), "9110 15.5.14",
    "80Ki",
)
case("too-large", post_with(f"Content-Length: {MAX_BODY + 1}"), refused(413), "9110 15.5.14", "before it is sent")
case("too-large-for-32-bits", post_with(f"Content-Length: {2**32 + 3}"), refused(413), "9110 8.6", "no overflow")
case("too-large-for-63-bits", post_with(f"Content-Length: {2**63 + 3}"), refused(413), "9110 8.6", "no overflow")
case("largest-number", post_with(f"Content-Length: {2**64 - 1}"), refused(413), "9110 8.6", "no overflow")
case("too-large-with-get", get(f"Content-Length: {MAX_BODY + 1}"), refused(413), "9110 15.5.14", "whatever the method")
for name, line in (("healthz", "POST /healthz HTTP/1.1"), ("the-server", "OPTIONS * HTTP/1.1")):
    case(
        f"large-to-{name}", head(line, "Content-Length: 70000") + "x" * 70000, refused(413), "9110 15.5.14",
        "64 KiB for what is no api, whoever owns the connection",
    )
case(
    "large-to-nothing", post(target="/x", body="x" * 70000), refused(413), "9110 15.5.14",
    "64 KiB for what is not there",
)

# --- Transfer-Encoding ------------------------------------------------------------------------------------------------
section("coding")
for name, line in (
    ("chunked", "Transfer-Encoding: chunked"), ("capital", "Transfer-Encoding: Chunked"),
    ("upper-case", "TRANSFER-ENCODING: CHUNKED"), ("no-space", "Transfer-Encoding:chunked"),
    ("much-space", "Transfer-Encoding: \t chunked"), ("tab-before", "Transfer-Encoding:\tchunked"),
    ("space-behind", "Transfer-Encoding: chunked  "),
):
    case(name, post_with(line, body=CHUNKS), PREDICTED, "9112 7", "names of codings are case-insensitive")
case(
    "tab-behind", post_with("Transfer-Encoding: chunked\t", body=CHUNKS), PREDICTED, "9110 5.5",
    "OWS is no part of the value",
    known="llhttp takes a space there and no tab", now=BAD,
)
case("with-get", get(CHUNKED) + CHUNKS, HEALTHY, "9112 6.1", "content of a GET is framed and ignored")
case("with-put", head("PUT /d/a HTTP/1.1", CHUNKED) + CHUNKS, opened(Answer(405)), "9112 6.1", "framed")
case("of-nothing", head("POST /x HTTP/1.1", CHUNKED) + CHUNKS, opened(NOT_FOUND), "9112 6.1", "framed")
case(
    "list-with-empty-begin", post_with("Transfer-Encoding: , chunked", body=CHUNKS), PREDICTED, "9110 5.6.1.2",
    "empty elements of a list must be ignored",
)
case(
    "list-with-empty-end", post_with("Transfer-Encoding: chunked,", body=CHUNKS), PREDICTED, "9110 5.6.1.2",
    "empty elements of a list must be ignored",
    known="llhttp takes what follows for another coding", now=BAD,
)
for name, value in (("gzip", "gzip, chunked"), ("unknown", "x, chunked"), ("identity", "identity, chunked")):
    case(
        f"{name}-and-chunked", post_with(f"Transfer-Encoding: {value}", body=CHUNKS), refused(501), "9112 6.1",
        "not known",
    )
case(
    "gzip-then-chunked", post_with("Transfer-Encoding: gzip", CHUNKED, body=CHUNKS), refused(501), "9112 6.1",
    "not known",
)
case("twice", post_with(CHUNKED, CHUNKED, body=CHUNKS), BAD, "9112 6.1", "chunked at most once")
case("twice-in-a-list", post_with(CHUNKED + ", chunked", body=CHUNKS), BAD, "9112 6.1", "chunked at most once")
case("parameter", post_with(CHUNKED + ";x=y", body=CHUNKS), BAD, "9112 7.1", "should be treated as an error")
for name, value in (
    ("empty", ""), ("gzip", "gzip"), ("identity", "identity"), ("misspelt", "chunk"), ("letter-before", "xchunked"),
    ("letter-behind", "chunkedx"), ("gap", "chu nked"), ("quotes", '"chunked"'), ("apostrophes", "'chunked'"),
    ("dash", "-chunked"), ("two-words", "chunked gzip"), ("obs-text", "chunked\xa0"),
):
    case(
        f"not-chunked-{name}", post_with(f"Transfer-Encoding: {value}", body=CHUNKS), BAD, "9112 6.3",
        "chunked is not the final coding: must be 400, whatever else may be said about it",
    )
for name, lines in (
    ("gzip", ["Transfer-Encoding: chunked, gzip"]), ("identity", ["Transfer-Encoding: chunked, identity"]),
    ("identity-field", [CHUNKED, "Transfer-Encoding: identity"]), ("junk-field", [CHUNKED, "transfer-encoding: cow"]),
):
    case(
        f"chunked-then-{name}", post_with(*lines, body=CHUNKS), BAD, "9112 6.3", "chunked is not the final coding: 400",
    )
for name, line in (
    ("vertical-tab-before", "Transfer-Encoding: \vchunked"), ("form-feed-behind", "Transfer-Encoding: chunked\f"),
    ("nul-behind", "Transfer-Encoding: chunked\0"), ("control-before", "Transfer-Encoding:\x01chunked"),
    ("del", "Transfer-Encoding: chunked\x7f"), ("bare-cr", "Transfer-Encoding: \rchunked"),
    ("bare-lf", "Transfer-Encoding:\nchunked"), ("space-before-colon", "Transfer-Encoding : chunked"),
    ("space-before-name", " Transfer-Encoding: chunked"), ("nul-in-name", "Transfer\0-Encoding: chunked"),
    ("cr-in-name", "Transfer-\rEncoding: chunked"), ("hidden-by-cr", "X: y\rTransfer-Encoding: chunked"),
    ("hidden-by-lf", "X: y\nTransfer-Encoding: chunked"), ("folded-name", "X: y\r\n Transfer-Encoding: chunked"),
):
    case(
        f"veiled-{name}", post_with(line, body=CHUNKS), BAD, "9112 11.2",
        "one reader sees the coding, another does not",
    )
for name, line in (("underscore", "Transfer_Encoding: chunked"), ("prefix", "X-Transfer-Encoding: chunked")):
    case(f"veiled-{name}", post(line), PREDICTED, "9110 5.1", "another field, which means nothing")
case(
    "with-length", post_with(CHUNKED, "Content-Length: 3", body=CHUNKS), BAD, "9112 6.1",
    "rejected, or closed after it",
)
case(
    "behind-length", post_with("Content-Length: 3", CHUNKED, body=CHUNKS), BAD, "9112 6.1",
    "rejected, or closed after it",
)
case("with-length-zero", post_with("Content-Length: 0", CHUNKED, body=CHUNKS), BAD, "9112 6.1", "the same")
case("with-bad-length", post_with("Content-Length: x", CHUNKED, body=CHUNKS), BAD, "9112 6.1", "the same")
case("1.0", head("POST /d/a HTTP/1.0", CHUNKED) + CHUNKS, BAD, "9112 6.1", "framing is faulty: must be closed after it")
case(
    "1.0-kept", head("POST /d/a HTTP/1.0", CHUNKED, "Connection: keep-alive") + CHUNKS, BAD, "9112 6.1",
    "closed all the same",
)
case("1.0-with-length", head("POST /d/a HTTP/1.0", CHUNKED, "Content-Length: 3") + CHUNKS, BAD, "9112 6.1", "even then")

# --- chunks -----------------------------------------------------------------------------------------------------------
section("chunk")
LAST = "0\r\n\r\n"
TEN = '"ten  456"'
for name, text, sample in (
    ("one", CHUNKS, "[1]"), ("three", "1\r\n[\r\n1\r\n1\r\n1\r\n]\r\n" + LAST, "[1]"),
    ("upper-case-digit", f"A\r\n{TEN}\r\n" + LAST, TEN), ("lower-case-digit", f"a\r\n{TEN}\r\n" + LAST, TEN),
    ("leading-zeros", "0003\r\n[1]\r\n" + LAST, "[1]"),
    ("forty-leading-zeros", "0" * 40 + "3\r\n[1]\r\n" + LAST, "[1]"),
    ("last-of-many-zeros", "3\r\n[1]\r\n" + "0" * 40 + "\r\n\r\n", "[1]"),
):
    case(name, chunks(text), opened(echo(sample)), "9112 7.1", "1*HEXDIG, data, CRLF")
case(
    "looks-like-last", chunks('9\r\n[\r\n0\r\n\r\n]\r\n' + LAST), opened(echo("[0]")), "9112 7.1",
    "data is not looked at",
)
case("none", chunks(LAST), opened(UNSUPPORTED), "9112 7.1", "an empty body, which is not JSON")
for name, extension, now in (
    ("name", ";x", None), ("value", ";x=y", None), ("quoted", ';x="y"', None),
    ("quoted-semicolon", ';x="a;b= c"', None), ("quoted-obs-text", ';x="\xe9"', None),
    ("quoted-and-name", ';x="y";z', None), ("names", ";x;y", None), ("long", ";x=" + "y" * 500, None),
    ("value-and-name", ";x=y;z", BAD), ("quoted-escape", ';x="a\\"b"', BAD),
):
    case(
        f"extension-{name}", chunks(f"3{extension}\r\n[1]\r\n0{extension}\r\n\r\n"), PREDICTED, "9112 7.1.1",
        "unrecognized extensions must be ignored",
        known=now and "llhttp does not know all of the grammar", now=now,
    )
for name, extension in (
    ("before", " ;x=y"), ("behind-semicolon", "; x=y"), ("around-equals", ";x = y"), ("tab", "\t;x"),
):
    case(
        f"bad-white-space-{name}", chunks(f"3{extension}\r\n[1]\r\n{LAST}"), PREDICTED, "9112 7.1.1",
        "BWS, which must be parsed for and removed (9110 5.6.3)",
        known="llhttp in strict mode has no white space in chunk lines; other readers have been fooled with it",
        now=BAD,
    )
for name, extension in (
    ("empty", ";"), ("space-behind", " "), ("control", ";x=\x01"), ("nul", ";x=\0"), ("bare-cr", ";x\ry"),
    ("bare-lf", ";x\ny"), ("bare-lf-in-quotes", ';x="\n"'), ("line-break-in-quotes", ';x="\r\n"'),
    ("open-quote", ';x="y'),
):
    case(f"bad-extension-{name}", chunks(f"3{extension}\r\n[1]\r\n{LAST}"), BAD, "9112 7.1.1", "not in the grammar")
for name, extension in (("empty-second", ";x;;y"), ("no-name", ";=y"), ("no-value", ";x=")):
    case(
        f"bad-extension-{name}", chunks(f"3{extension}\r\n[1]\r\n{LAST}"), BAD, "9112 7.1.1", "not in the grammar",
        known="llhttp does not know all of the grammar; that the line ends with CRLF it does see to", now=PREDICTED,
    )
for name, size in (
    ("empty", ""), ("letter", "g"), ("plus", "+3"), ("minus", "-3"), ("0x", "0x3"), ("h-behind", "3h"),
    ("underscore", "0_3"), ("space-before", " 3"), ("tab-before", "\t3"), ("space-behind", "3 "), ("gap", "3 3"),
    ("comma", "3,"), ("quotes", '"3"'), ("nul", "3\0"), ("bare-cr", "3\r3"), ("overflow", "1" + "0" * 15 + "3"),
    ("long-overflow", "f" * 40), ("overflow-to-three", "1" + "0" * 16 + "3"),
):
    case(f"bad-size-{name}", chunks(f"{size}\r\n[1]\r\n{LAST}"), BAD, "9112 7.1", "1*HEXDIG, and no overflow")
case("largest-size", chunks("f" * 16 + "\r\n" + "x" * MAX_BODY + "x"), refused(413), "9112 7.1", "no overflow")
case(
    "too-large", chunks(f"{MAX_BODY:x}\r\n" + "x" * MAX_BODY + "\r\n1\r\nx\r\n" + LAST), refused(413), "9110 15.5.14",
    "counted over all chunks",
)
for name, text in (
    ("no-crlf-behind-data", "3\r\n[1]" + LAST), ("lf-behind-data", "3\r\n[1]\n" + LAST),
    ("cr-behind-data", "3\r\n[1]\r" + LAST), ("cr-x-behind-data", "3\r\n[1]\rX" + LAST),
    ("lf-behind-size", "3\n[1]\r\n" + LAST), ("cr-behind-size", "3\r[1]\r\n" + LAST),
    ("cr-cr-lf-behind-size", "3\r\r\n[1]\r\n" + LAST), ("data-longer", "3\r\n[1]x\r\n" + LAST),
    ("data-shorter", "4\r\n[1]\r\n" + LAST), ("lf-behind-last-size", "3\r\n[1]\r\n0\n\r\n"),
    ("lf-at-the-end", "3\r\n[1]\r\n0\r\n\n"), ("cr-x-at-the-end", "3\r\n[1]\r\n0\r\n\rX"),
    ("lf-lf-at-the-end", "3\r\n[1]\r\n0\n\n"), ("empty-line-before", "\r\n3\r\n[1]\r\n" + LAST),
    ("empty-line-between", "3\r\n[1]\r\n\r\n" + LAST), ("not-chunked-at-all", "[1]"),
):
    case(name, chunks(text), BAD, "9112 7.1", "size, CRLF, data, CRLF; nothing else ends a line")
case("no-last", chunks("3\r\n[1]\r\n"), cut(), "9112 8", "incomplete without the last chunk")
case("no-end", chunks("3\r\n[1]\r\n0\r\n"), cut(), "9112 8", "incomplete without the last empty line")

# --- trailers ---------------------------------------------------------------------------------------------------------
section("trailer")


def trailer(*lines):
    return chunks("3\r\n[1]\r\n0\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n")


for name, line in (
    ("one", "X: y"), ("two", "X: y\r\nX: z"), ("empty-value", "X:"), ("obs-text", "X: \xe9"), ("host", "Host: i"),
    ("content-type", "Content-Type: text/plain"), ("expect", "Expect: magic"), ("length", "Content-Length: 5"),
    ("connection", "Connection: close"),
):
    case(name, trailer(line), PREDICTED, "9110 6.5.1", "read and not merged into the header section")
case("announced", chunks("3\r\n[1]\r\n0\r\nX: y\r\n\r\n", "Trailer: X"), PREDICTED, "9110 6.6.2", "as it should be")
for name, value in (("chunked", "chunked"), ("gzip", "gzip")):
    case(
        f"coding-{name}", trailer(f"Transfer-Encoding: {value}"), BAD, "9110 6.5.1",
        "must not be sent, nor merged; refused",
    )
case("fold", trailer("X: a\r\n b"), BAD, "9112 5.2", "400, or replaced by a space")
for name, line in (
    ("begins-with-space", " X: y"), ("space-before-colon", "X : y"), ("no-colon", "X"), ("no-name", ": y"),
    ("bare-lf", "X: a\nY: b"), ("bare-cr", "X: a\rb"), ("nul", "X: a\0b"), ("control", "X: a\x01b"),
    ("latin-name", "\xe9: y"), ("request", "GET /healthz HTTP/1.1"),
):
    case(f"bad-{name}", trailer(line), BAD, "9112 7.1.2", "the syntax is that of the header section")
case("end-with-lf", chunks("3\r\n[1]\r\n0\r\nX: y\r\n\n"), BAD, "9112 2.2", "the empty line is CRLF here")
case("end-with-lf-lf", chunks("3\r\n[1]\r\n0\r\nX: y\n\n"), BAD, "9112 2.2", "the empty line is CRLF here")
case("most", trailer(*fields(MAX_FIELDS, 0)), PREDICTED, "9110 5.4", "100 fields")
case(
    "too-long", trailer("X: " + "y" * MAX_HEAD), refused(431), "9110 5.4",
    "as long as a header section, which limits.h promises",
)
case("too-many", trailer(*fields(MAX_FIELDS + 1, 0)), refused(431), "9110 5.4", "as many as in a header section")

# --- Expect -----------------------------------------------------------------------------------------------------------
section("expect")
EXPECT = "Expect: 100-continue"
WAITING = head("POST /d/a HTTP/1.1", EXPECT, "Content-Length: 3")
case("wait", (WAITING, "[1]"), opened(CONTINUE, ONE), "9110 10.1.1", "must be told to go on, or a final status")
case(
    "wait-upper-case", (WAITING.replace("100-c", "100-C"), "[1]"), opened(CONTINUE, ONE), "9110 10.1.1",
    "case-insensitive",
)
case("wait-chunked", (chunks("", EXPECT), CHUNKS), opened(CONTINUE, ONE), "9110 10.1.1", "whatever the framing")
case("body-follows", WAITING + "[1]", opened(MAYBE_CONTINUE, ONE), "9110 10.1.1", "may omit 100 when content has come")
case("chunks-follow", chunks(CHUNKS, EXPECT), opened(MAYBE_CONTINUE, ONE), "9110 10.1.1", "the same")
case("no-body", get(EXPECT), HEALTHY, "9110 10.1.1", "nothing to wait for")
case(
    "length-zero", post_with(EXPECT, "Content-Length: 0", body=""), opened(UNSUPPORTED), "9110 10.1.1",
    "nothing to wait for",
)
case(
    "twice-in-a-row", (WAITING, "[1]" + WAITING, "[1]"), opened(CONTINUE, ONE, MAYBE_CONTINUE, ONE), "9110 10.1.1",
    "each",
)
case(
    "too-large", head("POST /d/a HTTP/1.1", EXPECT, f"Content-Length: {MAX_BODY + 1}"), refused(413), "9110 10.1.1",
    "no 100",
)
case("bad-length", head("POST /d/a HTTP/1.1", EXPECT, "Content-Length: x"), BAD, "9110 10.1.1", "no 100")
case("with-get-and-body", (get(EXPECT, "Content-Length: 3"), "[1]"), opened(CONTINUE, OK), "9110 10.1.1", "any method")
case(
    "wait-of-nothing", (head("POST /x HTTP/1.1", EXPECT, "Content-Length: 3"), "[1]"), opened(CONTINUE, NOT_FOUND),
    "9110 10.1.1", "or 404 at once",
)
case(
    "wait-of-healthz", (head("POST /healthz HTTP/1.1", EXPECT, "Content-Length: 3"), "[1]"),
    opened(CONTINUE, Answer(405)), "9110 10.1.1", "or 405 at once",
)
case("other", post("Expect: magic"), refused(417), "9110 10.1.1", "may be answered with 417")
case("other-value", post("Expect: 100-continue=x"), refused(417), "9110 10.1.1", "may be answered with 417")
case("and-other", post("Expect: 100-continue, magic"), refused(417), "9110 10.1.1", "one that is not known is enough")
case("other-with-get", get("Expect: magic"), refused(417), "9110 10.1.1", "may be answered with 417")
case("two-fields", post(EXPECT, EXPECT), opened(MAYBE_CONTINUE, ONE), "9110 10.1.1", "a list of twice the same")
for name, value in (("empty", ""), ("twice-in-a-list", "100-continue, 100-continue"), ("comma", "100-continue,")):
    case(
        name, post(f"Expect: {value}"), opened(MAYBE_CONTINUE, ONE), "9110 10.1.1",
        "417 is for a member other than 100-continue, and there is none",
        known="not read as a list", now=refused(417),
    )
case("1.0", post(EXPECT, version="1.0"), asked(ONE), "9110 10.1.1", "must be ignored in HTTP/1.0")
case(
    "1.0-kept", post(EXPECT, "Connection: keep-alive", version="1.0"), opened(replace(ONE, kept=True)), "9110 10.1.1",
    "no 100",
)

# --- Connection -------------------------------------------------------------------------------------------------------
section("connection")
for name, line in (
    ("close", "Connection: close"), ("close-upper-case", "CONNECTION: CLOSE"),
    ("close-in-a-list", "Connection: x, close"), ("close-first", "Connection: close, x"),
    ("close-and-keep-alive", "Connection: keep-alive, close"),
    ("close-before-keep-alive", "Connection: close, keep-alive"),
    ("close-in-second-field", "Connection: x\r\nConnection: close"),
    ("close-in-first-field", "Connection: close\r\nConnection: x"), ("close-with-spaces", "Connection:  close  "),
    ("close-with-tab-before", "Connection:\tclose"), ("close-with-empty-elements", "Connection: ,, close ,"),
    ("close-without-space", "Connection: x,close,y"),
):
    case(name, get(line), asked(OK), "9112 9.6", "must close after the answer, and say so")
    if name in ("close", "close-in-a-list"):
        case(f"{name}-post", post(line), asked(ONE), "9112 9.6", "must close after the answer, and say so")
for name, line in (
    ("keep-alive", "Connection: keep-alive"), ("unknown", "Connection: x, y"), ("closed", "Connection: closed"),
    ("not-close", "Connection: not-close, xclose, close-x"), ("quoted", 'Connection: "close"'),
    ("empty", "Connection:"), ("te", "Connection: TE\r\nTE: trailers"),
    ("keep-alive-parameters", "Connection: keep-alive\r\nKeep-Alive: timeout=5, max=1"),
    ("names-host", "Connection: Host, Content-Length"),
):
    case(name, get(line), HEALTHY, "9112 9.3", "stays open")
case(
    "close-with-tab-behind", get("Connection: close\t"), asked(OK), "9110 5.5",
    "OWS is no part of the value, so this is close",
)
KEPT = opened(replace(OK, kept=True))
case("1.0-keep-alive", get_1_0("Connection: keep-alive"), KEPT, "9112 9.3", "HTTP/1.0 stays open when asked to")
case("1.0-keep-alive-upper-case", get_1_0("Connection: Keep-Alive"), KEPT, "9112 9.3", "options are case-insensitive")
case("1.0-keep-alive-in-a-list", get_1_0("Connection: x, keep-alive"), KEPT, "9112 9.3", "a list")
case("1.0-close", get_1_0("Connection: close"), asked(OK), "9112 9.3", "closes")
for name, value in (("keep-alive-and-close", "keep-alive, close"), ("close-and-keep-alive", "close, keep-alive")):
    case(
        f"1.0-{name}", get_1_0(f"Connection: {value}"), asked(OK), "9112 9.3", "close goes before keep-alive",
    )
case("1.0-unknown", get_1_0("Connection: x"), asked(OK), "9112 9.3", "closes")
case(
    "1.0-head-kept", head("HEAD /healthz HTTP/1.0", "Connection: keep-alive"),
    opened(Answer(200, HEALTH, head=True, kept=True)), "9112 9.3", "the same",
)
case(
    "1.0-proxy-keep-alive", get_1_0("Proxy-Connection: keep-alive"), asked(OK), "9112 9.3",
    "only Connection says whether it stays open",
)
case("error-then-close", get("Connection: close", target="/x"), asked(Answer(404)), "9112 9.6", "whatever the answer")
case(
    "close-and-head", head("HEAD /d/a HTTP/1.1", "Connection: close"), asked(Answer(200, INDEX, head=True)), "9112 9.6",
    "too",
)
case("close-and-options", head("OPTIONS * HTTP/1.1", "Connection: close"), asked(Answer(204)), "9112 9.6", "too")

# --- Upgrade ----------------------------------------------------------------------------------------------------------
section("upgrade")
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AA==")
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
case("websocket", get(*WEBSOCKET), HEALTHY, "9110 7.8", "a server may ignore it, and then answers as ever")
case("websocket-to-an-api", get(*WEBSOCKET, target="/d/a"), opened(Answer(200, INDEX)), "9110 7.8", "may be ignored")
case("h2c", get(*H2C), HEALTHY, "9110 7.8", "may be ignored")
case("h2c-post", post(*H2C), PREDICTED, "9110 7.8", "the body is framed as ever")
case("h2c-chunked", chunks(CHUNKS, *H2C), PREDICTED, "9110 7.8", "the body is framed as ever")
case("h2c-with-get-and-body", get(*H2C, "Content-Length: 3") + "[1]", HEALTHY, "9110 7.8", "the body is framed as ever")
case("and-close", get("Connection: upgrade, close", "Upgrade: x"), asked(OK), "9112 9.6", "close is obeyed")
case("alone", get("Upgrade: h2c"), HEALTHY, "9110 7.8", "without Connection it means nothing")
case("1.0", get_1_0("Connection: upgrade", "Upgrade: x"), asked(OK), "9110 7.8", "must be ignored in HTTP/1.0")
case(
    "connect-and-more", head("CONNECT h:80 HTTP/1.1", host="h:80") + get(), opened(Answer(400), OK), "9110 9.3.6",
    "no tunnel, so what follows is a request",
)

# --- pipelining -------------------------------------------------------------------------------------------------------
section("pipeline")
LARGE = f'"{"x" * 70000}"'
case("two", get() + get(), opened(OK, OK), "9112 9.3.2", "answers in the order of the requests")
case(
    "posts", post(body="1") + post(body="2") + post(body="3"), opened(echo("1"), echo("2"), echo("3")), "9112 9.3.2",
    "in order",
)
case(
    "twenty", "".join(post(body=str(i)) for i in range(20)), opened(*(echo(str(i)) for i in range(20))), "9112 9.3.2",
    "in order",
)
case(
    "of-all-kinds",
    get() + post() + head("HEAD /d/a HTTP/1.1") + get(target="/x") + chunks(CHUNKS) + head("PUT /d/a HTTP/1.1"),
    opened(OK, ONE, Answer(200, INDEX, head=True), NOT_FOUND, ONE, Answer(405)), "9112 9.3.2", "in order",
)
case("large-behind", post() + post(body=LARGE), opened(ONE, echo(LARGE)), "9112 9.3.2", "more than is read ahead")
case("large-before", post(body=LARGE) + post() + get(), opened(echo(LARGE), ONE, OK), "9112 9.3.2", "in order")
case(
    "readyz-between", post() + get(target="/readyz") + post(body="2"), opened(ONE, OK, echo("2")), "9112 9.3.2",
    "in order",
)
case(
    "malformed-between", post() + post("Content-Type: application/json", body="{") + post(),
    opened(ONE, MALFORMED, ONE), "9112 9.3.2", "not an error of framing",
)
case("valid-then-bad", post() + "BAD\r\n\r\n", refused(400, ONE), "9112 9.3.2", "what was valid is answered")
case("two-then-bad", get() + get() + get("X : y"), refused(400, OK, OK), "9112 9.3.2", "what was valid is answered")
case("valid-then-no-host", post() + get(host=None), refused(400, ONE), "9112 9.3.2", "what was valid is answered")
case(
    "valid-then-too-large", post() + post_with(f"Content-Length: {MAX_BODY + 1}"), refused(413, ONE), "9112 9.3.2",
    "the same",
)
case("bad-then-valid", get("X : y") + SMUGGLED, BAD, "9112 9.3.2", "nothing behind an error is believed")
case("bad-then-valid-post", post("X: \0") + SMUGGLED, BAD, "9112 9.3.2", "nothing behind an error is believed")
case(
    "close-then-valid", get("Connection: close") + SMUGGLED, asked(OK), "9112 9.6", "nothing behind close is processed",
)
case("1.0-then-valid", get_1_0() + SMUGGLED, asked(OK), "9112 9.3", "nothing behind HTTP/1.0 is processed")
case("valid-then-half", post() + get()[:-1], cut(MAYBE_CONTINUE, ONE), "9112 8", "half a request is none")
case(
    "half-closed", post() + post(body="2"), cut(MAYBE_CONTINUE, ONE, MAYBE_CONTINUE, echo("2")), "9112 9.6",
    "who only reads on is answered",
)

# --- smuggling --------------------------------------------------------------------------------------------------------
# What is inside a body, or behind a request that could be read in two ways, must never run. (That CONNECT is a 400 is
# another matter: target/connect.)
section("smuggle")
INSIDE = f"Content-Length: {len(SMUGGLED)}"
HEX = f"{len(SMUGGLED):x}\r\n{SMUGGLED}\r\n" + LAST
for name, line, extra, outcome in (
    ("a-get", "GET /healthz HTTP/1.1", [], HEALTHY),
    ("a-head", "HEAD /d/a HTTP/1.1", [], opened(Answer(200, INDEX, head=True))),
    ("options", "OPTIONS * HTTP/1.1", [], opened(Answer(204))),
    ("a-delete", "DELETE /d/a HTTP/1.1", [], opened(Answer(405))),
    ("a-put", "PUT /healthz HTTP/1.1", [], opened(Answer(405))), ("nothing", "POST /x HTTP/1.1", [], opened(NOT_FOUND)),
    ("readyz", "GET /readyz HTTP/1.1", [], HEALTHY), ("a-bad-target", "GET /%zz HTTP/1.1", [], opened(Answer(400))),
    ("a-post", "POST /d/a HTTP/1.1", [], opened(UNSUPPORTED)),
    ("another-type", "POST /d/a HTTP/1.1", ["Content-Type: text/plain"], opened(UNSUPPORTED)),
    ("json", "POST /d/a HTTP/1.1", ["Content-Type: application/json"], opened(MALFORMED)),
    ("an-upgrade", "GET /healthz HTTP/1.1", H2C, HEALTHY),
    ("connect", "CONNECT h:80 HTTP/1.1", [], opened(Answer(400))),
):
    case(f"in-the-body-of-{name}", head(line, *extra, INSIDE) + SMUGGLED, outcome, "9112 6.3", "content, not a request")
    case(f"in-chunks-of-{name}", head(line, *extra, CHUNKED) + HEX, outcome, "9112 7.1", "content, not a request")
for name, extra, body in (
    ("cl-te", ["Content-Length: 6", CHUNKED], LAST + "X" + SMUGGLED),
    ("cl-te-whole", [f"Content-Length: {len(LAST + SMUGGLED)}", CHUNKED], LAST + SMUGGLED),
    ("te-cl", [CHUNKED, "Content-Length: 4"], HEX), ("te-cl-whole", [CHUNKED, INSIDE], LAST + SMUGGLED),
    ("cl-cl", [INSIDE, "Content-Length: 0"], SMUGGLED), ("cl-0", ["Content-Length: 0", INSIDE], SMUGGLED),
    ("te-tab-colon", ["Transfer-Encoding\t: chunked", INSIDE], LAST + SMUGGLED),
    ("te-after-lf", ["X: y\nTransfer-Encoding: chunked", INSIDE], LAST + SMUGGLED),
    ("te-after-cr", ["X: y\rTransfer-Encoding: chunked", INSIDE], LAST + SMUGGLED),
    ("length-after-cr", [f"X: y\r{INSIDE}"], SMUGGLED),
    ("length-space-colon", [f"Content-Length : {len(SMUGGLED)}"], SMUGGLED),
    ("length-plus", [f"Content-Length: +{len(SMUGGLED)}"], SMUGGLED),
    ("length-list", [f"Content-Length: 0, {len(SMUGGLED)}"], SMUGGLED),
):
    case(name, post_with(*extra, body=body), BAD, "9112 11.2", "two lengths, or one that not everybody sees")
for name, extra, status in (
    ("te-te", [CHUNKED, "Transfer-Encoding: x"], 400), ("te-comma", [CHUNKED + ","], 400),
    ("te-x-chunked", ["Transfer-Encoding: x, chunked"], 400),
):
    request = post_with(*extra, INSIDE, body=LAST + SMUGGLED)
    case(name, request, refused(status), "9112 11.2", "a coding that not everybody knows, and a length")
case(
    "te-x", post_with("Transfer-Encoding: xchunked", INSIDE, body=LAST + SMUGGLED), BAD, "9112 6.3",
    "chunked is not the final coding: must be 400",
)
case("te-1.0", head("POST /d/a HTTP/1.0", CHUNKED, "Content-Length: 5") + LAST + SMUGGLED, BAD, "9112 6.1", "faulty")
for name, request in (
    ("behind-lf-lf", "GET /healthz HTTP/1.1\nHost: h\n\n" + SMUGGLED),
    ("behind-cr-x", "GET /healthz HTTP/1.1\r\nHost: h\r\nX: y\r\n\rZ" + SMUGGLED),
    ("in-a-fold", "GET /healthz HTTP/1.1\r\nHost: h\r\nX: y\r\n " + SMUGGLED),
    ("in-a-field", get("X: y" + SMUGGLED.replace("\r\n", "\n"))),
):
    case(name, request, BAD, "9112 11.2", "an end that not everybody sees")
case(
    "in-an-encoded-target", get(target="/x%20HTTP/1.1%0d%0aHost:%20h%0d%0a%0d%0aGET%20/"), opened(NOT_FOUND),
    "9112 11.1", "taken apart before it is decoded",
)
for name, body in (
    ("in-an-extension", f"3;x\n{SMUGGLED[:20]}\r\n[1]\r\n" + LAST),
    ("in-an-extension-with-cr", "3;x\r\rX\r\n[1]\r\n" + LAST + SMUGGLED),
    ("short-chunk", "2\r\n[1]\r\n" + LAST + SMUGGLED), ("long-chunk", "5\r\n[1]\r\n" + LAST + SMUGGLED),
    ("size-overflow", "10000000000000003\r\n[1]\r\n" + LAST + SMUGGLED),
    ("size-0x", "0x3\r\n[1]\r\n" + LAST + SMUGGLED), ("trailer-lf-lf", "0\r\nX: y\n\n" + SMUGGLED),
):
    case(name, chunks(body), BAD, "9112 7.1", "a chunk, or a body, whose end not everybody sees")
case(
    "trailer-length", chunks(f"3\r\n[1]\r\n0\r\n{INSIDE}\r\n\r\n") + get(), opened(ONE, OK), "9112 7.1.2",
    "a length in a trailer frames nothing",
)
case(
    "behind-413", post_with(f"Content-Length: {MAX_BODY + 1}", body=SMUGGLED), refused(413), "9110 15.5.14",
    "a body that was not read",
)
case("behind-417", post("Expect: magic", body=SMUGGLED), refused(417), "9110 10.1.1", "a body that was not read")
case(
    "behind-414", head("POST /d/a?" + "x" * MAX_TARGET + " HTTP/1.1", INSIDE) + SMUGGLED, refused(414), "9112 3",
    "a body that was not read",
)
case(
    "behind-501", post_with("Transfer-Encoding: gzip, chunked", body=HEX), refused(501), "9112 6.1",
    "a body that was not read",
)
case(
    "behind-505", head("POST /d/a HTTP/2.0", INSIDE) + SMUGGLED, refused(505), "9110 15.6.6",
    "a body that was not read",
)
case("behind-the-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED, refused(505), "9113 3.4", "not our protocol")
case(
    "legal-second-request", chunks(CHUNKS) + post(body='"not smuggled"'), opened(ONE, echo('"not smuggled"')),
    "9112 9.3.2", "what is really behind a body is the next request",
)

# --- paths, content, and what else a request may say ------------------------------------------------------------------
section("path")
case(
    "readyz", get(target="/readyz"), HEALTHY, "9110 9.3.1", "every api has a replica that is ready, even if it is busy",
)
case(
    "readyz-head", head("HEAD /readyz HTTP/1.1"), opened(Answer(200, HEALTH, head=True)), "9110 9.3.2",
    "GET without content",
)
case("readyz-options", head("OPTIONS /readyz HTTP/1.1"), opened(Answer(204)), "9110 9.3.7", "with Allow")
case("readyz-post", post(target="/readyz"), opened(Answer(405)), "9110 15.5.6", "must send Allow")
for name, method, target in (
    ("below-healthz", "GET", "/healthz/x"), ("beside-the-api", "POST", "/d/ab"), ("below-the-api", "POST", "/d/a/b"),
    ("above-the-api", "POST", "/d"), ("api-in-upper-case", "POST", "/D/A"), ("options-of-nothing", "OPTIONS", "/x"),
    ("put-of-nothing", "PUT", "/x"),
):
    case(name, head(f"{method} {target} HTTP/1.1", "Content-Length: 0"), opened(NOT_FOUND), "9110 15.5.5", "not there")
case("api-with-slash", post(target="/d/a/"), PREDICTED, "3986 6.2.3", "by our own rule the same")
case("api-encoded", post(target="/%64/%61"), PREDICTED, "9110 4.2.3", "unreserved characters equal their encoding")

section("type")
for name, value in (
    ("json", "application/json"), ("json-charset", "application/json; charset=utf-8"),
    ("json-upper-case", "APPLICATION/JSON;CHARSET=UTF-8"), ("json-suffix", "application/vnd.x.y+json"), ("any", "*/*"),
    ("any-application", "application/*"), ("empty", ""), ("form", "application/x-www-form-urlencoded"),
):
    case(name, post(f"Content-Type: {value}"), PREDICTED, "9110 8.3", "JSON, or may be JSON and is")
for name, value in (
    ("text", "text/plain"), ("csv", "text/csv"), ("xml", "application/xml"),
    ("multipart", "multipart/form-data; boundary=x"), ("jsonp", "application/jsonp"), ("text-json", "text/json"),
    ("json-in-a-parameter", "text/plain; x=application/json"), ("nonsense", "json"),
):
    case(f"not-{name}", post(f"Content-Type: {value}"), opened(UNSUPPORTED), "9110 15.5.16", "another format")
for name, value in (("any", "*/*"), ("form", "application/x-www-form-urlencoded")):
    case(
        f"{name}-and-no-json", post(f"Content-Type: {value}", body="a=b"), opened(UNSUPPORTED), "9110 15.5.16",
        "nor is it JSON",
    )
case("missing-and-no-json", post(body="a=b"), opened(UNSUPPORTED), "9110 15.5.16", "nor is it JSON")
case(
    "json-and-no-json", post("Content-Type: application/json", body="a=b"), opened(MALFORMED), "9110 15.5.1",
    "it says it is",
)
case(
    "form-chunked", post_with("Content-Type: application/x-www-form-urlencoded", CHUNKED, body=CHUNKS), PREDICTED,
    "9110 8.3", "as with a length",
)
case(
    "not-text-chunked", post_with("Content-Type: text/plain", CHUNKED, body=CHUNKS), opened(UNSUPPORTED),
    "9110 15.5.16", "as with a length",
)
case("in-a-trailer", trailer("Content-Type: text/plain"), PREDICTED, "9110 6.5.1", "must not be merged")

section("body")
JSON = "Content-Type: application/json"
for name, sample in (
    ("object", '{"a":[1,2.5,null,true,"x"]}'), ("text", '"x"'), ("number", "-1.5"), ("null", "null"),
    ("escape", '"\\u00e9"'), ("over-a-block", f'"{"x" * 16400}"'), ("over-64-kib", LARGE),
):
    case(name, post(JSON, body=sample), opened(echo(sample)), "9110 6.4", "any JSON")
case("white-space", post(JSON, body=" \r\n\t[1]\n "), PREDICTED, "9110 6.4", "white space around JSON")
case("one-large-chunk", chunks(f"{len(LARGE):x}\r\n{LARGE}\r\n{LAST}"), opened(echo(LARGE)), "9112 7.1", "as it is")
case(
    "many-chunks", chunks('1\r\n"\r\n' + "".join(f"1f4\r\n{'x' * 500}\r\n" for _ in range(140)) + '1\r\n"\r\n' + LAST),
    opened(echo(f'"{"x" * 70000}"')), "9112 7.1", "moved together",
)
for name, body in (
    ("open", '{"x": '), ("single-quotes", "{'x': 1}"), ("two-values", "[1] 2"), ("bad-utf-8", '"\xff"'), ("nul", "\0"),
    ("comma", "[1,]"), ("control", '"\x01"'), ("gzip", "\x1f\x8b\x08\0\0\0\0\0"), ("deep", "[" * 20000),
):
    case(f"bad-{name}", post(JSON, body=body), opened(MALFORMED), "9110 15.5.1", "not JSON")
case("empty", post(JSON, body=""), opened(MALFORMED), "9110 15.5.1", "not JSON")
case("empty-chunked", chunks(LAST, JSON), opened(MALFORMED), "9110 15.5.1", "not JSON")
case("unfinished", post(JSON)[:-1], cut(), "9112 8", "an incomplete request is never run")
case("unfinished-large", post(JSON, body="1" * 20000)[:-1], cut(), "9112 8", "an incomplete request is never run")

section("semantics")
for name, line, where in (
    ("range", "Range: bytes=0-1", "14.2"), ("accept", "Accept: text/html", "12.5.1"),
    ("accept-nothing", "Accept: */*;q=0", "12.5.1"),
    ("accept-encoding", "Accept-Encoding: gzip, identity;q=0", "12.5.3"),
    ("if-none-match", 'If-None-Match: "x"', "13.1.2"),
    ("if-modified-since", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", "13.1.3"),
    ("bad-date", "Date: yesterday", "6.6.1"), ("authorization", "Authorization: Basic eDp5", "11.6.2"),
    ("max-forwards", "Max-Forwards: 0", "7.6.2"), ("via", "Via: 1.0 x", "7.6.3"),
    ("origin", "Origin: https://example.org", "5.1"), ("forwarded", "X-Forwarded-For: ::1", "5.1"),
    ("cookie", "Cookie: " + "; ".join(f"c{i}=x" for i in range(50)), "5.1"),
):
    case(name, get(line), HEALTHY, f"9110 {where}", "may be ignored, and is")
case("content-encoding", post("Content-Encoding: gzip"), PREDICTED, "9110 8.4", "may be refused; here it means nothing")
case(
    "max-forwards-of-options", head("OPTIONS * HTTP/1.1", "Max-Forwards: 0"), opened(Answer(204)), "9110 7.6.2",
    "we are the last",
)
case(
    "preflight", head("OPTIONS /d/a HTTP/1.1", "Origin: https://x", "Access-Control-Request-Method: POST"),
    opened(Answer(204)), "9110 9.3.7", "what a browser asks before it posts",
)

# --- not HTTP ---------------------------------------------------------------------------------------------------------
section("alien")
case("nothing", "", cut(), "9112 8", "who says nothing is told nothing")
case("http-2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(505), "9113 3.4", "the preface is made to fail here")
case(
    "http-2-frames", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", refused(505), "9113 3.4",
    "whatever follows",
)
HELLO = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + bytes(range(32)) + b"\x00\x00\x02\x13\x01\x01\x00\x00\x00"
case("tls", HELLO, BAD, "8446 4.1.2", "a ClientHello is not a request line")
case("ssh", "SSH-2.0-x\r\n", BAD, "9112 3", "not a request line")
case("socks", b"\x05\x01\x00", BAD, "9112 3", "not a request line")
case("proxy-protocol", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + get(), BAD, "9112 3", "not a request line")
case("redis", "*1\r\n$4\r\nPING\r\n", BAD, "9112 3", "not a request line")
case("smtp", "EHLO x\r\nMAIL FROM:<x>\r\n", BAD, "9112 3", "not a request line")
case("a-response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BAD, "9112 2.1", "a response is no request")
case("nuls", b"\0" * 100, BAD, "9112 3", "not a request line")
case("noise", bytes((i * 167 + 13) % 256 for i in range(200)), BAD, "9112 3", "not a request line")
case("byte-order-mark", b"\xef\xbb\xbf" + get().encode(), BAD, "9112 2.2", "messages are octets, not text")
case("utf-16", get().encode("utf-16-le"), BAD, "9112 2.2", "messages are octets, not text")
