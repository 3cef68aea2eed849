"""A program on a terminal of its own, and what is seen there.

Terminal is a pty with a program on it; Screen is what a person sees of its output. Only the sequences that `cortex` uses are known to it;
any other is an error, which is how a test notices that something has spoken to the terminal that should not have.
"""
import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from cortexd import PATIENCE

SEQUENCE = re.compile(r"\x1b\[(\d*)([A-Za-z])")
COLOR = re.compile(r"\x1b\[\d*m")


class Screen:
    """The lines that are there when text has been written; without colours. As high as it needs to be."""

    def __init__(self, text="", columns=200):
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0
        at = 0
        while at < len(text):
            match = SEQUENCE.match(text, at)
            if match:
                self.obey(int(match[1] or 0), match[2])
                at = match.end()
                continue
            self.put(text[at])
            at += 1

    def put(self, char):
        if char == "\n":
            self.row += 1
        elif char == "\r":
            self.column = 0
        elif char == "\t":
            self.column = min((self.column // 8 + 1) * 8, self.columns - 1)
        else:
            assert char >= " " and not "\x7f" <= char <= "\x9f", f"{char!r} after {self.lines[-1]!r}"
            if self.column == self.columns:
                self.row, self.column = self.row + 1, 0
            self.reach()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1
        self.reach()

    def reach(self):
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def obey(self, number, command):
        if command == "A":
            assert self.row >= max(number, 1), "above the screen"
            self.row -= max(number, 1)
        elif command == "H":
            self.row = self.column = 0
        elif command == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif command == "J" and number == 2:
            self.lines = [""] * (self.row + 1)
        elif command == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        else:
            assert command == "m", f"the terminal is told {number}{command}"

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n") + "\n"


class Terminal:
    def __init__(self, args, columns=120, rows=40, cwd=None, env=None):
        self.columns = columns
        self.output = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(args, cwd=cwd, env={"TERM": "xterm-256color", **os.environ, **(env or {})}, preexec_fn=lambda: os.login_tty(slave))
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def resize(self, columns, rows):
        self.columns = columns
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self):
        """(echo, line by line): what the terminal does with keys."""
        local = termios.tcgetattr(self.master)[3]
        return bool(local & termios.ECHO), bool(local & termios.ICANON)

    def send(self, keys):
        os.write(self.master, keys.encode())

    def read(self, seconds):
        """Some more of the output. False: there will be none."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # nobody has it open any more
            return False
        self.output += self.decoder.decode(data)
        return bool(data)

    def wait_for(self, pattern, since=0):
        """Until the output, from an offset on and without its colours, has a match of a regular expression."""
        end = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, COLOR.sub("", self.output[since:]), re.MULTILINE)):
            assert time.monotonic() < end, f"never came: {pattern!r} in {self.output[-1000:]!r}"
            if not self.read(0.1):
                raise AssertionError(f"has ended without {pattern!r}: {self.output[-1000:]!r}")
        return match

    def wait(self):
        """Until the program has ended; its exit status."""
        end = time.monotonic() + PATIENCE
        while self.read(0.1):
            assert time.monotonic() < end, f"does not end: {self.output[-1000:]!r}"
        return self.process.wait(timeout=PATIENCE)

    @property
    def screen(self):
        return Screen(self.output, self.columns).text
