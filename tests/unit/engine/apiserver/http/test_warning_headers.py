"""Warning headers: which texts are told, and how much of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.http.warning_headers import MAX_CHARACTERS, MAX_CUT_CHARACTERS, warning_headers


def test_each_text_is_told_once() -> None:
    """In the order in which it came up."""
    assert warning_headers(["b", "a", "b", ""]) == (("Warning", '299 - "b"'), ("Warning", '299 - "a"'))


def test_quotes_are_escaped() -> None:
    """It is a quoted string of HTTP."""
    assert warning_headers(['a"b\\c']) == (("Warning", '299 - "a\\"b\\\\c"'),)


def test_what_would_end_a_header_is_left_out() -> None:
    """Neither control characters nor halves of characters can be sent."""
    assert warning_headers(["a\r\nb", "\ud800", "\x7f", "\x85"]) == ()


def test_long_texts_are_whole_while_there_is_room() -> None:
    """Only when there is too much in all, each is cut."""
    assert len(warning_headers(["x" * MAX_CHARACTERS])[0][1]) == len('299 - ""') + MAX_CHARACTERS
    assert warning_headers(["x" * (MAX_CHARACTERS + 1)]) == (("Warning", f'299 - "{"x" * MAX_CUT_CHARACTERS}"'),)


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=400), max_size=40))
def test_whatever_is_told_fits(texts: list[str]) -> None:
    """One line each, in UTF-8, and not much more than the limit in all."""
    headers = [value for _, value in warning_headers(texts)]
    assert all(value.encode() and not {"\r", "\n"} & set(value) for value in headers)
    bounds = 2 * (MAX_CHARACTERS + MAX_CUT_CHARACTERS)
    assert sum(len(value) - len('299 - ""') for value in headers) <= bounds
