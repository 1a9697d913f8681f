from __future__ import annotations

import pytest

from kontinue_engine.apiserver.builtin.quantities import canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "1"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("+2", "2"),
        ("-1.5k", "-1500"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("1024", "1024"),
        ("1000", "1k"),
        ("0", "0"),
        ("0Gi", "0"),
        ("1e3", "1e3"),
        ("12e6", "12e6"),
        ("1500e3", "1500e3"),
        ("0.1n", "1n"),
        ("1E", "1E"),
        ("7Ei", "7Ei"),
        ("9Ei", "9223372036854775807"),
        ("999999999999999999Ei", "9223372036854775807"),
        ("-9Ei", "-9223372036854775807"),
        ("-0.1n", "-1n"),
        ("99e93", "99e93"),
        ("1000e95", "100e96"),
        ("12345678901234567890123456789012345678901", "12345678901234567890123456789012345678901"),
    ],
)
def test_quantities_take_the_form_that_kubernetes_stores(text: str, expected: str) -> None:
    """The largest suffix of the same family that leaves a whole number."""
    assert canonical(text) == expected


@pytest.mark.parametrize("text", ["", "much", "1 Gi", "1gi", "1e", "1e1000", "1" * 100, "--1", "1Gi2", "٣"])
def test_what_is_no_quantity_is_none(text: str) -> None:
    """Also what would cost much to compute with."""
    assert canonical(text) is None
