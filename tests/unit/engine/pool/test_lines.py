from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.pool.lines import MAX_LINE_BYTES, MAX_LINES, OutputLines


@given(lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), cut=st.integers(0))
def test_any_split_of_the_bytes_gives_the_same_lines(lines: list[str], cut: int) -> None:
    """However a pipe cuts the output, lines come out whole; the last one needs no newline."""
    data = "\n".join(lines).encode()
    cut %= len(data) + 1
    splitter = OutputLines()
    found = [*splitter.feed(data[:cut]), *splitter.feed(data[cut:]), *splitter.finish()]
    assert found == (lines[:-1] if lines and not lines[-1] else lines)


def test_a_long_line_is_cut() -> None:
    """Output without newlines does not collect in the supervisor's memory."""
    splitter = OutputLines()
    assert [len(line) for line in splitter.feed(b"x" * (2 * MAX_LINE_BYTES + 5))] == [MAX_LINE_BYTES] * 2
    assert splitter.finish() == ["xxxxx"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    """Binary output is shown as well as possible."""
    assert OutputLines().feed(b"\xff\n") == ["\ufffd"]


def test_a_flood_of_tiny_lines_is_passed_on_in_a_bounded_number_of_pieces() -> None:
    """Nothing is lost, and the supervisor is not occupied by one runner."""
    found = OutputLines().feed(b"x\n" * 32768)
    assert len(found) <= MAX_LINES + 5
    assert sum(piece.count("x") for piece in found) == 32768
