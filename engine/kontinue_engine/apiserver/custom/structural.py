"""Internal. Whether the schema of a CRD is structural, as kube-apiserver demands it, and can be evaluated here.

A structural schema says the type of every field outside of anyOf and the like, so that objects can be pruned and
defaulted. Judges typed schemas of ``kontinue_engine.apiserver.custom.crd_types``; called by
``kontinue_engine.apiserver.custom.definitions``. Causes come in the order of the schema, fields named by their path.
No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from kontinue_engine.apiserver.custom import structural_lists
from kontinue_engine.apiserver.custom.crd_types import Rule, Schema, SelectableField
from kontinue_engine.apiserver.schemas import celrules
from kontinue_engine.apiserver.schemas.schema import CompiledSchema, SchemaError, is_pattern
from kontinue_engine.apiserver.statuses import Cause, cause

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_META: Final = frozenset({"apiVersion", "kind", "metadata"})
_NOT_SUPPORTED: Final = {
    "id": "id",
    "additional_items": "additionalItems",
    "pattern_properties": "patternProperties",
    "definitions": "definitions",
    "dependencies": "dependencies",
    "ref": "$ref",
}
_FORBIDDEN_INSIDE: Final = {
    "type": ("type", "must be empty to be structural"),
    "additional_properties": ("additionalProperties", "must be undefined to be structural"),
    "default": ("default", "must be undefined to be structural"),
    "title": ("title", "must be empty to be structural"),
    "description": ("description", "must be empty to be structural"),
    "nullable": ("nullable", "must be false to be structural"),
    "x_preserve_unknown_fields": ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    "x_embedded_resource": ("x-kubernetes-embedded-resource", "must be false to be structural"),
    "x_int_or_string": ("x-kubernetes-int-or-string", "must be false to be structural"),
    "x_list_map_keys": ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    "x_list_type": ("x-kubernetes-list-type", "must be undefined to be structural"),
    "x_map_type": ("x-kubernetes-map-type", "must be undefined to be structural"),
    "x_validations": ("x-kubernetes-validations", "must be empty to be structural"),
}
"""What may not stand inside allOf, anyOf, oneOf and not."""
_ROOT_WITH_STATUS: Final = frozenset({"all_of", "any_of", "one_of", "not_", "enum", "default", "x_int_or_string"})
"""What may not stand at the root of a kind that has a status subresource."""
_INT_OR_STRING: Final = [Schema(type="integer"), Schema(type="string")]
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_SELECTABLE: Final = ("string", "boolean", "integer")
MAX_SELECTABLE_FIELDS: Final = 8


class _Place(NamedTuple):
    """Where a schema stands: at the root, of an item or of a field; inside of an object's own metadata."""

    level: str
    is_in_metadata: bool


_ROOT: Final = _Place("root", is_in_metadata=False)
_MISSING_TYPE: Final = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def problems(schema: Schema, path: str, *, has_status: bool) -> list[Cause]:
    """Return why objects cannot be judged by ``schema``, the schema of whole objects; empty when they can."""
    causes = list(_root_problems(schema, path, has_status=has_status))
    causes += _problems(schema, path, _ROOT)
    if not causes:
        plain = msgspec.to_builtins(schema)
        try:
            CompiledSchema(plain)
        except SchemaError as error:
            return [cause("FieldValueInvalid", path, value="", detail=str(error))]
        causes += _default_problems(plain, path)
    return causes


def selectable_field_problems(fields: Sequence[SelectableField], schema: Schema, path: str) -> Iterator[Cause]:
    """Yield why ``fields`` cannot be selected by."""
    seen: set[str] = set()
    for index, field in enumerate(fields):
        at, json_path = f"{path}[{index}].jsonPath", field.json_path
        if not json_path:
            yield cause("FieldValueRequired", at)
            continue
        found = _found(schema, json_path)
        if found is None:
            detail = "is an invalid path: no such field in the schema"
            yield cause("FieldValueInvalid", at, value=json_path, detail=detail)
            continue
        if json_path.startswith(".metadata"):
            yield cause("FieldValueInvalid", at, value=json_path, detail="must not point to fields in metadata")
        if found.type not in _SELECTABLE:
            detail = "must point to a field of type string, boolean or integer"
            yield cause("FieldValueInvalid", at, value=json_path, detail=detail)
        if json_path in seen:
            yield cause("FieldValueDuplicate", at, value=json_path)
        seen.add(json_path)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        detail = f"must have at most {MAX_SELECTABLE_FIELDS} items"
        yield cause("FieldValueTooMany", path, value=len(seen), detail=detail)


