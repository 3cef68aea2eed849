"""The table "HTTP behaviour of an endpoint", row by row, with a raw socket and with curl."""
import json

import pytest

PREDICTOR = """\
    class Unknown:
        pass


    def predict(sample, metadata):
        if sample == "raise":
            raise ValueError("no such flower")
        if sample == "unserialisable":
            return {"answer": [Unknown()]}
        return {"sample": sample, "metadata": metadata}
"""
RAISED = "prediction failed: error in predictor.py: predict: no such flower"
UNSERIALISABLE = "error in predictor.py: the prediction cannot be converted to JSON"
INDEX = {"message": "make a prediction by sending a post request to this endpoint with a json sample"}


@pytest.fixture(params=["raw", "curl"])
def ask(request, start):
    """ask(method, path, body, content_type) by one of the two clients, of one cortexd."""
    cortexd = start(PREDICTOR, metadata={"unit": "cm"})

    def raw(method, path=cortexd.endpoint, body=None, content_type="application/json"):
        headers = {"Content-Type": content_type} if content_type is not None and body is not None else {}
        with cortexd.connect() as connection:
            return connection.request(method, path, body, headers)

    def curl(method, path=cortexd.endpoint, body=None, content_type="application/json"):
        options = {"HEAD": ["--head"], "GET": []}.get(method, ["-X", method])
        if body is not None:
            (cortexd.folder / "body").write_bytes(body)
            options += ["--data-binary", f"@{cortexd.folder}/body"]
            options += ["-H", f"Content-Type:{' ' + content_type if content_type is not None else ''}"]
        return cortexd.curl(*options, path=path)

    ask = raw if request.param == "raw" else curl
    ask.cortexd = cortexd
    return ask


def test_post_json_gives_the_return_value_as_json(ask):
    answer = ask("POST", body=b'{"x": [1, 2.5, null, true, "\xc3\xa9"]}')
    assert answer.status == 200
    assert answer.json() == {"sample": {"x": [1, 2.5, None, True, "é"]}, "metadata": {"unit": "cm"}}


@pytest.mark.parametrize("body", [b'{"x": ', b"", b"{'x': 1}", b"[1] 2", b'"\xff"', b"NaN1"])
def test_a_body_that_is_not_json_is_400_malformed_json(ask, body):
    answer = ask("POST", body=body)
    assert answer.status == 400
    assert answer.text.strip() == "malformed json"
    assert answer.header("content-type").startswith("text/plain")


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", "application/problem+json"]
    + [None, "*/*", "application/*", "application/x-www-form-urlencoded"],
)
def test_json_is_taken_under_every_type_that_may_mean_it(ask, content_type):
    assert ask("POST", body=b"[1]", content_type=content_type).json()["sample"] == [1]


@pytest.mark.parametrize(
    "content_type, body",
    [
        ("text/plain", b"[1]"),
        ("text/csv", b"1,2"),
        ("application/xml", b"<a/>"),
        ("image/png", b"PNG"),
        ("application/jsonp", b"[1]"),
        (None, b"a,b"),
        ("*/*", b"a,b"),
        ("application/x-www-form-urlencoded", b"a=b&c=d"),
    ],
)
def test_another_content_type_is_415_and_says_what_to_send(ask, content_type, body):
    answer = ask("POST", body=body, content_type=content_type)
    assert answer.status == 415
    assert "application/json" in answer.text


def test_an_exception_in_predict_is_406_with_its_message_and_the_traceback_only_in_the_log(ask):
    ask.cortexd.expect_error(RAISED)
    answer = ask("POST", body=b'"raise"')
    assert answer.status == 406
    assert answer.text.strip() == "prediction failed: error in predictor.py: predict: no such flower"
    ask.cortexd.wait_log(r"Traceback \(most recent call last\)")
    ask.cortexd.wait_log(r"predictor\.py\", line \d+, in predict")
    ask.cortexd.wait_log(r"ValueError: no such flower")
    assert ask("POST", body=b"1").status == 200


