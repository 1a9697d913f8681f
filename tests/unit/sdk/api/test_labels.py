"""What labels and annotations tell."""

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
