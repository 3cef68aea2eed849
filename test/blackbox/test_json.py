"""Samples and predictions: what goes in and comes out, over HTTP."""
import json
import math
import sys
from pathlib import Path

import pytest

SITE = next(path for path in sys.path if path.endswith("site-packages"))


def echo(start, expression, preamble=""):
    return start(f"{preamble}\n\n\ndef predict(sample, metadata):\n    return {expression}\n")


@pytest.mark.parametrize(
    "text",
    ["null", "true", "0", "-0.0", "1e308", "123456789012345678901234567890", "3.141592653589793", '""', '"\\u00e9\\ud83d\\ude00"',
     '"\\u0000"', "[]", "{}", '{"a": {"b": [1, {"c": null}]}}', '  [1 ,2]\r\n', '"\u2028"', '{"": 1}', '[[[[[[]]]]]]', "-1", "1E5"],
)  # fmt: skip
def test_json_goes_through_unchanged(start, text):
    answer = echo(start, "sample").post(text.encode())
    assert answer.json() == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[1,]", "{'a': 1}", "01", "1.", ".5", "+1", "tru", "[1] x", '"\t"', '"\\x41"', "\ufeff[1]x", "0x10", '{"a" 1}', '{"a":1,}',
     "nul", '"', "\x00", "[1}", "1e", "--1", "Infinit", "undefined"],
)  # fmt: skip
def test_what_is_not_json_is_400(start, text):
    answer = echo(start, "sample").post(text.encode())
    assert (answer.status, answer.text.strip()) == (400, "malformed json")


@pytest.mark.parametrize("body", [b'"\xff"', b'"\xc0\x80"', b'{"\xe9": 1}'])
def test_what_is_not_utf_8_is_400(start, body):
    assert echo(start, "sample").post(body).status == 400


def test_the_last_of_equal_keys_wins(start):
    assert echo(start, "sample").post(b'{"a": 1, "a": 2}').json() == {"a": 2}


def test_integers_of_any_size(start):
    cortexd = echo(start, "[sample, sample + 1, -sample]")
    for number in (2**53, 2**63 - 1, 2**63, 2**64, 10**100, 10**4000):
        sys.set_int_max_str_digits(0)
        assert cortexd.post(str(number).encode()).json() == [number, number + 1, -number]


def test_surrogates_do_not_break_anything(start):
    cortexd = echo(start, "sample")
    answer = cortexd.post(b'"\\ud800"')
    assert answer.status in (200, 400, 500)
    if answer.status == 500:
        cortexd.expect_any_error()
    assert cortexd.post(b'"ok"').json() == "ok"


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_as_pythons_json_has_them_on_the_way_in(start, literal):
    assert echo(start, "repr(sample)").post(literal.encode()).json() == repr(float(literal))


@pytest.mark.parametrize(
    "expression, text",
    [("float('nan')", "NaN"), ("[float('inf')]", "[Infinity]"), ("{'a': float('-inf')}", '{"a":-Infinity}')],
)
def test_nan_and_infinity_are_as_pythons_json_has_them_on_the_way_out(start, expression, text):
    answer = echo(start, expression).post(1)
    assert (answer.status, answer.text) == (200, text)


