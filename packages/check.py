"""Uses every package of a base environment once, each in a process of its own. scripts/preinstall runs it there.

Prints a table: package, version, seconds, outcome. Exit status 1 when one that was to be installed does not work. A package of
a list of one's own that is not known here only has to be installed, with what it requires.
"""
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

ABS_OF_X = (  # y = Abs(x), of one float, as an ONNX file
    b"\x08\x08B\x04\n\x00\x10\x0d:\x3a\n\x0b\n\x01x\x12\x01y\"\x03Abs\x12\x01gZ\x13\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x01"
    b"b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x01"
)

# Under the name that it is known by: what is imported, and an expression that must be true.
USES = {
    "boto3": (
        "boto3",
        "'Signature=' in boto3.client('s3', region_name='eu-west-1', aws_access_key_id='a', aws_secret_access_key='b')"
        ".generate_presigned_url('get_object', {'Bucket': 'b', 'Key': 'k'})",
    ),
    "cloudpickle": ("cloudpickle, pickle", "pickle.loads(cloudpickle.dumps(lambda x: x + 1))(1) == 2"),
    "dill": ("dill", "dill.loads(dill.dumps(lambda x: x + 1))(1) == 2"),
    "joblib": ("joblib", "joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]"),
    "keras": ("keras", "keras.Sequential([keras.layers.Dense(2)])(keras.ops.ones((1, 3))).shape == (1, 2)"),
    "msgpack": ("msgpack", "msgpack.unpackb(msgpack.packb({'a': [1, 2.5]})) == {'a': [1, 2.5]}"),
    "nltk": ("nltk", "nltk.edit_distance('iris', 'irises') == 2"),
    "np-utils": ("np_utils", "list(np_utils.flatten([[1], [2, 3]])) == [1, 2, 3]"),
    "numpy": ("numpy", "numpy.linalg.norm([3, 4]) == 5"),
    "onnxruntime": (
        "onnxruntime",
        f"onnxruntime.InferenceSession({ABS_OF_X!r}, providers=['CPUExecutionProvider']).run(None, {{'x': [[-3.0]]}})[0] == 3",
    ),
    "pandas": ("pandas", "pandas.DataFrame({'a': [1, 1, 2], 'b': [1, 2, 3]}).groupby('a').b.sum()[1] == 3"),
    "pillow": ("io, PIL.Image", "PIL.Image.new('RGB', (4, 4)).resize((2, 2)).save(io.BytesIO(), 'JPEG') is None"),
    "requests": ("requests", "requests.Request('POST', 'http://127.0.0.1', json=[1]).prepare().body == b'[1]'"),
    "scikit-image": ("numpy, skimage.filters", "skimage.filters.gaussian(numpy.ones((4, 4))).shape == (4, 4)"),
    "scikit-learn": (
        "sklearn.linear_model",
        "sklearn.linear_model.LogisticRegression().fit([[0], [9]], ['a', 'b']).predict([[8]])[0] == 'b'",
    ),
    "scipy": ("scipy.optimize", "abs(scipy.optimize.brentq(lambda x: x * x - 4, 0, 3) - 2) < 1e-6"),
    "six": ("six", "six.ensure_str(b'a') == 'a'"),
    "statsmodels": ("statsmodels.api", "abs(statsmodels.api.OLS([2, 4, 6], [1, 2, 3]).fit().params[0] - 2) < 1e-6"),
    "sympy": ("sympy", "str(sympy.diff(sympy.Symbol('x') ** 2)) == '2*x'"),
    "tensorflow": ("tensorflow", "float(tensorflow.reduce_sum(tensorflow.ones((2, 3)))) == 6"),
    "tensorflow-hub": (
        "tempfile, tensorflow, tensorflow_hub",
        "(lambda f: tensorflow.saved_model.save(tensorflow.Module(), f) or tensorflow_hub.load(f))(tempfile.mkdtemp())",
    ),
    "torch": ("torch", "torch.nn.Linear(3, 2)(torch.ones(1, 3)).shape == (1, 2)"),
    "torchvision": (
        "torch, torchvision",
        "torchvision.ops.nms(torch.tensor([[0., 0, 2, 2], [0, 0, 2, 2]]), torch.ones(2), 0.5).shape == (1,)",
    ),
    "xgboost": (
        "numpy, xgboost",
        "xgboost.XGBClassifier(n_estimators=2).fit(numpy.eye(2), [0, 1]).predict(numpy.eye(2)).shape == (2,)",
    ),
}
SAME = {"tensorflow-cpu": "tensorflow", "xgboost-cpu": "xgboost"}  # builds of the same module
GONE = {"tensor2tensor": "cannot work with any TensorFlow that this Python has (docs/packages.md)"}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted():
    """The names in the list that this environment was made from."""
    text = Path(sys.prefix, "cortexd-requirements.txt").read_text()
    return [normal(name) for name in re.findall(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)", text, re.MULTILINE)]


def use(name):
    """None, or why it does not work."""
    modules, expression = USES[name]
    code = f"import {modules}\nassert {expression}"
    try:
        result = subprocess.run([sys.executable, "-I", "-B", "-c", code], capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return "takes more than 600 s"
    last = result.stderr.strip().splitlines()[-1:] or [f"exit status {result.returncode}"]
    return last[0] if result.returncode else None


def main():
    failed = 0

    def row(*columns):
        print("{:<18}{:<14}{:>5}  {}".format(*columns), flush=True)

    row("package", "version", "s", "outcome")
    names = wanted()
    for name in sorted(names, key=lambda name: SAME.get(name, name)):
        begin = time.monotonic()
        try:
            version = metadata.version(name)
            known = SAME.get(name, name) in USES
            wrong = use(SAME.get(name, name)) if known else None
            outcome = f"FAILED: {wrong}" if wrong else "ok" if known else "installed"
        except metadata.PackageNotFoundError:
            version, wrong, outcome = "-", True, "FAILED: not installed"
        failed += bool(wrong)
        row(name, version, f"{time.monotonic() - begin:.1f}", outcome)
    if "tensorflow" in (SAME.get(name, name) for name in names):  # the list of cortexd, not one's own
        for name in sorted({*USES, *GONE} - {SAME.get(name, name) for name in names}):
            row(name, "-", "-", "not installed: " + GONE.get(name, "left out, as it was asked for"))
    consistent = subprocess.run([sys.executable, "-I", "-m", "pip", "check"], capture_output=True, text=True)
    print(consistent.stdout.strip())
    return 1 if failed or consistent.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