def test_a_return_value_that_is_no_json_is_500_with_an_error_that_names_the_type(ask):
    ask.cortexd.expect_error(UNSERIALISABLE)
    answer = ask("POST", body=b'"unserialisable"')
    assert answer.status == 500
    assert "Unknown" in json.dumps(answer.json())


def test_get_says_how_to_predict(ask):
    answer = ask("GET")
    assert answer.status == 200
    assert answer.json() == INDEX


def test_head_is_get_without_the_body(ask):
    answer = ask("HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.header("content-length")) == len(ask("GET").body)


def test_healthz(ask):
    answer = ask("GET", "/healthz")
    assert answer.status == 200
    assert answer.json() == {"ok": True}


@pytest.mark.parametrize("path", ["/", "/d", "/d/a/b", "/d/aa", "/D/A", "/healthz/x", "/d%2fb", "/favicon.ico"])
def test_an_unknown_path_is_404(ask, path):
    assert ask("GET", path).status == 404
    assert ask("POST", path, body=b"1").status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_a_method_that_does_not_exist_here_is_405_and_names_those_that_do(ask, method):
    answer = ask(method)
    assert answer.status == 405
    assert {"GET", "HEAD", "OPTIONS", "POST"} == set(answer.header("allow").split(", "))


def test_the_preflight_of_a_browser_is_answered(ask):
    answer = ask("OPTIONS")
    assert answer.status in (200, 204)
    assert "POST" in answer.header("access-control-allow-methods")
    assert answer.header("access-control-allow-headers") == "*"


def test_every_answer_may_be_read_by_any_page(ask):
    ask.cortexd.expect_error(RAISED)
    ask.cortexd.expect_error(UNSERIALISABLE)
    answers = [ask("POST", body=body) for body in (b"1", b"{", b'"raise"', b'"unserialisable"')]
    answers += [ask("POST", body=b"1", content_type="text/plain")]
    answers += [ask(method, path) for method in ("GET", "HEAD", "OPTIONS", "PUT") for path in ("/d/a", "/healthz", "/x")]
    assert {answer.status for answer in answers} >= {200, 400, 404, 405, 406, 415, 500}
    for answer in answers:
        assert answer.header("access-control-allow-origin") == "*", answer
        assert answer.header("access-control-allow-headers") == "*", answer


def test_debug_logs_sample_and_prediction_cut(ask):
    sample = {"list": list(range(50)), "text": "x" * 2000, "inner": {str(i): [i] for i in range(30)}}
    assert ask("POST", "/d/a?debug=true", body=json.dumps(sample).encode()).status == 200
    line = ask.cortexd.wait_log(r"(?<=sample: ).*$")[0]
    ask.cortexd.wait_log(r"prediction: ")
    assert "x" * 500 in line and "x" * 501 not in line
    assert "9, ...]" in line and "49" not in line and "'29'" not in line


@pytest.mark.parametrize("query", ["", "?debug=false", "?debug", "?xdebug=true", "?a=b&c=d"])
def test_without_debug_nothing_of_the_sample_is_logged(ask, query):
    assert ask("POST", f"/d/a{query}", body=b'{"secret": "pssst"}').status == 200
    ask.cortexd.wait_log(r"200 POST /d/a")
    assert "pssst" not in ask.cortexd.log() and "sample:" not in ask.cortexd.log()


def test_the_status_line_of_every_prediction_is_logged(ask):
    ask.cortexd.expect_error(RAISED)
    ask.cortexd.expect_error(UNSERIALISABLE)
    for body in (b"1", b"{", b'"raise"', b'"unserialisable"', b"2"):
        ask("POST", body=body)
    for status, count in ((200, 2), (400, 1), (406, 1), (500, 1)):
        ask.cortexd.wait_log(rf"replica a/0: {status} POST /d/a [\d.]+ ms$", count=count)
