"""The Python side of a replica.

Embedded in cortexd-replica (support.c) and executed once by interpreter.c, before any code of the user. C calls these
functions where speed does not matter: starting a predictor or what serves a model (handlers/), describing what went
wrong, converting values that the json module does not know. Nothing is imported or looked up later that user code could have replaced by then.

numpy and pandas are never imported here: a value of theirs can only exist once the predictor has imported them.
"""
import atexit
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import importlib.machinery
import importlib.util
import inspect
import itertools
import json
import os
import pathlib
import re
import signal  # noqa: F401  only to be imported now, see interpreter_start
import sys
import traceback
import types
from json.encoder import encode_basestring_ascii as _quote

MESSAGE_BYTES = 800  # of one message for people; fits struct error with its prefix
LOG_BYTES = 4000  # of one text for the log, message and traceback together; the log would cut the end of a longer one
LOG_MESSAGE_BYTES = 1600  # of what comes before a traceback
TRACEBACK_HEAD_BYTES = 800  # the start of a traceback that is cut; its end gets what is left of LOG_BYTES
PREVIEW_BYTES = 3800  # of one debug line
PREVIEW_ELEMENTS = 10  # per container
PREVIEW_ELEMENTS_ALL = 1000  # per debug line: nested containers multiply
PREVIEW_CHARACTERS = 500  # per string
PREVIEW_DEPTH = 50

_GLUE = ("<cortexd>", "<frozen importlib")
_ARGUMENTS = {
    "predict": ("sample", "metadata"),
    "init": ("model_path", "metadata"),
    "pre_inference": ("sample", "signature", "metadata"),
    "post_inference": ("prediction", "signature", "metadata"),
}
_NUMBERS = {2: "two", 3: "three"}
# What serves a kind of model, and what to write into requirements.txt for it.
_RUNTIMES = {"onnx": ("onnxruntime", "onnxruntime"), "tensorflow": ("tensorflow", "tensorflow or tensorflow-cpu")}
_STANDARD_MODULES = getattr(sys, "stdlib_module_names", sys.builtin_module_names)  # the former since 3.10
_BREAKS = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")


# --- text -----------------------------------------------------------------------------------------------------------


def _cut(text, limit):
    """An exact str that encodes to at most limit bytes (and three dots), whatever subclass or surrogates text has."""
    whole = str.__getitem__(text, slice(limit + 1)).encode("utf-8", "backslashreplace")
    if len(whole) <= limit:
        return whole.decode()
    return whole[:limit].decode("utf-8", "ignore") + "..."


def _one_line(text, limit=MESSAGE_BYTES):
    return _BREAKS.sub(" ", _cut(text, limit)).strip()


def _message(exception):
    """What the exception says, on one line; "" when it says nothing or cannot say it."""
    try:
        return _one_line(str(exception))
    except BaseException:
        return ""


def _describe(exception):
    message = _message(exception)
    name = _one_line(type(exception).__name__, 100)
    return f"{name}: {message}" if message else name


def _type_name(value):
    kind = type(value)
    name = _one_line(kind.__qualname__, 200)
    return name if kind.__module__ == "builtins" else f"{_one_line(str(kind.__module__), 200)}.{name}"


def _user_traceback(exception):
    """The first frame that is not cortexd's own."""
    frames = exception.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_GLUE):
        frames = frames.tb_next
    return frames


def _format_traceback(exception, room=LOG_BYTES):
    """The traceback as text without the frames of cortexd, its middle cut when it is longer than room bytes."""
    try:
        report = traceback.TracebackException(type(exception), exception, _user_traceback(exception))
        text = "".join(report.format()).rstrip()
    except BaseException:
        return _describe(exception)
    whole = text.encode("utf-8", "backslashreplace")
    if len(whole) <= room:
        return whole.decode()
    gap = "\n  [...]\n"
    tail = room - TRACEBACK_HEAD_BYTES - len(gap)
    return whole[:TRACEBACK_HEAD_BYTES].decode("utf-8", "ignore") + gap + whole[-tail:].decode("utf-8", "ignore")


def _with_traceback(text, exception):
    text = _cut(text, LOG_MESSAGE_BYTES)
    return f"{text}\n{_format_traceback(exception, LOG_BYTES - len(text.encode()) - 1)}"


# --- start and stop -------------------------------------------------------------------------------------------------


handlers = {}  # the texts of handlers/, by name; interpreter.c sets it


class _StartError(Exception):
    """A function is not what the replica can call, or a model cannot be served; the text is the whole message."""


class _Now:
    """Whose code runs, for messages: a file, and a function of it or ""."""

    __slots__ = ("file", "name")


_now = _Now()
_now.file, _now.name = None, "predict"


