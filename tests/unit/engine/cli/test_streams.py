"""What is printed finds its way out, whatever streams and locale there are."""

import io
import os
import subprocess
import sys

import pytest

from kontinue_engine.cli import streams


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_the_name_of_a_file_goes_out_as_it_came(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """Also where the locale cannot read it: Python keeps such bytes as surrogates, which no encoding carries."""
    printed = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, buffer in printed.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding=encoding))
    streams.prepare()
    for stream in (sys.stdout, sys.stderr):
        print("Zoë's folder: /Zo\udcc3\udcab", file=stream, flush=True)
    assert {buffer.getvalue() for buffer in printed.values()} == {"Zoë's folder: /Zoë\n".encode()}


def test_what_no_encoding_carries_is_no_error_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a pair may stand in the message of a user's exception: stderr shows it escaped, as Python does."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, encoding="ascii", errors="backslashreplace"))
    streams.prepare()
    print("\ud83d", file=sys.stderr, flush=True)
    assert buffer.getvalue() == b"\\ud83d\n"


class Unbuffered(io.RawIOBase):
    """A pipe of a process that has PYTHONUNBUFFERED, as most images of containers set it; keeps each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.writes.append(bytes(data))  # type: ignore[call-overload]
        return len(self.writes[-1])


def test_a_line_is_one_write_without_buffers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of several processes that share a pipe stay whole; a text and its newline came apart."""
    raw = Unbuffered()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))  # type: ignore[arg-type]
    streams.prepare()
    print("counter", 9)
    print("done")
    assert raw.writes == [b"counter 9\n", b"done\n"]


TELLING = """
import sys
from kontinue_engine.cli import streams
with streams.telling_what_was_done():
    print("done")
print("more")
sys.exit(0 if streams.finish() else 1)
"""


@pytest.mark.parametrize("is_full", [True, False])
def test_what_was_done_is_done_whether_anybody_reads_of_it(is_full: bool) -> None:
    """On a full disk, or when the reader has gone: a script that is told of a failure would do it again."""
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full", "w") as full, open(writing, "w") as gone:
        stdout = full if is_full else gone
        ended = subprocess.run([sys.executable, "-c", TELLING], stdout=stdout, stderr=subprocess.PIPE, text=True)
    said = "it was carried out, but stdout took no word of it: No space left on device\n" if is_full else ""
    assert (ended.returncode, ended.stderr) == (0, said)


def test_what_was_done_is_told_once_on_stderr_where_stdout_is_closed() -> None:
    """Nobody reads there of it, and a person looks whether it was done."""
    twice = TELLING.replace("with", "streams.prepare()\nwith", 1) + ""
    again = twice.replace('print("more")', 'with streams.telling_what_was_done():\n    print("more")')
    words = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, again]
    ended = subprocess.run(words, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (0, "it was carried out, but stdout took no word of it: it is closed\n")
