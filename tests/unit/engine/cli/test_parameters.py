"""``-p`` and ``--args``: text of the shell becomes the value that the function's schema asks for."""

from typing import Any

import pytest

from kontinue_engine.cli.parameters import ParameterError, json_types, parse_arguments, parse_parameters

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "version": {"type": "string"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "names": {"type": "array", "items": {"type": "string"}},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "level": {"enum": ["low", "high"]},
        "options": {"$ref": "#/$defs/Options"},
        "anything": {},
    },
    "$defs": {"Options": {"type": "object", "properties": {"deep": {"type": "boolean"}}}},
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("version=1.10", "1.10"),
        ("version=true", "true"),
        ('version="x"', '"x"'),
        ("count=5", 5),
        ("count=many", "many"),
        ("ratio=2", 2),
        ('names=["a", "b"]', ["a", "b"]),
        ("maybe=null", None),
        ("maybe=5", "5"),
        ("level=high", "high"),
        ('options={"deep": true}', {"deep": True}),
        ("anything=[1]", [1]),
        ("anything=plain text", "plain text"),
        ("unknown=7", 7),
        ("version=", ""),
        ("version=a=b", "a=b"),
    ],
)
def test_a_value_is_read_as_the_schema_asks(pair: str, value: object) -> None:
    """Text where a string is wanted, JSON where it parses, else text: the client then names what does not fit."""
    assert parse_parameters([pair], SCHEMA) == {pair.partition("=")[0]: value}


def test_without_a_schema_json_wins() -> None:
    """A Function without a schema takes whatever the text means in JSON."""
    assert parse_parameters(["a=1", "b=x"], None) == {"a": 1, "b": "x"}


@pytest.mark.parametrize("pair", ["name", "=value"])
def test_a_pair_without_a_name_or_value_is_refused(pair: str) -> None:
    """The error shows the right form."""
    with pytest.raises(ParameterError, match="write it as -p name=value"):
        parse_parameters([pair], SCHEMA)


def test_a_name_given_twice_is_refused() -> None:
    """The last one does not win silently."""
    with pytest.raises(ParameterError, match="-p names is given twice; pass a list as JSON"):
        parse_parameters(["names=a", "names=b"], SCHEMA)


def test_arguments_must_be_an_object() -> None:
    """The error names the source and what was found."""
    assert parse_arguments('{"a": 1}', source="--args") == {"a": 1}
    with pytest.raises(ParameterError, match=r"args\.json must be a JSON object .* not array"):
        parse_arguments("[1]", source="args.json")
    with pytest.raises(ParameterError, match="stdin is not JSON"):
        parse_arguments("{", source="stdin")


def test_types_of_a_union_with_an_open_part_are_open() -> None:
    """One branch that allows anything makes the whole allow anything."""
    assert json_types({"anyOf": [{"type": "string"}, {}]}, {}) == frozenset()
    assert json_types({"type": ["string", "null"]}, {}) == {"string", "null"}
    assert json_types({"const": 1}, {}) == {"integer"}