def prepare(*folders):
    """Once, before user code: what the folders hold is importable, output appears line by line.

    Nothing is written into the folders: a bytecode file would outlive a change within the same second, and a reload would
    bring the old code back.
    """
    sys.path[:0] = folders
    sys.dont_write_bytecode = True
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None when its descriptor is closed
            stream.reconfigure(line_buffering=True)


def _execute(path):
    """Run the implementation file as a module that pickle and dataclasses find under its name."""
    name = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0])
    if name in _STANDARD_MODULES or name in sys.modules:
        name = "cortex_" + name
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path, loader=loader))
    sys.modules[name] = module
    # Not from a cache, which tells versions apart by size and by seconds.
    exec(loader.source_to_code(loader.get_data(path), path), module.__dict__)
    return module


def _any(test, function):
    return test(function) or test(getattr(type(function), "__call__", None))


def _checked(module, name):
    """The function of that name after checking that it can be called; None when there is none."""
    arguments = _ARGUMENTS[name]
    expected = f"{name}({', '.join(arguments)})"
    function = getattr(module, name, None)
    if function is None:
        return None
    if not callable(function):
        raise _StartError(f"{name} must be a function: expected {expected}, found type {_type_name(function)}")
    if _any(inspect.iscoroutinefunction, function) or _any(inspect.isasyncgenfunction, function):
        raise _StartError(
            f"{name} must not be async: expected def {expected}; use asyncio.run() inside it to await something"
        )
    if _any(inspect.isgeneratorfunction, function):
        raise _StartError(
            f"{name} must not be a generator: expected {expected} that returns its result instead of yielding it"
        )
    try:
        signature = inspect.signature(function)
        found = _one_line(f"{name}{signature}", 300)
    except Exception:
        return function  # a builtin that does not tell
    try:
        signature.bind(*arguments)
    except TypeError:
        number = _NUMBERS[len(arguments)]
        raise _StartError(f"{name} must take {number} arguments: expected {expected}, found {found}") from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in signature.parameters.values() if p.kind in positional]
    if any(found_name in arguments and found_name != argument for found_name, argument in zip(names, arguments)):
        raise _StartError(f"the arguments of {name} are swapped: expected {expected}, found {found}")
    return function


def _place(exception, path):
    """ "line 7: " when the implementation file took part, else ""."""
    line = None
    if isinstance(exception, SyntaxError) and exception.filename == path:
        line = exception.lineno
    else:
        for frame, number in traceback.walk_tb(exception.__traceback__):
            if frame.f_code.co_filename == path:
                line = number
    return f"line {line}: " if line else ""


def _start_error(path, e):
    """(None, one line for people, traceback or "")"""
    if isinstance(e, _StartError):
        return None, _one_line(f"error in {_now.file}: {e}"), ""
    if isinstance(e, SyntaxError) and e.filename == path:
        what = f"{type(e).__name__}: {_one_line(str(e.msg))}"
    else:
        what = _describe(e)
    stage = f"{_now.name}: " if _now.name else ""
    return None, f"error in {_now.file}: {stage}{_place(e, path)}{what}", _format_traceback(e)


class _Predictor:
    """A file with predict and, if there is something to do before, init."""

    def __init__(self, path, model_path):
        self.model_path = model_path
        self.module = _execute(path)
        if _checked(self.module, "predict") is None:
            raise _StartError("predict(sample, metadata) is missing; define it at the top level of the file")
        _checked(self.module, "init")

    def start(self, metadata):
        """(predict, the same when what passes is to be logged, the signature of the model or None)"""
        init = _checked(self.module, "init")
        if init is not None:
            _now.name = "init"
            init(self.model_path, metadata)
            _now.name = ""
        predict = _checked(self.module, "predict")
        if predict is None:
            raise _StartError("init() removed predict(sample, metadata)")
        _now.file, _now.name = None, "predict"
        return predict, predict, None


def _load_handler(name):
    """A file of handlers/ as a module."""
    module = types.ModuleType(f"cortexd_{name}")
    sys.modules[module.__name__] = module
    exec(compile(handlers[name], f"<cortexd>/{name}.py", "exec"), module.__dict__)
    return module


