"""What serves ONNX models, by ONNX Runtime; see model.py."""
import os

import cortexd_model

# Else it starts a thread that tells its makers about it, and a process with threads cannot be forked (preload).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime  # noqa: E402

_DTYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class _Model:
    def __init__(self, session):
        self.run = session.run
        self.for_pre = session.get_inputs()
        self.for_post = session.get_outputs()
        self.inputs = [_input(node) for node in self.for_pre]

    def infer(self, sample):
        return self.run(None, cortexd_model.arrays(sample, self.inputs))


def _input(node):
    dtype = _DTYPES.get(node.type)
    name = {None: node.type, "object": "string"}.get(dtype, dtype)
    # The shape of a number, and that of what the model says nothing about, look the same.
    return cortexd_model.Input(node.name, dtype, name, node.shape, is_vague=not node.shape)


def load(path, signature_key):
    if os.path.isdir(path):
        raise cortexd_model.StartError("it is a folder; an onnx model is one file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cortexd_model.threads()
    options.inter_op_num_threads = 1
    # A thread that waits for work by spinning would look like load, and take the CPU of the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    providers = [name for name in _PROVIDERS if name in available]
    try:
        return _Model(onnxruntime.InferenceSession(path, options, providers=providers))
    except Exception as e:
        raise cortexd_model.StartError(f"onnxruntime {onnxruntime.__version__} cannot load it: {e}") from None
