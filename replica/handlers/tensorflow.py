"""What serves TensorFlow SavedModels; see model.py.

The signatures are read from saved_model.pb itself: it says what TensorFlow Serving would say, in the form that Cortex handed to
request handlers, whatever version of TensorFlow has written it.
"""
import os
import shutil
import tempfile
import zipfile

import cortexd_model
import numpy

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # how TensorFlow was compiled is no news
import tensorflow  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

_INITIALISER = "__saved_model_init_op"  # TensorFlow 2 lists it beside the signatures
_STRUCTURE = "must be a folder with a saved_model.pb in it, or one with such folders named by version numbers, or a zip of either"

tensorflow.config.threading.set_intra_op_parallelism_threads(cortexd_model.threads())
tensorflow.config.threading.set_inter_op_parallelism_threads(1)


# --- finding the model ----------------------------------------------------------------------------------------------


def _is_saved_model(folder):
    return os.path.isfile(os.path.join(folder, "saved_model.pb"))


def _find(folder):
    """The SavedModel of a folder: itself, or its subfolder with the highest number; None."""
    if _is_saved_model(folder):
        return folder
    versions = [name for name in os.listdir(folder) if name.isascii() and name.isdigit()]
    versions = [name for name in versions if _is_saved_model(os.path.join(folder, name))]
    return os.path.join(folder, max(versions, key=int)) if versions else None


def _unpack(path, folder):
    """Nothing of an archive may lie outside the folder; links in it become plain files."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
                raise cortexd_model.StartError(f'the path "{name}" in it leads out of it')
        archive.extractall(folder)


def _find_unpacked(folder):
    """As _find; a folder may have been packed with its name."""
    found = _find(folder)
    names = [name for name in os.listdir(folder) if name != "__MACOSX"]
    if not found and len(names) == 1 and os.path.isdir(os.path.join(folder, names[0])):
        found = _find(os.path.join(folder, names[0]))
    return found


# --- its signatures -------------------------------------------------------------------------------------------------


def _read_signatures(folder):
    """(tags, SignatureDefs by key)"""
    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    graphs = list(saved.meta_graphs)
    graph = next((graph for graph in graphs if "serve" in graph.meta_info_def.tags), graphs[0])
    tags = list(graph.meta_info_def.tags)
    return tags, {key: value for key, value in graph.signature_def.items() if key != _INITIALISER}


def _choose(signatures, key):
    keys = ", ".join(f'"{name}"' for name in sorted(signatures))
    if not signatures:
        raise cortexd_model.StartError("it has no signatures; save it with signatures=")
    if key is not None:
        if key not in signatures:
            raise cortexd_model.StartError(f'it has no signature "{key}"; signature_key must be one of {keys}')
        return key
    if len(signatures) == 1:
        return next(iter(signatures))
    if "predict" in signatures:
        return "predict"
    raise cortexd_model.StartError(f"it has several signatures; set signature_key to one of {keys}")


def _input(name, info):
    dtype = tensorflow.dtypes.as_dtype(info.dtype)
    shape = None if info.tensor_shape.unknown_rank else [dimension.size for dimension in info.tensor_shape.dim]
    return cortexd_model.Input(name, dtype.as_numpy_dtype, dtype.name, shape)


# --- using it -------------------------------------------------------------------------------------------------------


def _text(value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _values(tensor):
    """All values in one list, as TensorFlow Serving answered and Cortex handed them on."""
    values = numpy.asarray(tensor.numpy()).ravel().tolist()
    return [_text(value) for value in values] if tensor.dtype == tensorflow.string else values


class _Model:
    def __init__(self, loaded, signatures, key):
        self.loaded = loaded  # which the function does not keep alive
        self.function = loaded.signatures[key]
        self.inputs = [_input(name, info) for name, info in sorted(signatures[key].inputs.items())]
        self.dtypes = {i.name: tensorflow.dtypes.as_dtype(signatures[key].inputs[i.name].dtype) for i in self.inputs}
        self.for_pre = {name: json_format.MessageToDict(signature) for name, signature in signatures.items()}
        self.for_post = self.for_pre

    def infer(self, sample):
        constant, dtypes = tensorflow.constant, self.dtypes
        arrays = cortexd_model.arrays(sample, self.inputs, only=True)
        outputs = self.function(**{name: constant(array, dtype=dtypes[name]) for name, array in arrays.items()})
        return {name: _values(tensor) for name, tensor in outputs.items()}


def _load_folder(folder, signature_key):
    if folder is None:
        raise cortexd_model.StartError(f"there is no SavedModel in it: it {_STRUCTURE}")
    try:
        tags, signatures = _read_signatures(folder)
    except Exception as e:
        raise cortexd_model.StartError(f"its saved_model.pb cannot be read: {e}") from None
    key = _choose(signatures, signature_key)
    try:
        return _Model(tensorflow.saved_model.load(folder, tags=tags), signatures, key)
    except Exception as e:
        raise cortexd_model.StartError(f"tensorflow {tensorflow.__version__} cannot load it: {e}") from None


def load(path, signature_key):
    if os.path.isdir(path):
        return _load_folder(_find(path), signature_key)
    if not zipfile.is_zipfile(path):
        raise cortexd_model.StartError(f"it is neither a folder nor a zip: it {_STRUCTURE}")
    folder = tempfile.mkdtemp(prefix="cortexd-model-")
    try:
        _unpack(path, folder)
        return _load_folder(_find_unpacked(folder), signature_key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
