"""Bodies as clients send them, to values."""

from __future__ import annotations

import pytest

from kontinue_engine.apiserver import requests
from kontinue_engine.apiserver.statuses import StatusError


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b'{"at": "2026-01-01", "yes": true}'),
        ("application/json; charset=utf-8", b'{"at": "2026-01-01", "yes": true}'),
        ("application/yaml", b"at: 2026-01-01\nyes: true\n"),
    ],
)
def test_bodies_are_json_or_yaml_and_dates_stay_text(content_type: str, body: bytes) -> None:
    """No Content-Type means JSON; YAML's dates are not turned into anything (its yes is YAML 1.1's true)."""
    assert list(requests.parse_body(body, content_type).values()) == ["2026-01-01", True]


def test_other_content_types_are_refused_and_the_readable_ones_named() -> None:
    """415, as kubectl's protobuf gets."""
    with pytest.raises(StatusError, match="application/json") as caught:
        requests.parse_body(b"k8s\0", "application/vnd.kubernetes.protobuf")
    assert caught.value.code == 415


@pytest.mark.parametrize("levels", [300, 100_000, 1_000_000])
@pytest.mark.parametrize("opening", [b"[", b"{a: ", b"- "])
def test_deep_yaml_is_refused_before_its_parser_runs_out_of_stack(opening: bytes, levels: int) -> None:
    """The C parser would take the whole process down."""
    with pytest.raises(StatusError, match="nested too deeply") as caught:
        requests.parse_body(opening * levels, "application/yaml")
    assert caught.value.code == 400


def test_members_that_stand_twice_are_found_at_any_depth() -> None:
    """What fieldValidation Strict refuses."""
    assert requests.duplicate_fields(b'{"a":{"b":1,"b":2},"c":[{"d":1,"d":2}]}') == ["b", "d"]
    assert requests.duplicate_fields(b"a: 1\n") == []
