"""Internal. A JSON Schema as questions, and answers as a value. Pure; ``kontinue_engine.cli.asking`` asks.

Members of objects are asked one by one, those of objects inside, too (``person.name``). Lists, and what may be of
several shapes, are answered as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from kontinue.client.arguments import first_problem
from kontinue_engine.cli.parameters import json_types, read_value
from kontinue_engine.cli.signatures import properties, resolved, type_name

_MAX_DEPTH: Final = 4
"""Objects inside objects that are asked member by member; a schema may contain itself. Judgement."""
_YES: Final = {"y": True, "yes": True, "n": False, "no": False}
_NO_DEFAULT: Final = msgspec.UNSET


class AnswerError(ValueError):
    """An answer that does not fit; the message says what is expected."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One value to ask for.

    Attributes:
        path: where it belongs; empty for the whole value.
        expected: what may be answered, in a few words.
        description: from the schema, for people.
        is_required: whether there has to be an answer.
        default: taken where nothing is answered; UNSET leaves the member out.
        choices: what may be answered, if that is little.
        schema: of the value, with all that it refers to.
    """

    path: tuple[str, ...]
    expected: str
    description: str = ""
    is_required: bool = True
    default: Any = _NO_DEFAULT
    choices: tuple[Any, ...] = ()
    schema: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How it is called on the screen."""
        return ".".join(self.path) or "value"


def questions_of(schema: Mapping[str, Any]) -> list[Question]:
    """Return what has to be asked for a value of ``schema``."""
    return list(_questions(dict(schema), schema, (), is_required=True))


def _questions(
    schema: dict[str, Any], root: Mapping[str, Any], path: tuple[str, ...], *, is_required: bool
) -> Iterator[Question]:
    schema = resolved(schema, root)
    members = schema.get("properties")
    if members and is_required and "default" not in schema and len(path) < _MAX_DEPTH:
        required = set(schema.get("required", ()))
        for name, member in properties({**schema, "$defs": root.get("$defs", {})}).items():
            yield from _questions(member, root, (*path, name), is_required=name in required)
        return
    if schema.get("type") == "object" and not members and not path and schema.get("additionalProperties") is False:
        return  # nothing to be said
    yield Question(
        path=path,
        expected=type_name(schema, root),
        description=str(schema.get("description", "")),
        is_required=is_required,
        default=schema.get("default", _NO_DEFAULT),
        choices=tuple(schema.get("enum", ())),
        schema={**schema, "$defs": root.get("$defs", {})},
    )


def read_answer(question: Question, text: str) -> Any:
    """Return the value that was answered; UNSET where nothing was, and nothing has to be.

    Raises:
        AnswerError: it does not fit.
    """
    text = text.strip()
    if not text:
        if question.default is not _NO_DEFAULT or not question.is_required:
            return question.default
        if json_types(question.schema, question.schema) != {"string"}:
            raise AnswerError(f"{question.name} is needed: {question.expected}")
    value = _read(question, text)
    problem = first_problem(msgspec.json.encode(question.schema), value)
    if problem is not None:
        raise AnswerError(f"{problem[1]} (expected {question.expected})")
    return value


def _read(question: Question, text: str) -> Any:
    if "boolean" in json_types(question.schema, question.schema) and text.lower() in _YES:
        return _YES[text.lower()]
    value = read_value(text, question.schema, question.schema)
    is_number = value not in question.choices and text.isdecimal() and 1 <= int(text) <= len(question.choices)
    return question.choices[int(text) - 1] if is_number else value


def assemble(answers: Sequence[tuple[Question, Any]]) -> Any:
    """Return the whole value of what was answered."""
    whole: dict[str, Any] = {}
    for question, value in answers:
        if not question.path:
            return value
        place = whole
        for name in question.path[:-1]:
            place = place.setdefault(name, {})
        if value is not _NO_DEFAULT:
            place[question.path[-1]] = value
    return whole
