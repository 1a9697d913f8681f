"""What a schema does to custom objects beside judging them: pruning, defaulting, ratcheting, unique lists."""

from __future__ import annotations

from typing import Any

import crds
from api import JSON_PATCH, MERGE_PATCH, Api
from crds import definition, version

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
FREE = {"x-kubernetes-preserve-unknown-fields": True}
PRUNED: dict[str, dict[str, Any]] = {
    "plain": {"type": "object", "properties": {"a": TEXT}},
    "free": {"type": "object", **FREE, "properties": {"a": {"type": "object", "properties": {"b": TEXT}}}},
    "anything": FREE,
    "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": TEXT}}},
    "list": {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}},
    "empty": {"type": "object"},
    "open": {"type": "object", "additionalProperties": True},
    "embedded": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {"spec": {"type": "object", "properties": {"a": TEXT}}},
    },
    "flexible": {"x-kubernetes-int-or-string": True},
    "nullable": {"type": "string", "nullable": True},
    "nulls": {"type": "object", "properties": {"a": TEXT, "b": {"type": "string", "nullable": True}}},
}
DEFAULTED: dict[str, dict[str, Any]] = {
    "plain": {"type": "string", "default": "d"},
    "nullable": {"type": "string", "nullable": True, "default": "d"},
    "inner": {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}},
    "outer": {"type": "object", "default": {}, "properties": {"a": {"type": "integer", "default": 1}}},
    "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "boolean", "default": False}}}},
    "map": {
        "type": "object",
        "additionalProperties": {"type": "object", "properties": {"a": {"type": "string", "default": ""}}},
    },
}


async def create(api: Api, group: str, name: str, query: str = "", **fields: Any) -> tuple[int, Any]:
    """Create a Thing."""
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": name}, **fields}
    return await api.send("POST", f"{api.path(f'{group}/v1/things')}{query}", thing)


async def test_what_a_schema_does_not_know_is_dropped(api: Api) -> None:
    """At every level, unless it is to be preserved; an embedded resource keeps its kind and metadata."""
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec=PRUNED))):
        resource = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"a": "x", "b": 1}}
        given: dict[str, Any] = {
            "plain": {"a": "x", "b": {"c": 1}},
            "free": {"a": {"b": "x", "c": 1}, "d": {"e": [1]}},
            "anything": {"a": [{"b": None}]},
            "map": {"k": {"a": "x", "b": 1}},
            "list": [{"a": "x", "b": 1}, {"c": 1}],
            "empty": {"a": 1},
            "open": {"a": {"b": 1}, "b": 1},
            "embedded": {**resource, "odd": 1},
            "flexible": "1",
            "nullable": None,
            "nulls": {"a": None, "b": None, "c": None},
            "odd": 1,
        }
        status, created = await create(api, group, "one", spec=given, odd={"a": 1})
        assert status == 201, created
        assert created["spec"] == {
            "plain": {"a": "x"},
            "free": {"a": {"b": "x"}, "d": {"e": [1]}},
            "anything": {"a": [{"b": None}]},
            "map": {"k": {"a": "x"}},
            "list": [{"a": "x"}, {}],
            "empty": {},
            "open": {"a": {}, "b": 1},
            "embedded": {**resource, "metadata": {"name": "p"}, "spec": {"a": "x"}},
            "flexible": "1",
            "nullable": None,
            "nulls": {"b": None},
        }
        assert "odd" not in created
        status, body = await create(api, group, "two", "?fieldValidation=Strict", spec=given, odd={"a": 1})
        assert (status, body["reason"]) == (400, "BadRequest")
        for path in (
            "odd",
            "spec.odd",
            "spec.plain.b",
            "spec.free.a.c",
            "spec.list[1].c",
            "spec.embedded.metadata.odd",
        ):
            assert f'unknown field "{path}"' in body["message"], path


