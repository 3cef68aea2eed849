"""The fixtures and clients of the black-box tests, for the tests of this folder too."""
import importlib.util
import sys
from pathlib import Path

BLACKBOX = Path(__file__).resolve().parents[1] / "blackbox"
sys.path.insert(0, str(BLACKBOX))

_spec = importlib.util.spec_from_file_location("blackbox_conftest", BLACKBOX / "conftest.py")
_blackbox = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_blackbox)

port = _blackbox.port
project = _blackbox.project
start = _blackbox.start
pytest_runtest_makereport = _blackbox.pytest_runtest_makereport
