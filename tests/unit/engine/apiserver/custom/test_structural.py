from __future__ import annotations

from typing import Any

import msgspec

from kontinue_engine.apiserver.custom import structural
from kontinue_engine.apiserver.custom.crd_types import Schema, SelectableField


def fields(schema: dict[str, Any], *, has_status: bool = False) -> list[str]:
    return [cause.field for cause in structural.problems(msgspec.convert(schema, Schema), "s", has_status=has_status)]


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_a_structural_schema_has_no_problems():
    """Types outside, limits inside of anyOf."""
    schema = of(
        name={"type": "string", "pattern": "^a"},
        amount={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        free={"x-kubernetes-preserve-unknown-fields": True},
        metadata={"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
    )
    assert fields({**schema, "anyOf": [{"properties": {"name": {"minLength": 1}}}]}) == []


def test_every_problem_is_named_by_its_place():
    """The conformance suite has a case for each kind of problem; here stands how deep they are looked for."""
    inner = of(list={"type": "array", "items": of(map={"type": "object", "additionalProperties": {}})})
    assert fields(of(a=inner)) == ["s.properties[a].properties[list].items.properties[map].additionalProperties.type"]
    assert fields(of(a={"type": "string", "not": {"allOf": [{"type": "string"}]}})) == [
        "s.properties[a].not.allOf[0].type"
    ]


def test_a_rule_that_cannot_be_evaluated_is_quoted():
    """So that its author knows which one this server does not know."""
    schema = of(a={"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]})
    (cause,) = structural.problems(msgspec.convert(schema, Schema), "s", has_status=False)
    assert cause.field == "s.properties[a].x-kubernetes-validations[0].rule"
    assert "self > 1" in cause.message


def test_selectable_fields_must_be_there_and_simple():
    """A list of what is wrong with each, by index."""
    schema = msgspec.convert(of(a={"type": "string"}, b={"type": "object"}), Schema)
    given = [SelectableField(json_path=path) for path in (".a", ".b", ".c", "a", "")]
    found = list(structural.selectable_field_problems(given, schema, "f"))
    assert [cause.field for cause in found] == ["f[1].jsonPath", "f[2].jsonPath", "f[3].jsonPath", "f[4].jsonPath"]
