"""What labels and annotations tell."""

import re

import pytest

from kontinue.api import labels


@pytest.mark.parametrize(
    ("note", "number"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("42", 42, id="a number"),
        pytest.param("9" * 18, 10**18 - 1, id="the longest"),
        pytest.param(None, None, id="nothing"),
        pytest.param("", None, id="empty"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1.5", None, id="a fraction"),
        pytest.param("many", None, id="a word"),
        pytest.param("\N{ARABIC-INDIC DIGIT TWO}", None, id="digits of another script"),
        pytest.param("9" * 19, None, id="too long"),
        pytest.param("9" * 4301, None, id="longer than Python reads"),
    ],
)
def test_a_note_is_a_number_or_nothing(note, number):
    """Anybody may have written it, and whoever reads it must go on."""
    assert labels.number_in(note) == number


@pytest.mark.parametrize("text", ["", "build", "shop.jobs.build_all", "a" * 63])
def test_a_name_that_is_a_label_value_stays_as_it_is(text):
    """Selectors that people write find it."""
    assert labels.label_value(text) == text


@pytest.mark.parametrize("text", ["größe", "名前", "_private", "ends-", "two words", "a" * 64, "é" * 80, "_" * 70])
def test_any_other_name_becomes_a_label_value_of_its_own(text):
    """Python's identifiers may be of any script, and longer than a label: they are no reason to refuse an Execution."""
    value = labels.label_value(text)
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", value)
    assert value == labels.label_value(text) != labels.label_value(f"{text}x")
