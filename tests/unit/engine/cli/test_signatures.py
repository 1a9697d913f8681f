"""A Function's schema as a signature."""

import msgspec

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Function, FunctionSpec
from kontinue_engine.cli.signatures import example_command, format_signature

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
