"""A Function's schema as a signature."""

import shlex
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import msgspec
import pytest

from kontinue import App
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue_engine.cli.parameters import parse_parameters
from kontinue_engine.cli.signatures import decode_schema, example_command, format_signature

ARGUMENTS = {
    "$ref": "#/$defs/Arguments",
    "$defs": {
        "Part": {"type": "object", "title": "Part"},
        "Arguments": {
            "type": "object",
            "properties": {
                "target": {"type": "string"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
                "opt": {"type": "integer", "default": 2},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "level": {"enum": ["low", "high"]},
                "free": {},
            },
            "required": ["target", "parts", "level"],
        },
    },
}


def make_function(arguments: object, result: object = None) -> Function:
    return Function(
        metadata=ObjectMeta(name="build"),
        spec=FunctionSpec(
            name="build",
            worker_group="g",
            arguments=msgspec.Raw(msgspec.json.encode(arguments)),
            result=msgspec.UNSET if result is None else msgspec.Raw(msgspec.json.encode(result)),
        ),
    )


def test_a_signature_reads_like_python() -> None:
    """References, unions, defaults and the result."""
    assert format_signature(make_function(ARGUMENTS, {"type": "object", "title": "Artifact"})) == (
        "build(target: string, parts: [Part], opt: integer = 2, note: string | null = null, "
        'level: "low" | "high", free: any = ...) -> Artifact'
    )


def test_a_function_without_arguments_has_an_empty_signature() -> None:
    """No schema, no parameters."""
    assert format_signature(make_function({"type": "object"})) == "build()"


def test_the_example_command_fills_in_what_is_required() -> None:
    """With placeholders that fit the schema and survive the shell."""
    assert (
        example_command(make_function(ARGUMENTS)) == "kontinue execute build -p target=TEXT -p parts='[]' -p level=low"
    )


@dataclass
class Size:
    width: int
    unit: Literal["cm"]
    note: str | None
    height: int = 1


@dataclass
class Item:
    sku: str
    size: Size
    shades: list[Size]
    pair: tuple[Size, str]


@dataclass
class Chain:
    name: str
    after: "Chain | None"
    others: "list[Chain]"


app = App(group="g")


@app.function
def pack(item: Item, days: dict[str, date], since: date, every: timedelta, key: uuid.UUID, to: Size | None) -> None: ...


@app.function
def link(chain: Chain, anything: Any) -> None: ...


@pytest.mark.parametrize(
    ("definition", "begin"),
    [
        (pack, """-p item='{"sku":"TEXT","size":{"width":1,"unit":"cm","note":null},"shades":[],"pair":[{"""),
        (link, """-p chain='{"name":"TEXT","after":null,"others":[]}' -p anything=TEXT"""),
    ],
)
def test_the_example_command_is_one_that_works(definition: Any, begin: str) -> None:
    """Also where members of an argument are required, or are of its own type."""
    schema = definition.codec.arguments_schema()
    line = example_command(make_function(schema))
    assert line.startswith(f"kontinue execute build {begin}")
    arguments = parse_parameters(shlex.split(line)[4::2], decode_schema(msgspec.Raw(msgspec.json.encode(schema))))
    definition.codec.decode_arguments(msgspec.json.encode(arguments))


def test_a_type_that_cannot_end_is_cut() -> None:
    """Nobody can call such a function, but somebody may ask how."""
    endless = {"type": "object", "properties": {"next": {"$ref": "#/$defs/E"}}, "required": ["next"]}
    schema = {"type": "object", "properties": {"e": {"$ref": "#/$defs/E"}}, "required": ["e"], "$defs": {"E": endless}}
    text = '{"next":{"next":{"next":{"next":{}}}}}'
    assert example_command(make_function(schema)) == f"kontinue execute build -p e='{text}'"