def _found(schema: Schema, json_path: str) -> Schema | None:
    found: Schema | None = schema
    if not json_path.startswith("."):
        return None
    for key in json_path[1:].split("."):
        found = (found.properties or {}).get(key) if found else None
    return found


def _root_problems(schema: Schema, path: str, *, has_status: bool) -> Iterator[Cause]:
    if has_status:
        if schema.type is not None and schema.type != "object":
            detail = (
                'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            )
            yield cause("FieldValueInvalid", f"{path}.type", value=schema.type, detail=detail)
        if any(getattr(schema, name) for name in _ROOT_WITH_STATUS):
            detail = "only some fields are allowed at the root of the schema if the status subresource is enabled"
            yield cause("FieldValueInvalid", path, value="object", detail=detail)
    if schema.nullable:
        yield cause("FieldValueForbidden", f"{path}.nullable", detail="nullable cannot be true at the root")
    if schema.additional_properties is not None:
        yield cause("FieldValueForbidden", f"{path}.additionalProperties", detail="must not be used at the root")
    if schema.type and schema.type != "object":
        yield cause("FieldValueInvalid", f"{path}.type", value=schema.type, detail="must be object at the root")
    properties = schema.properties or {}
    if any(one.default is not None for key, one in properties.items() if key in _META):
        key = next(key for key, one in properties.items() if key in _META and one.default is not None)
        detail = f"must not be set in top-level {key}"
        yield cause("FieldValueForbidden", f"{path}.properties[{key}].default", detail=detail)
    if "metadata" in properties and not _restricts_names_only(properties["metadata"]):
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield cause("FieldValueForbidden", f"{path}.properties[metadata]", detail=detail)


def _restricts_names_only(metadata: Schema) -> bool:
    given = {name for name in metadata.__struct_fields__ if getattr(metadata, name) is not None}
    return given <= {"type", "properties", "description"} and (metadata.properties or {}).keys() <= {
        "name",
        "generateName",
    }


def _problems(schema: Schema, path: str, place: _Place) -> Iterator[Cause]:
    yield from _keyword_problems(schema, path, place)
    yield from _type_problems(schema, path, place)
    yield from _extension_problems(schema, path)
    yield from structural_lists.problems(schema, path)
    for index, rule in enumerate(schema.x_validations or ()):
        yield from _rule_problems(rule, schema, f"{path}.x-kubernetes-validations[{index}]")
    yield from _junctor_problems(schema, path, place)
    is_whole = place.level == "root" or bool(schema.x_embedded_resource)
    if is_whole:
        yield from _meta_problems(schema, path)
    for key, child in (schema.properties or {}).items():
        is_in_metadata = place.is_in_metadata or (is_whole and key in _META)
        yield from _problems(child, f"{path}.properties[{key}]", _Place("field", is_in_metadata))
    if isinstance(schema.additional_properties, Schema):
        below = _Place("field", place.is_in_metadata)
        yield from _problems(schema.additional_properties, f"{path}.additionalProperties", below)
    if schema.items is not None:
        yield from _problems(schema.items, f"{path}.items", _Place("item", place.is_in_metadata))


def _meta_problems(schema: Schema, path: str) -> Iterator[Cause]:
    for key, wanted in (("apiVersion", "string"), ("kind", "string"), ("metadata", "object")):
        child = (schema.properties or {}).get(key)
        if child is not None and child.type != wanted:
            at = f"{path}.properties[{key}].type"
            yield cause("FieldValueInvalid", at, value=child.type or "", detail=f"must be {wanted}")


def _keyword_problems(schema: Schema, path: str, place: _Place) -> Iterator[Cause]:
    for name, keyword in _NOT_SUPPORTED.items():
        if getattr(schema, name):
            yield cause("FieldValueForbidden", f"{path}.{keyword}", detail=f"{keyword} is not supported")
    if schema.unique_items:
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield cause("FieldValueForbidden", f"{path}.uniqueItems", detail=detail)
    if schema.properties and not (schema.additional_properties is None or schema.additional_properties is True):
        detail = "additionalProperties and properties are mutual exclusive"
        yield cause("FieldValueForbidden", f"{path}.additionalProperties", detail=detail)
    if place.is_in_metadata and schema.x_embedded_resource:
        detail = "must not be used inside of resource meta"
        yield cause("FieldValueForbidden", f"{path}.x-kubernetes-embedded-resource", detail=detail)
    yield from _pattern_problems(schema, path)


def _pattern_problems(schema: Schema, path: str) -> Iterator[Cause]:
    if schema.pattern and not is_pattern(schema.pattern):
        detail = "must be a valid regular expression, but isn't: this server knows what RE2 and ECMA 262 both have"
        yield cause("FieldValueInvalid", f"{path}.pattern", value=schema.pattern, detail=detail)


def _type_problems(schema: Schema, path: str, place: _Place) -> Iterator[Cause]:
    at, found = f"{path}.type", schema.type or ""
    if found == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        yield cause("FieldValueForbidden", at, detail=detail)
    if found and found not in _TYPES:
        listed = ", ".join(f'"{one}"' for one in _TYPES)
        yield cause("FieldValueNotSupported", at, value=found, detail=f"supported values: {listed}")
    if schema.x_embedded_resource:
        yield from _must_be(found, "object", at, "x-kubernetes-embedded-resource is true")
    elif not found and not schema.x_int_or_string and not schema.x_preserve_unknown_fields:
        yield cause("FieldValueRequired", at, detail=_MISSING_TYPE[place.level])
    if found == "array" and schema.items is None:
        yield cause("FieldValueRequired", f"{path}.items", detail="must be specified")
    if schema.x_map_type is not None:
        yield from _must_be(found, "object", at, "x-kubernetes-map-type is specified")
    if schema.x_list_type is not None:
        yield from _must_be(found, "array", at, "x-kubernetes-list-type is specified")


def _must_be(found: str, wanted: str, at: str, condition: str) -> Iterator[Cause]:
    detail = f"must be {wanted} if {condition}"
    if not found:
        yield cause("FieldValueRequired", at, detail=detail)
    elif found != wanted:
        yield cause("FieldValueInvalid", at, value=found, detail=detail)


def _extension_problems(schema: Schema, path: str) -> Iterator[Cause]:
    preserve, embedded = f"{path}.x-kubernetes-preserve-unknown-fields", f"{path}.x-kubernetes-embedded-resource"
    if schema.x_preserve_unknown_fields is False:
        yield cause("FieldValueInvalid", preserve, value=False, detail="must be true or undefined")
    if schema.x_int_or_string:
        detail = "must be false if x-kubernetes-int-or-string is true"
        if schema.x_preserve_unknown_fields:
            yield cause("FieldValueInvalid", preserve, value=True, detail=detail)
        if schema.x_embedded_resource:
            yield cause("FieldValueInvalid", embedded, value=True, detail=detail)
    if schema.x_embedded_resource:
        if schema.additional_properties is not None:
            detail = "must not be used if x-kubernetes-embedded-resource is set"
            yield cause("FieldValueForbidden", f"{path}.additionalProperties", detail=detail)
        if not schema.x_preserve_unknown_fields and not schema.properties:
            detail = "must not be empty if x-kubernetes-embedded-resource is true without preserved unknown fields"
            yield cause("FieldValueRequired", f"{path}.properties", detail=detail)
    for value, keyword, supported in (
        (schema.x_map_type, "x-kubernetes-map-type", ("atomic", "granular")),
        (schema.x_list_type, "x-kubernetes-list-type", ("atomic", "map", "set")),
    ):
        if value is not None and value not in supported:
            listed = ", ".join(f'"{one}"' for one in supported)
            yield cause(
                "FieldValueNotSupported", f"{path}.{keyword}", value=value, detail=f"supported values: {listed}"
            )


def _rule_problems(rule: Rule, schema: Schema, path: str) -> Iterator[Cause]:
    text, message = rule.rule.strip(), rule.message
    if not text:
        yield cause("FieldValueRequired", f"{path}.rule", detail="rule is not specified")
        return
    if message and not message.strip():
        yield cause("FieldValueInvalid", f"{path}.message", value=message, detail="must be non-empty if specified")
    elif message and "\n" in message.strip():
        yield cause("FieldValueInvalid", f"{path}.message", value=message, detail="must not contain line breaks")
    elif "\n" in text and not message:
        detail = "message must be specified if rule contains line breaks"
        yield cause("FieldValueRequired", f"{path}.message", detail=detail)
    if rule.reason is not None and rule.reason not in _REASONS:
        listed = ", ".join(f'"{one}"' for one in _REASONS)
        yield cause("FieldValueNotSupported", f"{path}.reason", value=rule.reason, detail=f"supported values: {listed}")
    if rule.field_path and _found(schema, rule.field_path) is None:
        yield cause("FieldValueInvalid", f"{path}.fieldPath", value=rule.field_path, detail="must be a valid path")
    try:
        celrules.compile_rule(msgspec.to_builtins(rule))
    except celrules.UnknownRuleError as error:
        yield cause("FieldValueInvalid", f"{path}.rule", value=rule.rule, detail=str(error))


def _junctor_problems(schema: Schema, path: str, place: _Place) -> Iterator[Cause]:
    is_int_or_string = bool(schema.x_int_or_string)
    for keyword, inner in _inner(schema):
        if is_int_or_string and keyword.startswith("anyOf") and schema.any_of == _INT_OR_STRING:
            continue
        if is_int_or_string and keyword == "allOf[0]" and inner.any_of == _INT_OR_STRING:
            inner = msgspec.structs.replace(inner, any_of=None)
        yield from _nested_problems(inner, f"{path}.{keyword}")
        if place.level == "root":  # below the root, kube-apiserver lets such fields pass
            yield from _undefined(inner, schema, path, f"{path}.{keyword}")


def _inner(schema: Schema) -> Iterator[tuple[str, Schema]]:
    for keyword, schemas in (("allOf", schema.all_of), ("anyOf", schema.any_of), ("oneOf", schema.one_of)):
        for index, inner in enumerate(schemas or ()):
            yield f"{keyword}[{index}]", inner
    if schema.not_ is not None:
        yield "not", schema.not_


def _nested_problems(schema: Schema, path: str) -> Iterator[Cause]:
    """Yield what is wrong inside of allOf and the like, where only values may be limited."""
    for name, (keyword, detail) in _FORBIDDEN_INSIDE.items():
        if getattr(schema, name):
            yield cause("FieldValueForbidden", f"{path}.{keyword}", detail=detail)
    yield from _keyword_problems(schema, path, _Place("field", is_in_metadata=False))
    yield from structural_lists.problems(schema, path)
    found = schema.type or ""
    if schema.x_map_type is not None:
        yield from _must_be(found, "object", f"{path}.type", "x-kubernetes-map-type is specified")
    if schema.x_list_type is not None:
        yield from _must_be(found, "array", f"{path}.type", "x-kubernetes-list-type is specified")
    for keyword, inner in _inner(schema):
        yield from _nested_problems(inner, f"{path}.{keyword}")
    for key, child in (schema.properties or {}).items():
        at = f"{path}.properties[{key}]"
        if key == "metadata":
            yield cause("FieldValueForbidden", at, detail="must not be specified in a nested context")
        yield from _nested_problems(child, at)
    if schema.items is not None:
        yield from _nested_problems(schema.items, f"{path}.items")


def _undefined(schema: Schema, outer: Schema, outer_path: str, path: str) -> Iterator[Cause]:
    """Yield what ``schema`` limits and ``outer``, the same place outside of allOf and the like, does not have."""
    for keyword, inner in _inner(schema):
        yield from _undefined(inner, outer, outer_path, f"{path}.{keyword}")
    below = [
        (f"properties[{key}]", child, (outer.properties or {}).get(key))
        for key, child in (schema.properties or {}).items()
    ]
    if schema.items is not None:
        below.append(("items", schema.items, outer.items))
    for key, child, other in below:
        if other is None:
            detail = f"because it is defined in {path}.{key}"
            yield cause("FieldValueRequired", f"{outer_path}.{key}", detail=detail)
        else:
            yield from _undefined(child, other, f"{outer_path}.{key}", f"{path}.{key}")


def _default_problems(schema: dict[str, Any], path: str) -> Iterator[Cause]:
    if "default" in schema:
        yield from _value_problems(schema, f"{path}.default")
    for key, child in schema.get("properties", {}).items():
        yield from _default_problems(child, f"{path}.properties[{key}]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _default_problems(schema["additionalProperties"], f"{path}.additionalProperties")
    if "items" in schema:
        yield from _default_problems(schema["items"], f"{path}.items")


def _value_problems(schema: dict[str, Any], path: str) -> Iterator[Cause]:
    without = {key: value for key, value in schema.items() if key != "default"}
    compiled = CompiledSchema({"type": "object", "properties": {"default": without}})
    value = {"default": msgspec.json.decode(msgspec.json.encode(schema["default"]))}
    if compiled.prune(value):
        detail = "must not have unknown fields"
        yield cause("FieldValueInvalid", path, value=schema["default"], detail=detail)
        return
    for one in compiled.validate(value):
        yield Cause(one.reason, one.message, path + one.field.removeprefix("default"))
