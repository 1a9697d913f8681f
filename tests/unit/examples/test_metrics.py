"""Counts of Python source."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdlib_index.metrics import Counts, complexity, measure, total

SOURCE = b'''# a comment
import os, sys
from a import b as c


class Thing:
    """Documented."""

    async def fetch(self, x):
        """Documented."""
        if x and os or sys:
            return [y for y in x if y]
        while x:
            x -= 1


def outer():
    def inner():
        return 1 if c else 2
    for _ in ():
        try:
            pass
        except ValueError:
            pass
    return inner
'''


def test_a_file_is_counted() -> None:
    """Every figure of a file that can be checked by hand."""
    counts = measure(SOURCE, "m.py")
    assert (counts.files, counts.bytes, counts.lines, counts.comment_lines) == (1, len(SOURCE), 25, 1)
    assert (counts.functions, counts.async_functions, counts.classes, counts.documented) == (3, 1, 1, 2)
    assert counts.imports == 3
    assert counts.branches == 6
    assert (counts.max_complexity, counts.most_complex) == (6, "m.py:fetch")
    assert (counts.max_function_lines, counts.largest_function) == (9, "m.py:outer")


def test_complexity_leaves_out_inner_functions() -> None:
    """They are counted by themselves."""
    outer = ast.parse(SOURCE).body[-1]
    assert complexity(outer) == 3


@pytest.mark.parametrize("source", [b"def broken(:", b"\0", b"\xff = 1"])
def test_a_file_that_does_not_parse_is_counted_as_such(source: bytes) -> None:
    """The standard library's tests hold some on purpose."""
    counts = measure(source, "bad.py")
    assert (counts.files, counts.unparsed, counts.functions) == (1, 1, 0)


COUNTS = st.builds(
    Counts,
    files=st.integers(0, 9),
    lines=st.integers(0, 9),
    max_complexity=st.integers(0, 3),
    most_complex=st.sampled_from(["a", "b", "c"]),
    max_function_lines=st.integers(0, 3),
    largest_function=st.sampled_from(["a", "b", "c"]),
)


@given(st.lists(COUNTS, max_size=6), st.randoms())
def test_a_sum_does_not_depend_on_the_order(counts: list[Counts], random: object) -> None:
    """Children end in any order, and the digest of two runs must be equal."""
    shuffled = list(counts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert total(shuffled) == total(counts)
    assert total(counts).files == sum(one.files for one in counts)
