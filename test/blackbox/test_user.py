"""server.user: started as root, cortexd binds its addresses and becomes somebody else, with all that it starts."""
import grp
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from cortexd import BUILD, ROOT, SANITIZED, read_proc, wait_until
from test_environment import OFFLINE, PROJECT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")

NAME = "nobody"
WHO = """\
    import os
    import pathlib


    def try_to(open_it):
        try:
            open_it()
            return "done"
        except OSError as e:
            return type(e).__name__


    def predict(sample, metadata):
        return {
            "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
            "names": [os.environ.get(name) for name in ("HOME", "USER", "LOGNAME", "SHELL")],
            "pid": os.getpid(),
            "become root": try_to(lambda: os.setuid(0)),
            "read the supervisor": try_to(lambda: open(f"/proc/{os.getppid()}/mem", "rb")),
            "write beside the model": try_to(lambda: pathlib.Path("made").touch()),
            "write to the state": try_to(lambda: pathlib.Path(".cortex/made").touch()),
        }
"""


@pytest.fixture
def public():
    """A folder that everybody may enter, with the programs in it: pytest's own folders are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="cortexd-public-", dir="/tmp"))
    folder.chmod(0o755)
    for program in (BUILD / "bin").iterdir():
        shutil.copy(program, folder)
    shutil.copy(ROOT / "test" / "lsan.supp", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start_as(start, public):
    """start() in the public folder."""

    def start_one(files, user=NAME, server="", **options):
        if SANITIZED:
            options.setdefault("env", {})["LSAN_OPTIONS"] = f"{os.environ.get('LSAN_OPTIONS', '')}:suppressions={public}/lsan.supp"
        server = f"user: {user}\n{server}" if user else server
        return start(files, binary=public / "cortexd", folder=public / "project", server=server, **options)

    return start_one


def status_of(pid, field):
    return re.search(rf"^{field}:\s*(.*)$", read_proc(pid, "status").decode(), re.MULTILINE)[1].split()


def privileged_port():
    """A port that only root may bind, or another one where anybody may bind any."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no port is free")


def test_everything_runs_as_the_user_and_what_root_had_bound_stays_bound(start_as, public):
    entry = pwd.getpwnam(NAME)
    port = privileged_port()
    cortexd = start_as(WHO, server=f"listen: ['127.0.0.1:{port}', 'unix:.cortex/http.sock']", port=port, replicas=2)
    answer = cortexd.post(None).json()
    assert answer["ids"] == [[entry.pw_uid] * 3, [entry.pw_gid] * 3, sorted(os.getgrouplist(NAME, entry.pw_gid))]
    assert answer["names"] == [entry.pw_dir, NAME, NAME, entry.pw_shell]
    assert answer["become root"] == "PermissionError"
    assert answer["read the supervisor"] == "PermissionError"
    assert answer["write beside the model"] == "PermissionError"  # the project is root's
    assert answer["write to the state"] == "done"
    for pid in [cortexd.pid, *cortexd.family()]:
        assert status_of(pid, "Uid") == [str(entry.pw_uid)] * 4
        assert status_of(pid, "Gid") == [str(entry.pw_gid)] * 4
        assert status_of(pid, "CapPrm") == ["0" * 16]
    state = public / "project" / ".cortex"
    owners = {path.name: path.owner() for path in [state, *state.iterdir()]}
    owners.pop("logs", None)  # which comes with the first line
    assert owners == dict.fromkeys([".cortex", "control.sock", "http.sock", "lock", "made", "reload"], NAME)
    with cortexd.connect() as connection:
        assert connection.post("/d/a", None).status == 200
    cortexd.expect_error("killed by SIGKILL")
    os.kill(answer["pid"], 9)
    wait_until(lambda: len(cortexd.replicas()) == 2 and answer["pid"] not in cortexd.replicas(), "another replica")
    assert cortexd.post(None).json()["ids"] == answer["ids"]
    assert cortexd.stop() == 0
    assert not (state / "http.sock").exists()
    assert "run as root" not in cortexd.log()


