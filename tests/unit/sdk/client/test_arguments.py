"""Arguments of a call by name are checked before anything is created."""

import json

import msgspec
import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue.client.arguments import encode_for, json_path
from kontinue.errors import InvalidArguments

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 1000},
        "tags": {"type": "array", "items": {"type": "integer"}},
        "size": {"enum": ["small", "large"]},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "to": {"$ref": "#/$defs/Place"},
        "maybe": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
    },
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"street": {"type": "string"}},
            "required": ["street"],
            "additionalProperties": False,
        }
    },
    "required": ["name"],
    "additionalProperties": False,
}


def function(schema=SCHEMA):
    arguments = msgspec.UNSET if schema is None else msgspec.Raw(json.dumps(schema).encode())
    return Function(metadata=ObjectMeta(name="f"), spec=FunctionSpec(name="f", worker_group="g", arguments=arguments))


def test_fitting_arguments_are_encoded():
    """A mapping becomes a JSON object, None an empty one."""
    assert encode_for(function(), {"name": "x", "tags": [1]}) == b'{"name":"x","tags":[1]}'
    assert encode_for(function(None), None) == b"{}"


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ({}, "$.name", "missing name; its parameters are name, tags, size"),
        ({"name": "x", "tag": []}, "$.tag", r"unknown tag \(did you mean tags\?\)"),
        ({"name": "x", "true": 1}, "$.true", r"unknown true \(if it was y, yes or on: quote it, YAML reads them as"),
        ({"name": 7}, "$.name", r"f: \$\.name: expected string, got 7"),
        ({"name": ["x" * 300]}, "$.name", r"expected string, got \['x{78}\.\.\."),
        ({"name": "x" * 5000}, "$.name", r"xxx\.\.\."),
        ({"name": "x", "tags": [1, "b"]}, "$.tags[1]", "expected integer, got 'b'"),
        ({"name": "x", "size": "big"}, "$.size", "expected one of 'small', 'large', got 'big'"),
        ({"name": "x", "limit": "7"}, "$.limit", "expected integer or null, got '7'"),
        ({"name": "x", "to": {}}, "$.to.street", "missing street"),
        ({"name": "x", "to": {"street": "s", "zip": 1}}, "$.to.zip", "unknown zip"),
        ({"name": "x", "to": {"street": 5}}, "$.to.street", "expected string, got 5"),
        ({"name": "x", "maybe": {"street": 5}}, "$.maybe", "expected one of its types, got {'street': 5}"),
        ([1], "$", "mapping of parameter names to values, got list"),
        ({"name": object()}, "$.name", "f: "),
        ({"name": "x" * 300_000}, "$", "limit is 262,144"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_path(arguments, path, message):
    """The error names the function, the path and what was expected."""
    with pytest.raises(InvalidArguments, match=message) as caught:
        encode_for(function(), arguments)
    assert caught.value.path == path
    assert len(str(caught.value)) < 500
    assert str(caught.value).startswith("f: ")


def test_an_open_schema_takes_further_names():
    """Only a closed schema knows all names."""
    assert encode_for(function({"type": "object"}), {"any": 1}) == b'{"any":1}'


def test_a_schema_that_cannot_be_used_is_left_to_the_worker():
    """A broken schema does not make its function uncallable."""
    assert encode_for(function({"$ref": "#/nowhere"}), {"any": 1}) == b'{"any":1}'


def test_json_path_has_the_form_of_other_errors():
    """As the codecs write it."""
    assert json_path(["targets", 2, "name"]) == "$.targets[2].name"
