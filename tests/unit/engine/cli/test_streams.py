"""What is printed finds its way out, whatever streams and locale there are."""

import io
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