@pytest.mark.once
def test_the_environment_is_built_by_the_user_and_can_be_used_again(start_as, public):
    cortexd = start_as(PROJECT, env={**OFFLINE, "XDG_CACHE_HOME": "/nonexistent"})
    assert cortexd.post([]).json()["names"] == ["iris", "rose"]
    cortexd.stop()
    state = public / "project" / ".cortex"
    assert {path.lstat().st_uid for path in [state, *state.rglob("*")]} == {pwd.getpwnam(NAME).pw_uid}
    command = [cortexd.binary, "--environment", "-c", public / "project" / "cortex.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, Path(result.stdout.strip()).parent.parent.parent) == (0, state / "environments")


def test_a_second_start_finds_everything_as_the_first_left_it(start_as):
    for _ in range(2):
        cortexd = start_as(WHO, server="listen: ['127.0.0.1:@PORT@', 'unix:.cortex/http.sock']")
        assert cortexd.post(None).status == 200
        cortexd.kill()  # so that the socket file and the lock file stay
        wait_until(lambda: not cortexd.family(), "the replicas end by themselves")


def test_the_user_may_be_the_one_who_starts_it(start_as, public):
    (public / "project").mkdir()
    os.chown(public / "project", pwd.getpwnam(NAME).pw_uid, -1)
    wrapper = ["setpriv", f"--reuid={NAME}", f"--regid={grp.getgrgid(pwd.getpwnam(NAME).pw_gid).gr_name}", "--clear-groups"]
    cortexd = start_as(WHO, wrapper=wrapper)
    assert cortexd.post(None).json()["ids"][0][0] == pwd.getpwnam(NAME).pw_uid


def test_only_root_may_become_another(start_as, public):
    (public / "project").mkdir()
    os.chown(public / "project", pwd.getpwnam(NAME).pw_uid, -1)
    cortexd = start_as(WHO, user="root", wait=False, wrapper=["setpriv", f"--reuid={NAME}", "--clear-groups"])
    cortexd.expect_error('server.user: only root may become "root"; start cortexd as root or as "root", or remove')
    cortexd.expect_exit(1)
    cortexd.wait_exit()


def test_an_unknown_user_is_told_at_the_start_and_the_config_is_good(start_as, public):
    cortexd = start_as(WHO, user="no-such-user", wait=False)
    cortexd.expect_error('server.user: this machine has no user "no-such-user"')
    cortexd.expect_exit(1)
    cortexd.wait_exit()
    assert not (public / "project" / ".cortex").exists()
    assert subprocess.run([cortexd.binary, "-t", "-c", cortexd.folder / "cortex.yaml"], timeout=60).returncode == 0


@pytest.mark.parametrize("path, mode, text", [
    ("", 0o700, r'user "nobody" may not read ".*/project": Permission denied; let the user into'),
    (".cortex", 0o755, r'user "nobody" may not write to ".*/project/.cortex": Permission denied; give that folder'),
    (".cortex/lock", 0o644, r'cannot open ".*/lock": Permission denied; is it another user\'s\?'),
])  # fmt: skip
def test_what_the_user_may_not_use_is_told_at_the_start(start_as, public, path, mode, text):
    target = public / "project" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.name == "lock":
        target.touch()
        os.chown(target.parent, pwd.getpwnam(NAME).pw_uid, -1)
    else:
        target.mkdir(exist_ok=True)
    target.chmod(mode)
    cortexd = start_as(WHO, wait=False)
    cortexd.expect_error(text)
    cortexd.expect_exit(1)
    cortexd.wait_exit()


@pytest.mark.parametrize("user", [None, "root"])
def test_root_is_warned_of_once_unless_it_is_meant(start_as, user):
    cortexd = start_as(WHO, user=user)
    assert cortexd.post(None).json()["ids"][0] == [0, 0, 0]
    warnings = re.findall(r"^\S+Z warn\S* .*predictors run as root.*set server\.user", cortexd.log(), re.MULTILINE)
    assert len(warnings) == (0 if user else 1)
