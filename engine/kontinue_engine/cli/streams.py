"""Internal. stdin, stdout and stderr as they are found: closed, in another encoding, or read by nobody any more.

``main`` calls ``prepare`` before it looks at its arguments, and ``finish`` at its end.
"""

from __future__ import annotations

import codecs
import errno
import functools
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from kontinue_engine.cli.options import is_terminal


def prepare() -> None:
    """Have every text find its way out, whatever the locale, and closed streams take what nobody is to read."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        # print(file=None) would print what is meant for people among the data on stdout.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        _let_through(stream)


def _let_through(stream: TextIO) -> None:
    """A terminal shows what it can; a file or a pipe gets UTF-8 as from kubectl, for JSON is nothing else.

    Names of files that are no text in this locale go out as the bytes that they are, on stderr as escapes.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream.write_through:  # PYTHONUNBUFFERED: a newline would be a write of its own, and processes share pipes
        stream.reconfigure(write_through=False, line_buffering=True)
    if is_terminal(stream) and not _is_utf8(stream.encoding):
        stream.reconfigure(errors="replace")
    else:
        errors = "surrogateescape" if stream.errors == "strict" else stream.errors  # given no word, it is strict again
        stream.reconfigure(encoding="utf-8", errors=errors)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


@contextmanager
def telling_what_was_done() -> Iterator[None]:
    """Print within this what has been carried out: that nobody takes the words is no failure of the deed.

    A script that is told of one would do it again, and what counts would count twice. People are told on stderr.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence()  # that ``head`` has gone is no news
    except OSError as error:
        if not is_full(error):
            raise
        silence()
        _tell_what_was_done(error.strerror)
    if sys.__stdout__ is None:
        _tell_what_was_done("it is closed")


@functools.cache  # once: of several that were deleted, the first line says it of all
def _tell_what_was_done(why: str) -> None:
    print(f"it was carried out, but stdout took no word of it: {why}", file=sys.stderr)


def finish() -> bool:
    """Write out what was printed, and tell whether somebody took it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up(error)
        return False
    return True


def _give_up(error: OSError) -> None:
    """Say why nothing more is printed; that ``head`` has gone is no news."""
    silence()
    if not isinstance(error, BrokenPipeError):
        print(f"error: stdout: {error.strerror}", file=sys.stderr)


def is_full(error: OSError) -> bool:
    """Tell whether an error is that of a file which takes no more: without a name, it is where stdout was led to."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO} and error.filename is None


def silence() -> None:
    """Lead stdout nowhere, so that the interpreter's own last flush has nothing to complain about."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else nowhere)
    os.close(nowhere)