@pytest.mark.parametrize(
    "preamble, expression, expected",
    [
        ("", "(1, [2, (3,)])", [1, [2, [3]]]),
        ("", "{3, 1, 2}", [1, 2, 3]),
        ("", "{1: 'a', None: 'b', True: 'c', 2.5: 'd'}", {"1": "c", "null": "b", "2.5": "d"}),
        ("", "b'text'", "text"),
        ("import datetime", "datetime.date(2020, 2, 29)", "2020-02-29"),
        ("import datetime", "datetime.datetime(2020, 2, 29, 1, 2, 3)", "2020-02-29T01:02:03"),
        ("import datetime", "datetime.time(1, 2, 3)", "01:02:03"),
        ("import decimal", "decimal.Decimal('1.5')", 1.5),
        ("import pathlib", "pathlib.Path('/a/b')", "/a/b"),
        ("class C:\n    def __json_encode__(self):\n        return {'x': 1}", "[C()]", [{"x": 1}]),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')", "P(1, 2)", [1, 2]),
        ("from collections import OrderedDict, defaultdict", "[OrderedDict(a=1), defaultdict(int, b=2)]", [{"a": 1}, {"b": 2}]),
        ("import enum\nclass E(enum.IntEnum):\n    A = 5", "[E.A][0] + 0", 5),
        ("class S(str): pass", "S('sub')", "sub"),
        ("", "None", None),
        ("", "'é😀\\u2028'", "é😀\u2028"),
        ("", "10 ** 30", 10**30),
        ("", "True", True),
    ],
)
def test_python_values_become_json(start, preamble, expression, expected):
    assert echo(start, expression, preamble).post(0).json() == expected


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("np.float32(0.5)", 0.5),
        ("np.int64(7)", 7),
        ("np.bool_(True)", True),
        ("np.str_('s')", "s"),
        ("np.array([[1, 2], [3, 4]])", [[1, 2], [3, 4]]),
        ("np.array([1.5, 2.5], dtype='float16')", [1.5, 2.5]),
        ("np.array(3)", 3),
        ("np.zeros((2, 0))", [[], []]),
        ("{'a': np.arange(3), 'b': [np.float64(1.0)]}", {"a": [0, 1, 2], "b": [1.0]}),
        ("np.array(sample)[::-1].T", [3, 2, 1]),
        ("pd.Series([1, 2]).tolist()", [1, 2]),
        ("pd.DataFrame({'x': [1, 2]}).to_dict('list')", {"x": [1, 2]}),
        ("pd.Timestamp('2020-01-02')", "2020-01-02T00:00:00"),
    ],
)
def test_numpy_and_pandas_values_become_json(start, expression, expected):
    preamble = f"import sys\nsys.path.append({SITE!r})\nimport numpy as np\nimport pandas as pd\n"
    assert Path(SITE, "numpy").is_dir()
    assert echo(start, expression, preamble).post([1, 2, 3]).json() == expected


@pytest.mark.parametrize(
    "preamble, expression, word",
    [
        ("", "object()", "object"),
        ("", "lambda: 1", "function"),
        ("", "{'deep': [{'er': iter([])}]}", "iterator"),
        ("", "{(1, 2): 3}", "tuple"),
        ("", "b'\\xff'", "bytes"),
        ("import re", "re.compile('x')", "Pattern"),
        ("class C:\n    def __json_encode__(self):\n        raise KeyError('inner')", "C()", "inner"),
        ("class C:\n    def __json_encode__(self):\n        return self", "C()", ""),
        ("loop = []\nloop.append(loop)", "loop", "itself"),
        ("", "'\\ud800'", ""),
    ],
)
def test_what_has_no_json_form_is_500_and_the_replica_lives(start, preamble, expression, word):
    cortexd = echo(start, f"1 if sample else {expression}", preamble)
    pid = cortexd.replicas()
    answer = cortexd.post(0)
    if answer.status == 200:
        assert expression == "'\\ud800'"
    else:
        cortexd.expect_error("cannot be converted to JSON")
        assert answer.status == 500
        assert word in answer.json()["error"]
    assert cortexd.post(1).json() == 1
    assert cortexd.replicas() == pid


def test_floats_come_back_exactly(start):
    floats = [math.pi, 1 / 3, 5e-324, 1.7976931348623157e308, 0.1, 1e22, -0.0, 123456789.123456789]
    answer = echo(start, "sample").post(floats)
    assert [x.hex() for x in answer.json()] == [x.hex() for x in floats]


def test_the_answer_is_compact_or_plain_json_in_utf_8(start):
    answer = echo(start, "sample").post({"é": ["x", 1]})
    assert json.loads(answer.body.decode("utf-8")) == {"é": ["x", 1]}
