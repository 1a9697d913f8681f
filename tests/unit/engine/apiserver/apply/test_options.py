"""What requests say about field managers, and configurations."""

from __future__ import annotations

import pytest

from kontinue_engine.apiserver.apply import options
from kontinue_engine.apiserver.resources import CONFIG_MAPS
from kontinue_engine.apiserver.statuses import StatusError


def test_manager_is_the_one_named_or_the_user_agent() -> None:
    """An empty name is none."""
    assert options.owner({"fieldManager": "me"}, b"tool/1", "CreateOptions") == "me"
    assert options.owner({"fieldManager": ""}, b"tool/1", "CreateOptions") == b"tool/1"
    assert options.owner({}, b"tool/1", "CreateOptions") == b"tool/1"


@pytest.mark.parametrize(
    ("value", "forced"), [("true", True), ("1", True), ("", True), ("no", True), ("false", False), ("0", False)]
)
def test_force_is_read_as_go_reads_it(value: str, *, forced: bool) -> None:
    """Everything but false and 0, and it must be there."""
    assert options.applier({"fieldManager": "me", "force": value}) == ("me", forced)
    assert options.applier({"fieldManager": "me"}) == ("me", False)


@pytest.mark.parametrize("query", [{}, {"fieldManager": ""}, {"fieldManager": "x" * 129}, {"fieldManager": "\x07"}])
def test_applier_needs_a_name_that_can_be_one(query: dict[str, str]) -> None:
    """422 with the field."""
    with pytest.raises(StatusError) as caught:
        options.applier(query)
    assert caught.value.code == 422
    assert caught.value.details
    assert [cause["field"] for cause in caught.value.details["causes"]] == ["fieldManager"]


def test_configuration_is_read_from_yaml_and_json_alike() -> None:
    """With metadata, even when there is none."""
    text = b"apiVersion: v1\nkind: ConfigMap\ndata: {a: '1'}\n"
    expected = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}, "metadata": {}}
    assert options.parse_configuration(CONFIG_MAPS, text) == expected
    text = b'{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1"},"metadata":null}'
    assert options.parse_configuration(CONFIG_MAPS, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{a",
        b"\xff",
        b'{"apiVersion":3,"kind":"ConfigMap"}',
        b'{"apiVersion":"v1","kind":{}}',
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":[]}',
    ],
)
def test_what_is_no_configuration_of_the_kind_is_a_bad_request(text: bytes) -> None:
    """Never a crash."""
    with pytest.raises(StatusError) as caught:
        options.parse_configuration(CONFIG_MAPS, text)
    assert caught.value.code == 400


def test_only_objects_and_their_status_are_applied() -> None:
    """A Scale is another kind."""
    for name in ("", "status"):
        options.refuse_subresource(name)
    with pytest.raises(StatusError) as caught:
        options.refuse_subresource("scale")
    assert caught.value.code == 400
