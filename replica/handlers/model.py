"""What ONNX and TensorFlow apis have in common: the way of a request around and into a model.

Compiled into cortexd-replica and executed by support.py as the module cortexd_model, in a replica of such an api only. A module for
a kind of model (onnx.py, tensorflow.py) imports what runs it, and has load(path, signature_key), which gives an object with

    infer(sample)      what the model says of a sample that pre_inference has prepared
    for_pre, for_post  the `signature` that pre_inference and post_inference get
    inputs             a list of Input

StartError ends the start: its text is the whole message. support.py replaces it by its own.
"""
import os

import numpy

StartError = RuntimeError

QUOTED_KEYS_MAX = 10


def threads():
    """How many threads the runtime may start: the replica's share of the machine (interpreter.c), or what the user has set."""
    try:
        return max(1, int(os.environ["OMP_NUM_THREADS"].split(",")[0]))
    except (KeyError, ValueError):
        return 1


def make_predict(model, file, handler_file, pre, post, now, show):
    """predict(sample, metadata). now: told whose code runs. show: called with what passes; None: nobody wants to see it."""
    infer, for_pre, for_post = model.infer, model.for_pre, model.for_post

    def predict(sample, metadata):
        if pre is not None:
            now.file, now.name = handler_file, "pre_inference"
            sample = pre(sample, for_pre, metadata)
            if show is not None:
                show("pre_inference", sample)
        now.file, now.name = file, "inference"
        prediction = infer(sample)
        if show is not None:
            show("inference", prediction)
        if post is not None:
            now.file, now.name = handler_file, "post_inference"
            prediction = post(prediction, for_post, metadata)
            if show is not None:
                show("post_inference", prediction)
        return prediction

    return predict


class Input:
    """One input of a model.

    shape: what a client is told, integers and anything else for dimensions that the model leaves open; None: any shape.
    dtype: of numpy, None: values are handed on as they are. is_vague: what does not fit the shape is handed on.
    """

    def __init__(self, name, dtype, type_name, shape, is_vague=False):
        self.name = name
        self.dtype = None if dtype is None else numpy.dtype(dtype)
        self.is_number = dtype is not None and numpy.issubdtype(self.dtype, numpy.number)
        self.type_name = type_name
        self.shape = shape
        self.is_vague = is_vague
        self.dimensions = None if shape is None else tuple(n if isinstance(n, int) and n >= 0 else None for n in shape)
        self.default = None if shape is None else tuple(1 if n is None else n for n in self.dimensions)

    def array(self, value):
        """The value as the model takes it; ValueError."""
        if self.dtype is None:
            return value
        try:
            array = self._typed(value)
        except (TypeError, ValueError, OverflowError) as e:
            raise ValueError(f'key "{self.name}": no array of {self.type_name}: {e}') from None
        if self.default is None or array.shape == self.default or self._fits(array.shape):
            return array
        try:
            return array.reshape(self.default)
        except ValueError:
            if self.is_vague:
                return array
            shape = f"expected shape {list(self.shape)}, found shape {list(array.shape)}"
            raise ValueError(f'key "{self.name}": {shape}') from None

    def _typed(self, value):
        if not isinstance(value, numpy.ndarray):
            array = numpy.array(value, dtype=self.dtype)
        elif numpy.issubdtype(value.dtype, numpy.number) != self.is_number:
            raise ValueError(f"found {value.dtype}")
        else:
            array = value.astype(self.dtype, copy=False)
        if self.dtype.kind == "O" and not all(isinstance(element, (str, bytes)) for element in array.flat):
            raise ValueError("found something else than strings")
        return array

    def _fits(self, shape):
        return len(shape) == len(self.dimensions) and all(n in (None, m) for n, m in zip(self.dimensions, shape))


def _quoted(inputs):
    return ", ".join(f'"{i.name}"' for i in inputs[:QUOTED_KEYS_MAX]) + (", ..." if len(inputs) > QUOTED_KEYS_MAX else "")


def arrays(sample, inputs, only=False):
    """{name: array} of a prepared sample: a dict by input name, or just the value when there is one input; ValueError.

    only: keys that are no inputs are errors.
    """
    if not isinstance(sample, dict):
        if len(inputs) != 1:
            raise ValueError(f"expected a dict with the keys {_quoted(inputs)}, found {type(sample).__name__}")
        return {inputs[0].name: inputs[0].array(sample)}
    found = {}
    for i in inputs:
        value = sample.get(i.name)
        if value is None:
            raise ValueError(f'missing key "{i.name}"')
        found[i.name] = i.array(value)
    if only and len(sample) > len(found):
        key = next(key for key in sample if key not in found)
        raise ValueError(f'unexpected key "{key}"; expected {_quoted(inputs)}')
    return found


def signature(inputs):
    """What a client is told of the inputs."""
    return {i.name: {"shape": i.shape, "type": i.type_name} for i in inputs}
