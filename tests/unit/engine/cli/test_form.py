"""A schema becomes questions, and answers become a value."""

from typing import Any

import msgspec
import pytest

from kontinue_engine.cli import form

APPROVAL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "channel": {"$ref": "#/$defs/Channel"},
        "note": {"type": "string", "default": "none"},
        "by": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    },
    "required": ["approved", "channel", "by"],
    "$defs": {"Channel": {"enum": ["beta", "stable"]}},
}


def answered(schema: dict[str, Any], **answers: str) -> Any:
    """The value of a form that was filled in; what is not named was left empty."""
    asked = form.questions_of(schema)
    return form.assemble([(one, form.read_answer(one, answers.get(one.name.replace(".", "_"), ""))) for one in asked])


def test_each_member_is_asked_for_with_what_may_be_answered() -> None:
    """Also those of objects inside; enums by their values, defaults and what may be left out as such."""
    asked = {one.name: one for one in form.questions_of(APPROVAL)}
    assert list(asked) == ["approved", "channel", "note", "by.name", "tags"]
    assert asked["channel"].choices == ("beta", "stable")
    assert asked["note"].default == "none"
    assert not asked["tags"].is_required
    assert asked["tags"].expected == "[string] | null"


def test_answers_become_a_value_of_the_schema() -> None:
    """Booleans as people say them, enums by number too, text as it is, JSON for the rest; some may be left out."""
    assert answered(APPROVAL, approved="yes", channel="2", by_name="Ada") == {
        "approved": True,
        "channel": "stable",
        "note": "none",
        "by": {"name": "Ada"},
    }
    assert answered(APPROVAL, approved="n", channel="beta", by_name="5", tags='["a"]', note="x")["tags"] == ["a"]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "boolean"}, "y", True),
        ({"type": "integer"}, "42", 42),
        ({"type": "string"}, "42", "42"),
        ({"type": "string"}, "", ""),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        ({"enum": [3, 1, 2]}, "1", 1),
        ({"enum": ["x", "y"]}, "2", "y"),
        ({}, '{"any": 1}', {"any": 1}),
    ],
)
def test_a_value_that_is_no_object_is_one_question(schema: dict[str, Any], text: str, value: Any) -> None:
    """Its answer is the whole value."""
    (question,) = form.questions_of(schema)
    assert question.name == "value"
    assert form.assemble([(question, form.read_answer(question, text))]) == value


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "boolean"}, "maybe"),
        ({"type": "integer"}, ""),
        ({"type": "integer", "maximum": 3}, "4"),
        ({"enum": ["a", "b"]}, "3"),
    ],
)
def test_an_answer_that_does_not_fit_is_asked_for_again(schema: dict[str, Any], text: str) -> None:
    """The error says what is expected."""
    (question,) = form.questions_of(schema)
    with pytest.raises(form.AnswerError, match=r"expected|is needed"):
        form.read_answer(question, text)


def test_a_function_without_parameters_asks_nothing() -> None:
    """Its arguments are an empty object."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert form.questions_of(schema) == []
    assert form.assemble([]) == {}


def test_a_schema_that_contains_itself_has_an_end() -> None:
    """What is too deep is answered as JSON."""
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}, "required": ["left"]}
    (question,) = form.questions_of({"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}})
    assert question.path == ("left",) * 4
    assert msgspec.json.encode(question.schema)
