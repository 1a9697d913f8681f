from __future__ import annotations

import pytest

from kontinue_engine.apiserver.schemas.formats import FORMATS


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("bsonobjectid", ["507f1f77bcf86cd799439011"], ["507f"]),
        ("cidr", ["10.0.0.0/8", "::1/128", "::/0"], ["10.0.0.0", "10.0.0.0/33", "::1/129", "x/1", "10.0.0.0/-1"]),
        ("creditcard", ["4111 1111 1111 1111"], ["4111111111111112", "4"]),
        ("date", ["2024-02-29"], ["2023-02-29", "20240229", "2024-2-9"]),
        ("datetime", ["2026-01-02T03:04:05.6Z", "2026-01-02t03:04:05-08:00"], ["2026-01-02T24:00:00Z", "2026-01-02"]),
        ("duration", ["0", "-1h30m", "1.5h", ".5s", "2 weeks", "P1D"], ["", "5", "h", "1 moon"]),
        ("hostname", ["a", "a.b-c", "example.com."], ["", "-a", "a_b", "a" * 64]),
        ("ipv4", ["1.2.3.4", "001.2.3.4", "::ffff:1.2.3.4"], ["1.2.3", "1.2.3.256", "a.b.c.d"]),
        ("ipv6", ["::", "::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4"], ["1:2", "1::2::3", "::g", "1:2:3:4:5:6:7:8:9"]),
        ("isbn", ["0-306-40615-2", "978-3-16-148410-0"], ["0-306-40615-3", "978-3-16-148410-1"]),
        ("mac", ["00:11:22:33:44:55", "00-11-22-33-44-55"], ["00:11-22:33:44:55", "00:11"]),
        ("rgbcolor", ["rgb(0, 10,255)"], ["rgb(0,10,256)", "rgb(0,10)"]),
        ("uuid4", ["123e4567-e89b-42d3-a456-426614174000"], ["123e4567-e89b-42d3-c456-426614174000"]),
    ],
)
def test_a_format_takes_what_kubernetes_takes(name: str, good: list[str], bad: list[str]):
    """Beside the cases of the conformance suite: their edges."""
    assert [text for text in good if not FORMATS[name](text)] == []
    assert [text for text in bad if FORMATS[name](text)] == []


@pytest.mark.timeout(20)  # once hours
@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("text", ["1" * 1_000_000, "1" * 100_000 + " " * 100_000, "a" * 1_000_000, "a." * 500_000])
def test_a_long_text_costs_its_length(name: str, text: str):
    """Not its length squared: it is judged while everybody waits."""
    assert FORMATS[name](text) in {True, False}