class _Model:
    """A model, and the functions that a request handler has for before and after it."""

    def __init__(self, path, implementation, kind, model_path, signature_key, show):
        self.implementation, self.path, self.signature_key = implementation, model_path, signature_key
        self.show = lambda what, value: show(what, preview(value))
        _now.file = self.file = _one_line(os.path.basename(model_path)) if model_path else "the model"
        if model_path is None:
            raise _StartError("it is not on this machine")
        self._import(kind)
        _now.file = implementation
        self.module = _execute(path) if path else None
        self._functions()

    def _import(self, kind):
        runtime, package = _RUNTIMES[kind]
        try:
            self.common = _load_handler("model")
            self.common.StartError = _StartError
            self.handler = _load_handler(kind)
        except ModuleNotFoundError as e:
            if e.name not in (runtime, "numpy"):  # which every runtime brings along
                raise
            raise _StartError(f"{runtime} is not installed; add {package} to requirements.txt") from None

    def _functions(self):
        if self.module is None:
            return None, None
        return _checked(self.module, "pre_inference"), _checked(self.module, "post_inference")

    def start(self, metadata):
        """As _Predictor.start."""
        _now.file = self.file
        model = self.handler.load(self.path, self.signature_key)
        _now.file = self.implementation or self.file
        pre, post = self._functions()
        make = self.common.make_predict
        predict = make(model, self.file, self.implementation, pre, post, _now, None)
        shown = make(model, self.file, self.implementation, pre, post, _now, self.show)
        return predict, shown, json.dumps(self.common.signature(model.inputs))


def load_predictor(folder, subject, implementation, kind, metadata_json, model_path, signature_key, show):
    """Run the file, and import what the model needs. (loaded, None, None), or (None, error, traceback or "")."""
    path = os.path.join(folder, implementation) if implementation else None
    _now.file, _now.name = subject, ""
    try:
        metadata = json.loads(metadata_json)
        if kind == "predictor":
            loaded = _Predictor(path, model_path)
        else:
            loaded = _Model(path, implementation, kind, model_path, signature_key, show)
        return (loaded, subject, path, metadata), None, None
    except BaseException as e:
        return _start_error(path, e)


def start_predictor(loaded):
    """Call init, or load the model.

    ((predict, the same when what passes is to be logged, metadata, signature), None, None), or (None, error, traceback or "").
    """
    loaded, subject, path, metadata = loaded
    _now.file, _now.name = subject, ""
    try:
        predict, shown, signature = loaded.start(metadata)
        freeze()
        return (predict, shown, metadata, signature), None, None
    except BaseException as e:
        return _start_error(path, e)


def freeze():
    """The model and the modules live as long as the process: collections during requests need not walk them
    (https://docs.python.org/3/library/gc.html#gc.freeze), nor write into the pages that replicas share with their template."""
    gc.collect()
    gc.freeze()


def seed_copy():
    """In a replica that was forked: no two may draw the same numbers. The random module sees to itself."""
    random = sys.modules.get("numpy.random")
    try:
        if random is not None:
            random.seed()
    except BaseException:
        pass  # it is the user's to have broken


def run_exit_hooks(run=atexit._run_exitfuncs):
    try:
        run()
    except BaseException:
        pass  # 3.9 reports the hook's exception and raises it again


def flush():
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:
            pass  # closed, replaced or broken: nothing to write to


# --- what went wrong with a request ---------------------------------------------------------------------------------


def prediction_failed(implementation, exception):
    """(text for the client, text for the log)"""
    message = _message(exception) or _one_line(type(exception).__name__, 100)
    text = f"prediction failed: error in {_now.file or implementation}: {_now.name}: {message}"
    return text, _with_traceback(text, exception)


def conversion_failed(implementation, exception):
    """The prediction has no JSON form: (JSON for the client, text for the log)."""
    message = _message(exception)
    has_traceback = False
    if isinstance(exception, RecursionError):
        reason = "it is nested too deeply"
    elif message == "Circular reference detected":
        reason = "it contains itself"
    elif isinstance(exception, _NoConversion) or message.startswith("keys must be "):
        reason = message
    else:
        reason = _describe(exception)
        has_traceback = _user_traceback(exception) is not None
    text = f"the prediction cannot be converted to JSON: {reason}"
    log_text = f"error in {implementation}: {text}"
    return '{"error": %s}' % _quote(text), _with_traceback(log_text, exception) if has_traceback else log_text


# --- values that the json module does not know ----------------------------------------------------------------------


class _NoConversion(TypeError):
    """There is no rule for a type."""


def _is(value, module, *names):
    module = sys.modules.get(module)
    return module is not None and isinstance(value, tuple(getattr(module, name, ()) for name in names))


def _from_numpy(value):
    numpy = sys.modules["numpy"]
    if value.dtype.kind == "M":
        plain = numpy.array(numpy.datetime_as_string(value), dtype=object)
    elif value.dtype.kind == "m":
        plain = numpy.array(value / numpy.timedelta64(1, "s"), dtype=object)
    elif isinstance(value, numpy.longdouble):
        return float(value)
    elif isinstance(value, numpy.clongdouble):
        return complex(value)
    else:
        return value.tolist()
    plain[numpy.isnat(value)] = None
    return plain.tolist()


def _pandas_list(values):
    """Missing values are None, except among floats, where they are NaN."""
    plain = values.tolist()
    if values.dtype.kind == "f" or _is(values, "pandas", "MultiIndex"):
        return plain
    return [None if missing else value for value, missing in zip(plain, values.isna().tolist())]


