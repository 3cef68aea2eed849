"""Projects whose apis serve models, for test_onnx.py and test_tensorflow.py."""
import json

from cortexd import ENVIRONMENTS


def model(kind, name):
    return ENVIRONMENTS / kind / "models" / name


def config(kind, apis, more=""):
    """cortex.yaml: {name: keys of onnx or tensorflow}; the keys "compute" and "more" are those of the api. Endpoints are /<name>."""
    text = "- kind: deployment\n  name: d\n"
    for name, keys in apis.items():
        keys = dict(keys)
        compute = keys.pop("compute", "{max_replicas: 1, cpu: 100m}")
        further = keys.pop("more", "")
        lines = "".join(f"    {key}: {json.dumps(str(value) if key == 'model' else value)}\n" for key, value in keys.items())
        text += f"- kind: api\n  name: {name}\n  endpoint: /{name}\n  {kind}:\n{lines}  compute: {compute}\n{further}"
    return text + "- kind: server\n  listen: 127.0.0.1:@PORT@\n" + more


class Served:
    """A cortexd with such a project."""

    def __init__(self, start, kind, apis, files=None, replicas=None, wait=True, server="", **options):
        self.kind = kind
        self.cortexd = start(
            {"cortex.yaml": config(kind, apis, server), **(files or {})},
            replicas=len(apis) if replicas is None else replicas,
            wait=wait,
            environment=kind,
            **options,
        )

    def post(self, api, sample, query=""):
        with self.cortexd.connect() as connection:
            return connection.post(f"/{api}{query}", sample)

    def predict(self, api, sample):
        answer = self.post(api, sample)
        assert answer.status == 200, answer
        return answer.json()

    def failure(self, api, sample):
        """The text of a prediction that fails, which was announced; what comes after "prediction failed: "."""
        answer = self.post(api, sample)
        assert answer.status == 406, answer
        start = "prediction failed: "
        assert answer.text.startswith(start)
        return answer.text[len(start) :]

    def get(self, api):
        return self.cortexd.get(f"/{api}")


def start_error(start, kind, keys, files=None, environment="same"):
    """Why the replica does not start, as the log says it."""
    cortexd = start(
        {"cortex.yaml": config(kind, {"a": keys}), **(files or {})},
        wait=False,
        environment=kind if environment == "same" else environment,
    )
    cortexd.expect_any_error()
    return cortexd.wait_log(r"error replica a/0: (error in .*)$")[1]
