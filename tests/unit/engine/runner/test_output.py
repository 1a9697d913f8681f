import logging
import os
from collections.abc import Iterator

import pytest

from kontinue_engine.runner.output import MAX_LINE_CHARS, LineWriter, LogLineHandler
from kontinue_engine.wire.frames import LogLine


class Place:
    def __init__(self) -> None:
        self.now = (0, "")

    def __call__(self) -> tuple[int, str]:
        return self.now


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def lines() -> list[LogLine]:
    return []


@pytest.fixture
def writer(place: Place, lines: list[LogLine]) -> LineWriter:
    writer = LineWriter(fd=1, level="stdout")
    writer.attach(lines.append, place=place, now_ms=lambda: 7)
    return writer


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def test_print_becomes_lines_with_activation_and_step(writer: LineWriter, place: Place, lines: list[LogLine]) -> None:
    """A line is sent when it is complete, with the place of the code that completed it."""
    place.now = (5, "2.1")
    print("a", 1, file=writer)
    print("no newline", end="", file=writer)
    assert lines == [LogLine(5, "stdout", "a 1", step="2.1", at_ms=7)]


def test_parts_of_different_activations_do_not_mix(writer: LineWriter, place: Place, lines: list[LogLine]) -> None:
    """Two activations that write a line in pieces, in turns, get one line each."""
    for activation, text in [(1, "on"), (2, "tw"), (1, "e\n"), (2, "o\n")]:
        place.now = (activation, "")
        writer.write(text)
    assert [(line.activation, line.text) for line in lines] == [(1, "one"), (2, "two")]


def test_an_unfinished_line_is_sent_when_its_activation_ends(
    writer: LineWriter, place: Place, lines: list[LogLine]
) -> None:
    """What was printed without a newline is not lost."""
    place.now = (1, "")
    writer.write("half")
    writer.finish_line(2)
    assert lines == []
    writer.finish_line(1)
    writer.finish_line(1)
    assert [line.text for line in lines] == ["half"]


def test_long_lines_are_cut(writer: LineWriter, lines: list[LogLine]) -> None:
    """A line has at most 16 KiB characters, also when it comes in pieces."""
    writer.write("x" * (MAX_LINE_CHARS + 5) + "\n")
    for _ in range(3):
        writer.write("y" * (MAX_LINE_CHARS // 2))
    assert [len(line.text) for line in lines] == [MAX_LINE_CHARS, 5, MAX_LINE_CHARS]


def test_text_that_utf8_cannot_carry_is_escaped(writer: LineWriter, lines: list[LogLine]) -> None:
    """A lone surrogate (a file name, say) does not break the user's print."""
    writer.write("\udcff\n")
    assert lines[0].text == "\\udcff"


def test_bytes_can_be_written(writer: LineWriter, lines: list[LogLine]) -> None:
    """``sys.stdout.buffer`` works."""
    writer.buffer.write(b"raw\n")
    assert [line.text for line in lines] == ["raw"]


def test_closing_or_reconfiguring_the_stream_does_no_harm(writer: LineWriter, lines: list[LogLine]) -> None:
    """Code that treats ``sys.stdout`` roughly does not silence later activations."""
    writer.reconfigure(line_buffering=True)
    writer.close()
    print("still here", file=writer)
    assert [line.text for line in lines] == ["still here"]


def test_before_a_runner_exists_output_goes_to_the_descriptor(pipe: tuple[int, int]) -> None:
    """What the user's module prints at import reaches the supervisor's log."""
    read_fd, write_fd = pipe
    print("importing", file=LineWriter(fd=write_fd, level="stdout"))
    assert os.read(read_fd, 100) == b"importing\n"


def test_logging_becomes_one_line_with_traceback(place: Place, lines: list[LogLine]) -> None:
    """Level, logger, message and traceback of a record arrive together."""
    place.now = (3, "1")
    logger = logging.getLogger("shop.orders")
    logger.propagate = False
    logger.addHandler(LogLineHandler(lines.append, place=place))
    try:
        raise ValueError("no stock")
    except ValueError:
        logger.exception("order %s failed", 17)
    (line,) = lines
    assert (line.activation, line.step, line.level, line.logger) == (3, "1", "error", "shop.orders")
    assert line.text.startswith("order 17 failed\nTraceback")
    assert line.text.endswith("ValueError: no stock")
