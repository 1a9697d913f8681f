"""Queries, bodies and tokens as clients send them, to values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver import requests
from kontinue_engine.apiserver.resources import CONFIG_MAPS
from kontinue_engine.apiserver.statuses import StatusError


def _refusal(query: dict[str, str]) -> int:
    with pytest.raises(StatusError) as caught:
        requests.parse_list_options(query, CONFIG_MAPS)
    return caught.value.code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "-1"}, 400),
        ({"timeoutSeconds": "soon"}, 400),
        ({"labelSelector": "a in"}, 400),
        ({"fieldSelector": "data.x=1"}, 400),
        ({"continue": "t", "resourceVersion": "5"}, 400),
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersionMatch": "Sometimes", "resourceVersion": "5"}, 422),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422),
        ({"sendInitialEvents": "true"}, 422),
        ({"watch": "1", "sendInitialEvents": "true"}, 422),
        ({"watch": "1", "resourceVersionMatch": "NotOlderThan"}, 422),
    ],
)
def test_options_that_make_no_sense_are_refused(query: dict[str, str], code: int) -> None:
    """Each with the code that kube-apiserver gives."""
    assert _refusal(query) == code


def test_booleans_are_read_as_go_reads_them() -> None:
    """Anything but 0 and false is true; the first of equal parameters counts."""
    assert requests.parse_list_options(requests.parse_query("watch=1&watch=0"), CONFIG_MAPS).is_watch
    assert not requests.parse_list_options(requests.parse_query("watch=false"), CONFIG_MAPS).is_watch
    assert not requests.parse_list_options(requests.parse_query(""), CONFIG_MAPS).is_watch


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


@given(rev=st.integers(-1, 2**63), namespace=st.text("abc-", max_size=5), name=st.text("abc-.", max_size=9))
def test_a_continue_token_gives_back_what_it_was_made_of(rev: int, namespace: str, name: str) -> None:
    """Tokens are opaque to clients and exact to us."""
    token = requests.encode_continue(rev, (namespace, name))
    assert requests.decode_continue(token) == requests.Continue(rev, (namespace, name))


@given(st.text(max_size=40))
def test_any_other_token_is_a_bad_request(text: str) -> None:
    """Whatever is sent as a token, the answer is 400 and not a crash."""
    with pytest.raises(StatusError) as caught:
        requests.decode_continue(text)
    assert caught.value.code == 400