async def test_what_is_no_embedded_resource_is_refused(api: Api) -> None:
    """400 where its kind or metadata cannot be read, of a patch 422; nulls in metadata are left out."""
    group = crds.group()
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod"}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, **FREE}
    kind = version(spec={"one": embedded, "many": {"type": "array", "items": embedded}})
    async with crds.installed(api, definition(group, kind)):
        assert (await create(api, group, "one", spec={"one": pod}))[0] == 201
        path = f"{api.path(f'{group}/v1/things')}/one"
        for field, change in (
            ("metadata", {"metadata": 5}),
            ("metadata", {"metadata": []}),
            ("metadata", {"metadata": {"name": 5}}),
            ("metadata", {"metadata": {"labels": {"a": 1}}}),
            ("metadata", {"metadata": {"finalizers": ["a", 1]}}),
            ("metadata", {"metadata": {"creationTimestamp": "x"}}),
            ("kind", {"kind": 5}),
            ("apiVersion", {"apiVersion": 5}),
        ):
            status, body = await create(api, group, "two", spec={"many": [pod, {**pod, **change}]})
            assert (status, body["reason"]) == (400, "BadRequest"), change
            assert f"spec.many[1].{field}: Invalid value: " in body["message"]
            patch = [{"op": "replace", "path": "/spec/one", "value": {**pod, **change}}]
            status, body = await api.send("PATCH", path, patch, content_type=JSON_PATCH)
            assert (status, crds.causes(body)) == (422, {("FieldValueInvalid", "patch")}), change
        given = {"metadata": {"labels": {"a": None}, "annotations": None, "creationTimestamp": None}}
        status, created = await create(api, group, "two", spec={"one": {**pod, **given}})
        assert (status, created["spec"]["one"]["metadata"]) == (201, {"labels": {"a": ""}})


async def test_defaults_fill_in_what_is_absent(api: Api) -> None:
    """Where a key is missing, or null and not nullable; inside of what is there, and never above it."""
    group = crds.group()
    status_schema = {"phase": {"type": "string", "default": "New"}}
    kind = version(spec=DEFAULTED, status=status_schema, subresources={"status": {}})
    async with crds.installed(api, definition(group, kind)):
        for name, given, wanted in (
            ("none", {}, {"plain": "d", "nullable": "d", "outer": {"a": 1}}),
            (
                "nulls",
                {"plain": None, "nullable": None, "inner": {}, "outer": {"a": None}},
                {"plain": "d", "nullable": None, "inner": {"a": 1}, "outer": {"a": 1}},
            ),
            (
                "many",
                {"plain": "x", "nullable": "y", "list": [{}, {"a": True}], "map": {"k": {}}, "outer": {"a": 2}},
                {
                    "plain": "x",
                    "nullable": "y",
                    "list": [{"a": False}, {"a": True}],
                    "map": {"k": {"a": ""}},
                    "outer": {"a": 2},
                },
            ),
        ):
            status, created = await create(api, group, name, spec=given)
            assert (status, created["spec"]) == (201, wanted)
            assert "status" not in created
        status, created = await create(api, group, "bare")
        assert status == 201
        assert "spec" not in created
        bare = f"{api.path(f'{group}/v1/things')}/bare"
        patch = {"status": {}}
        status, patched = await api.send("PATCH", f"{bare}/status", patch, content_type=MERGE_PATCH)
        assert (status, patched["status"]) == (200, {"phase": "New"})
        patch = {"spec": {"plain": "x"}}
        _, patched = await api.send("PATCH", bare, patch, content_type=MERGE_PATCH)
        _, patched = await api.send("PATCH", bare, {"spec": {"plain": None}}, content_type=MERGE_PATCH)
        assert patched["spec"] == {"plain": "d", "nullable": "d", "outer": {"a": 1}}


