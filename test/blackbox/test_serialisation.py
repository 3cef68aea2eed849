"""What becomes of the values of numpy and pandas: the shapes that Cortex gave them, in depth.

One predictor evaluates what it is sent, so that a table of expressions costs one start.
"""
import sys

import pytest

SITE = next(path for path in sys.path if path.endswith("site-packages"))
EVALUATE = f"""\
import sys

sys.path.append({SITE!r})
import numpy as np
import pandas as pd


def predict(sample, metadata):
    return eval(sample)
"""

NUMPY = [
    ("np.float64(1.5)", 1.5),
    ("np.float16(0.5)", 0.5),
    ("np.longdouble(1.5)", 1.5),
    ("np.uint64(2 ** 64 - 1)", 2**64 - 1),
    ("np.int8(-128)", -128),
    ("np.bool_(False)", False),
    ("np.complex64(1 + 2j)", [1.0, 2.0]),
    ("np.clongdouble(1 + 2j)", [1.0, 2.0]),
    ("np.bytes_(b'x')", "x"),
    ("np.array([])", []),
    ("np.array('x')", "x"),
    ("np.arange(8).reshape(2, 2, 2)", [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]),
    ("np.arange(6).reshape(2, 3).T", [[0, 3], [1, 4], [2, 5]]),
    ("np.arange(10)[::3]", [0, 3, 6, 9]),
    ("np.array([1, 2], dtype='>i4')", [1, 2]),
    ("np.array([True, False])", [True, False]),
    ("np.array(['a', 'é'])", ["a", "é"]),
    ("np.array([b'a'])", ["a"]),
    ("np.array([1 + 2j])", [[1.0, 2.0]]),
    ("np.array([1.5], dtype=np.longdouble)", [1.5]),
    ("np.array([{'a': np.int64(1)}, {1}, None], dtype=object)", [{"a": 1}, [1], None]),
    ("np.ma.array([1, 2, 3], mask=[0, 1, 0])", [1, None, 3]),
    ("np.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f4')])", [[1, 2.5]]),
    ("np.datetime64('2020-01-02T03:04:05')", "2020-01-02T03:04:05"),
    ("np.datetime64('NaT')", None),
    ("np.array(['2020-01-02', 'NaT'], dtype='M8[D]')", ["2020-01-02", None]),
    ("np.array(['2020-01-02T03:04:05.123456789'], dtype='M8[ns]')", ["2020-01-02T03:04:05.123456789"]),
    ("np.timedelta64(90, 's')", 90.0),
    ("np.array([[1500, 'NaT']], dtype='m8[ms]')", [[1.5, None]]),
    ("{np.int64(1): np.float32(0.5), np.str_('a'): {np.bool_(True): ()}}", {"1": 0.5, "a": {"true": []}}),
    ("[{np.int32(2): {np.uint8(3): np.arange(2)}}]", [{"2": {"3": [0, 1]}}]),
]

PANDAS = [
    ("pd.DataFrame({'x': [1, 2], 'y': ['a', None]})", {"index": [0, 1], "x": [1, 2], "y": ["a", None]}),
    ("pd.DataFrame({'x': [1.5]}, index=['first'])", {"index": ["first"], "x": [1.5]}),
    ("pd.DataFrame([[1, 2]])", {"index": [0], "0": [1], "1": [2]}),
    ("pd.DataFrame()", {"index": []}),
    ("pd.DataFrame({'x': [1, 2]}).iloc[1:]", {"index": [1], "x": [2]}),
    ("pd.DataFrame({'t': pd.to_datetime(['2020-01-02'])})", {"index": [0], "t": ["2020-01-02T00:00:00"]}),
    ("pd.Series(pd.to_datetime([None, None]))", {"index": [0, 1], "data": [None, None]}),
    ("pd.DataFrame({'n': pd.array([1, None], dtype='Int64')})", {"index": [0, 1], "n": [1, None]}),
    ("pd.DataFrame({'c': pd.Categorical(['b', 'a'])})", {"index": [0, 1], "c": ["b", "a"]}),
    ("pd.Series([1, 2], name='s')", {"index": [0, 1], "data": [1, 2]}),
    ("pd.Series({'a': 0.5})", {"index": ["a"], "data": [0.5]}),
    ("pd.Series([1], index=pd.to_datetime(['2020-01-02']))", {"index": ["2020-01-02T00:00:00"], "data": [1]}),
    ("pd.Series([1], index=pd.to_datetime(['2020-01-02'])).to_dict()", {"2020-01-02T00:00:00": 1}),
    ("pd.Series([1], index=pd.MultiIndex.from_tuples([('a', 1)]))", {"index": [["a", 1]], "data": [1]}),
    ("pd.Index(['a', 'b'])", ["a", "b"]),
    ("pd.RangeIndex(3)", [0, 1, 2]),
    ("pd.Categorical(['b', None])", ["b", None]),
    ("pd.array([True, None])", [True, None]),
    ("pd.Timestamp('2020-01-02 03:04', tz='UTC')", "2020-01-02T03:04:00+00:00"),
    ("pd.Timedelta('90s')", 90.0),
    ("pd.Period('2020-01')", "2020-01"),
    ("[pd.NaT, pd.NA]", [None, None]),
    ("pd.DataFrame({'x': [1]}).to_dict('records')", [{"x": 1}]),
]

