"""Bodies as clients send them, to values."""

from __future__ import annotations

import pytest

from kontinue_engine.apiserver.http import requests
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


@pytest.mark.parametrize(
    "content_type", ["application/vnd.kubernetes.protobuf", "application/merge-patch+json", "text/plain"]
)
def test_other_content_types_are_refused_and_the_readable_ones_named(content_type: str) -> None:
    """415, as kubectl's protobuf gets for custom objects, and a patch that is no PATCH."""
    with pytest.raises(StatusError, match="application/json") as caught:
        requests.parse_body(b"{}", content_type)
    assert caught.value.code == 415


@pytest.mark.parametrize("levels", [300, 100_000, 1_000_000])
@pytest.mark.parametrize("opening", [b"[", b"{a: ", b"- "])
def test_deep_yaml_is_refused_before_its_parser_runs_out_of_stack(opening: bytes, levels: int) -> None:
    """The C parser would take the whole process down."""
    with pytest.raises(StatusError, match="nested too deeply") as caught:
        requests.parse_body(opening * levels, "application/yaml")
    assert caught.value.code == 400


@pytest.mark.parametrize("query", [{"dryRun": ""}, {"dryRun": "all"}, {"fieldValidation": "strict"}])
def test_write_options_that_do_not_exist_are_refused(query: dict[str, str]) -> None:
    """422 names the options, as of no object."""
    with pytest.raises(StatusError) as caught:
        requests.parse_write_options(query, "UpdateOptions")
    assert (caught.value.code, (caught.value.details or {})["kind"]) == (422, "UpdateOptions")


def test_duplicates_are_looked_for_only_when_field_validation_is_asked_for() -> None:
    """It means reading the body a second time."""
    assert not requests.parse_write_options({}, "CreateOptions").finds_duplicates
    assert not requests.parse_write_options({"fieldValidation": "Ignore"}, "CreateOptions").finds_duplicates
    assert requests.parse_write_options({"fieldValidation": "Warn"}, "CreateOptions").finds_duplicates
