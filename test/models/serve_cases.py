"""Models served by the Python side of a replica, without the C around it: one process, so that a runtime is imported once.

serve_cases.py < cases: a JSON list of {kind, model, signature_key, handler, metadata, samples}. Writes a list with, for each case,
{"error": why it does not start} or {"signature": ..., "answers": [prediction, or the text of its failure]}.
"""
import json
import os
import sys
import types
from pathlib import Path

REPLICA = Path(__file__).resolve().parents[2] / "replica"

support = types.ModuleType("support")
exec(compile((REPLICA / "support.py").read_text(), "<cortexd>", "exec"), support.__dict__)
support.handlers = {path.stem: path.read_text() for path in (REPLICA / "handlers").glob("*.py")}


def answer(predict, metadata, sample):
    try:
        return json.loads(json.dumps(predict(sample, metadata), default=support.to_plain))
    except Exception as e:
        return support.prediction_failed("nobody", e)[0]


def serve(case):
    path, handler = case["model"], case.get("handler")
    subject = handler or os.path.basename(path)
    metadata = json.dumps(case.get("metadata", {}))
    result, error, _ = support.load_predictor(os.getcwd(), subject, handler, case["kind"], metadata, path, case.get("signature_key"), print)
    if not error:
        result, error, _ = support.start_predictor(result)
    if error:
        return {"error": error}
    predict, _, metadata, signature = result
    return {"signature": json.loads(signature), "answers": [answer(predict, metadata, sample) for sample in case.get("samples", ())]}


json.dump([serve(case) for case in json.load(sys.stdin)], sys.stdout)