REFUSED = [
    ("np.array([b'\\xff'])", "not UTF-8"),
    ("np.array([object()], dtype=object)", "type object"),
    ("pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([('a', 'b')]))", "not tuple"),
    ("pd.DataFrame({'x': [1]}).groupby('x')", "DataFrameGroupBy"),
    ("np", "type module"),
]


@pytest.mark.parametrize("table", [NUMPY, PANDAS], ids=["numpy", "pandas"])
def test_numpy_and_pandas_have_the_shapes_that_cortex_gave_them(start, table):
    cortexd = start(EVALUATE)
    with cortexd.connect() as connection:
        for expression, expected in table:
            answer = connection.post(cortexd.endpoint, expression)
            assert (expression, answer.status, answer.text) == (expression, 200, answer.text)
            assert (expression, answer.json()) == (expression, expected)


def test_what_json_cannot_hold_is_refused_by_name(start):
    cortexd = start(EVALUATE)
    cortexd.expect_error("cannot be converted to JSON")
    with cortexd.connect() as connection:
        for expression, reason in REFUSED:
            answer = connection.post(cortexd.endpoint, expression)
            assert (expression, answer.status) == (expression, 500)
            assert reason in answer.json()["error"]
        assert connection.post(cortexd.endpoint, "np.int64(1)").json() == 1


def test_debug_cuts_arrays(start):
    cortexd = start(EVALUATE)
    with cortexd.connect() as connection:
        for expression in ("np.arange(300.0).reshape(20, 15)", "[np.float32(0.5), pd.Series(range(999))]"):
            assert connection.post(cortexd.endpoint + "?debug=true", expression).status == 200
    line = cortexd.wait_log(r"prediction: (\[\[.*)$")[1]
    assert line.startswith("[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, ...], [15.0, ")
    assert line.endswith(", 144.0, ...], ...]") and "150.0" not in line
    line = cortexd.wait_log(r"prediction: (\[0\.5.*)$")[1]
    assert len(line) < 700


def test_numpy_is_not_imported_for_a_predictor_without_it(start):
    cortexd = start("import sys\n\n\ndef predict(sample, metadata):\n    return {1j}, sorted(sys.modules)\n")
    converted, modules = cortexd.post(0).json()
    assert converted == [[0.0, 1.0]]
    assert "numpy" not in modules and "pandas" not in modules


def test_a_large_array_and_a_large_table_go_through(start):
    cortexd = start(EVALUATE)
    assert cortexd.post("np.arange(500_000, dtype='f4')").json()[-1] == 499999.0
    assert len(cortexd.post("pd.DataFrame({'x': range(100_000)})").json()["x"]) == 100_000


def test_nan_among_floats_stays_nan(start):
    cortexd = start(EVALUATE)
    with cortexd.connect() as connection:
        for expression, text in (
            ("np.array([1, np.nan])", "[1.0,NaN]"),
            ("pd.DataFrame({'x': [1, None]})", '{"index":[0,1],"x":[1.0,NaN]}'),
            ("np.float32('inf')", "Infinity"),
        ):
            answer = connection.post(cortexd.endpoint, expression)
            assert (expression, answer.status, answer.text) == (expression, 200, text)