async def test_what_was_wrong_before_is_tolerated_until_it_changes(api: Api) -> None:
    """A schema may become stricter than what is stored: an update need only be right where it changes something."""
    group = crds.group()
    loose = {
        "word": TEXT,
        "number": NUMBER,
        "list": {"type": "array", "items": TEXT},
        "map": {"type": "object", "additionalProperties": TEXT},
        "parts": {
            "type": "array",
            "items": {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": TEXT}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
        },
        "free": TEXT,
    }
    short = {"type": "string", "maxLength": 2}
    strict = {
        "word": short,
        "number": {"type": "integer", "maximum": 1},
        "list": {"type": "array", "items": short, "x-kubernetes-list-type": "set"},
        "map": {"type": "object", "additionalProperties": short},
        "parts": {**loose["parts"], "items": {**loose["parts"]["items"], "properties": {"k": TEXT, "v": short}}},
        "free": TEXT,
        "new": TEXT,
    }
    spec = {
        "word": "long",
        "number": 5,
        "list": ["long", "long"],
        "map": {"a": "long", "b": "ok"},
        "parts": [{"k": "1", "v": "long"}, {"k": "2", "v": "ok"}],
        "free": "x",
    }
    async with crds.installed(api, definition(group, version(spec=loose))) as crd:
        status, _ = await create(api, group, "one", spec=spec)
        assert status == 201
        schema = version(spec=strict)
        schema["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = ["new"]
        patch = {"spec": {"versions": [schema]}}
        status, body = await api.send("PATCH", crds.path(crd), patch, content_type=MERGE_PATCH)
        assert status == 200, body
        await _judges_strictly(api, group)
        one = f"{api.path(f'{group}/v1/things')}/one"
        for changes, wrong in (
            ({"metadata": {"labels": {"a": "b"}}}, set()),
            ({"spec": {"free": "y"}}, {("FieldValueRequired", "spec.new")}),
            ({"spec": {"new": "n", "free": "y"}}, set()),
            ({"spec": {"new": "n", "word": "longer"}}, {("FieldValueTooLong", "spec.word")}),
            ({"spec": {"new": "n", "word": "ok"}}, set()),
            ({"spec": {"new": "n", "number": 6}}, {("FieldValueInvalid", "spec.number")}),
            ({"spec": {"new": "n", "map": {"b": "o"}}}, set()),
            ({"spec": {"new": "n", "map": {"b": "odd"}}}, {("FieldValueTooLong", "spec.map.b")}),
            ({"spec": {"new": "n", "list": ["long", "long", "ok"]}}, None),
            ({"spec": {"new": "n", "parts": [{"k": "1", "v": "long"}, {"k": "2", "v": "o"}]}}, set()),
            ({"spec": {"new": "n", "parts": [{"k": "2", "v": "ok"}, {"k": "1", "v": "long"}]}}, set()),
            ({"spec": {"new": "n", "parts": [{"k": "3", "v": "long"}]}}, {("FieldValueTooLong", "spec.parts[0].v")}),
        ):
            status, body = await api.send("PATCH", f"{one}?dryRun=All", changes, content_type=MERGE_PATCH)
            found = crds.causes(body) if status == 422 else set()
            if wrong is None:
                assert found == {("FieldValueTooLong", "spec.list[0]"), ("FieldValueTooLong", "spec.list[1]")}
            else:
                assert found == wrong, changes


async def _judges_strictly(api: Api, group: str) -> None:
    """Wait until the server judges by the new schema."""
    for _ in range(500):
        status, _ = await create(api, group, "probe", "?dryRun=All", spec={"word": "long", "new": "n"})
        if status == 422:
            return
    raise AssertionError("the new schema never came into force")


async def test_a_rule_tells_what_it_is_about(api: Api) -> None:
    """Message, reason and field of a rule are those of the refusal; it is not asked on a create."""
    group = crds.group()
    rule = {"rule": "self == oldSelf", "message": "may not change", "reason": "FieldValueForbidden"}
    schema = {
        "fixed": {**TEXT, "x-kubernetes-validations": [rule]},
        "part": {
            "type": "object",
            "properties": {"a": TEXT, "b": TEXT},
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "fieldPath": ".a"}],
        },
    }
    async with crds.installed(api, definition(group, version(spec=schema))):
        status, _ = await create(api, group, "one", spec={"fixed": "x", "part": {"a": "x"}})
        assert status == 201
        one = f"{api.path(f'{group}/v1/things')}/one"
        patch = {"spec": {"fixed": "y", "part": {"a": "y"}}}
        status, body = await api.send("PATCH", one, patch, content_type=MERGE_PATCH)
        assert status == 422
        assert sorted((one["reason"], one["field"], one["message"]) for one in body["details"]["causes"]) == [
            ("FieldValueForbidden", "spec.fixed", "Forbidden: may not change"),
            ("FieldValueInvalid", "spec.part.a", "Invalid value: failed rule: self == oldSelf"),
        ]
        patch = {"spec": {"fixed": None}}
        status, _ = await api.send("PATCH", one, patch, content_type=MERGE_PATCH)
        assert status == 200
