"""What a list, watch or page asks for, from its query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.reads import list_options
from kontinue_engine.apiserver.reads.list_options import ListOptions
from kontinue_engine.apiserver.resources import CONFIG_MAPS
from kontinue_engine.apiserver.statuses import StatusError


def _options(query: str) -> ListOptions:
    return list_options.parse_list_options(requests.parse_query(query), CONFIG_MAPS)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=abc", 400),
        (f"limit={2**63}", 400),
        ("timeoutSeconds=soon", 400),
        ("timeoutSeconds=1.5", 400),
        ("labelSelector=a+in", 400),
        ("fieldSelector=data.x%3D1", 400),
        ("continue=t&resourceVersion=5", 400),
        ("resourceVersion=abc", 400),
        ("resourceVersion=-1", 400),
        (f"resourceVersion={2**64}", 400),
        ("watch=1&resourceVersion=%C2%B2", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersionMatch=Sometimes&resourceVersion=5", 422),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422),
        ("resourceVersionMatch=Exact&resourceVersion=5&continue=t", 422),
        ("sendInitialEvents=true", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersion=5&resourceVersionMatch=NotOlderThan", 422),
        ("watch=1&sendInitialEvents=false&resourceVersionMatch=Exact", 422),
        ("watch=1&continue=t", 422),
    ],
)
def test_options_that_make_no_sense_are_refused(query: str, code: int) -> None:
    """Each with the code that kube-apiserver gives; a revision that is none is 400 where that one gives 500."""
    with pytest.raises(StatusError) as caught:
        _options(query)
    assert caught.value.code == code


def test_every_option_that_makes_no_sense_is_a_cause() -> None:
    """Clients read causes, and there may be more than one."""
    with pytest.raises(StatusError) as caught:
        _options("resourceVersionMatch=Sometimes")
    assert caught.value.details is not None
    assert [cause["reason"] for cause in caught.value.details["causes"]] == [
        "FieldValueForbidden",
        "FieldValueNotSupported",
    ]


@pytest.mark.parametrize(
    ("query", "is_watch"),
    [
        ("", False),
        ("watch=0", False),
        ("watch=False", False),
        ("watch=1&watch=0", True),
        ("watch=", True),
        ("watch=f", True),
    ],
)
def test_booleans_are_read_as_go_reads_them(query: str, *, is_watch: bool) -> None:
    """Anything that is there is true, but 0 and false; the first of equal parameters counts."""
    assert _options(query).is_watch is is_watch


@pytest.mark.parametrize(
    ("query", "sends"),
    [
        ("watch=1", True),
        ("watch=1&resourceVersion=0", True),
        ("watch=1&resourceVersion=7", None),
        ("watch=1&resourceVersion=7&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", True),
        ("watch=1&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", False),
    ],
)
def test_a_watch_that_names_no_revision_begins_with_what_is_there(query: str, *, sends: bool | None) -> None:
    """As client-go and kubectl expect it."""
    assert _options(query).sends_initial_events is sends


def test_a_negative_limit_is_none_and_a_negative_timeout_is_over() -> None:
    """As in kube-apiserver."""
    options = _options("limit=-1&timeoutSeconds=-3")
    assert (options.limit, options.timeout_s) == (0, -3.0)
    assert _options("timeoutSeconds=0").timeout_s is None


keys = st.from_regex(r"[a-c]{1,3}(/[a-c.-]{0,3}[a-c])?", fullmatch=True)


@given(rev=st.integers(-1, 2**63 - 1).filter(bool), key=keys)
def test_a_continue_token_gives_back_what_it_was_made_of(rev: int, key: str) -> None:
    """Tokens are opaque to clients and exact to us: the list goes on behind the key."""
    found = list_options.decode_continue(list_options.encode_continue(rev, key))
    assert (found.rev, found.start) == (rev, f"{key}\0")


@pytest.mark.parametrize("key", ["../../x", "a//b", "./a", "a/../b"])
def test_a_token_must_not_reach_beyond_its_list(key: str) -> None:
    """Keys of other kinds are none of a token's business."""
    with pytest.raises(StatusError) as caught:
        list_options.decode_continue(list_options.encode_continue(5, key))
    assert caught.value.code == 400


@given(st.text(max_size=40))
def test_any_other_token_is_a_bad_request(text: str) -> None:
    """Whatever is sent as a token, the answer is 400 and not a crash."""
    with pytest.raises(StatusError) as caught:
        list_options.decode_continue(text)
    assert caught.value.code == 400