def _from_pandas(value):
    """The plain form, or value itself when it needs no rule of its own. The shapes of tables are Cortex's."""
    if value is sys.modules["pandas"].NaT or value is sys.modules["pandas"].NA:
        return None
    if _is(value, "pandas", "DataFrame"):
        plain = {"index": _pandas_list(value.index)}
        plain.update((name, _pandas_list(value.iloc[:, i])) for i, name in enumerate(value.columns.tolist()))
        return plain
    if _is(value, "pandas", "Series"):
        return {"index": _pandas_list(value.index), "data": _pandas_list(value)}
    if _is(value, "pandas", "Period", "Interval"):
        return str(value)
    return _pandas_list(value) if hasattr(value, "tolist") and hasattr(value, "isna") else value


def _from_bytes(value):
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        what = f"the {_type_name(value)} value is not UTF-8 text; encode it, for example with base64"
        raise _NoConversion(what) from None


def _sorted(value):
    try:
        return sorted(value)
    except Exception:
        return list(value)


_RULES = (
    (enum.Enum, lambda value: {value.name: value.value}),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    ((decimal.Decimal, fractions.Fraction), float),
    (complex, lambda value: [value.real, value.imag]),
    ((set, frozenset), _sorted),
    (pathlib.PurePath, str),
    ((bytes, bytearray, memoryview), _from_bytes),
)


def to_plain(value):
    """Called by the JSON encoder for what it does not know: something closer to JSON, or an exception."""
    kind = type(value)
    encode = getattr(kind, "__json_encode__", None)
    if encode is not None:
        return encode(value)
    if _is(value, "numpy", "ndarray", "generic"):
        return _from_numpy(value)
    if str(kind.__module__).partition(".")[0] == "pandas" or _is(value, "pandas", "DataFrame", "Series"):
        plain = _from_pandas(value)
        if plain is not value:
            return plain
    for kinds, rule in _RULES:
        if isinstance(value, kinds):
            return rule(value)
    if hasattr(kind, "__dataclass_fields__"):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise _NoConversion(f"there is no JSON form for type {_type_name(value)}")


def with_plain_keys(value):
    """A copy in which keys that JSON does not have, as numpy's integers, gave way to their plain forms.

    Called after the encoder complained about a key: looking for such keys beforehand would cost every prediction.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {_plain_key(key): with_plain_keys(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_plain_keys(element) for element in value]
    return with_plain_keys(to_plain(value))


def _plain_key(key):
    if key is None or isinstance(key, (str, int, float)):
        return key
    try:
        plain = to_plain(key)
    except _NoConversion:
        return key
    return plain if plain is None or isinstance(plain, (str, int, float)) else key


# --- ?debug=true ----------------------------------------------------------------------------------------------------


class _Preview:
    """A repr that stays short and never raises."""

    def __init__(self):
        self.left = PREVIEW_ELEMENTS_ALL

    def text(self, value, depth=0):
        try:
            return self._text(value, depth)
        except BaseException as e:
            return f"<{_type_name(value)}: its repr raised {_one_line(type(e).__name__, 100)}>"

    def _text(self, value, depth):
        if isinstance(value, (str, bytes, bytearray)):
            return self._short(repr(value[:PREVIEW_CHARACTERS]), len(value) > PREVIEW_CHARACTERS)
        if _is(value, "numpy", "generic"):
            return repr(value.tolist())
        if isinstance(value, dict):
            return self._join("{", "}", value.items(), len(value), depth, True)
        if isinstance(value, (set, frozenset)):
            return self._join("{", "}", value, len(value), depth) if value else repr(value)
        if isinstance(value, tuple):
            return self._join("(", ",)" if len(value) == 1 else ")", value, len(value), depth)
        if isinstance(value, list) or (_is(value, "numpy", "ndarray") and value.ndim > 0):
            return self._join("[", "]", value, len(value), depth)
        text = repr(value)
        return self._short(text[:PREVIEW_CHARACTERS], len(text) > PREVIEW_CHARACTERS)

    @staticmethod
    def _short(text, cut):
        return text + "..." if cut else text

    def _join(self, start, end, elements, length, depth, pairs=False):
        if depth >= PREVIEW_DEPTH:
            return start + "..." + end
        parts = []
        for element in itertools.islice(elements, PREVIEW_ELEMENTS):
            if self.left <= 0:
                break
            self.left -= 1
            if pairs:
                parts.append(f"{self.text(element[0], depth + 1)}: {self.text(element[1], depth + 1)}")
            else:
                parts.append(self.text(element, depth + 1))
        if len(parts) < length:
            parts.append("...")
        return start + ", ".join(parts) + end


def preview(value):
    return _one_line(_Preview().text(value), PREVIEW_BYTES)
