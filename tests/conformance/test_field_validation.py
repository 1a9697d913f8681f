"""fieldValidation: unknown and repeated members are dropped, warned of or refused as asked."""

from __future__ import annotations

from typing import Any

import pytest

from api import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
REPEATED = (
    b'{"apiVersion":"kontinue.cloud/v1alpha1","kind":"Execution","metadata":{"name":"a","name":"a"},'
    b'"spec":{"function":"f","function":"g","retry":{"retries":1,"retries":2},"arguments":{"l":[{"x":1,"x":2}]}}}'
)
REPEATED_PATHS = ("metadata.name", "spec.function", "spec.retry.retries", "spec.arguments.l[0].x")
REPEATED_YAML = b"""
apiVersion: kontinue.cloud/v1alpha1
kind: Execution
metadata:
  name: a
spec:
  function: f
  function: g
  retry: {retries: 1, retries: 2}
"""


@pytest.fixture
def path(api: Api) -> str:
    """The collection of Executions."""
    return api.path(EXECUTIONS)


def warnings(api: Api) -> list[str]:
    """Return what the last answer warned of."""
    return [text.removeprefix("299 - ")[1:-1].replace('\\"', '"') for text in api.headers.getall("Warning", [])]


def with_unknown_fields() -> Any:
    """Return an Execution with four fields too many."""
    return execution("a", metadata={"zz": 1}, spec={"nonsense": 1, "retry": {"more": 2}}, extra=1)


UNKNOWN = {f'unknown field "{path}"' for path in ("metadata.zz", "extra", "spec.nonsense", "spec.retry.more")}


@pytest.mark.parametrize("query", ["", "?fieldValidation=", "?fieldValidation=Warn"])
async def test_unknown_fields_are_dropped_with_a_warning_each(api: Api, path: str, query: str) -> None:
    """Warn is what is done unless asked otherwise."""
    status, created = await api.send("POST", path + query, with_unknown_fields())
    assert (status, created["spec"], "extra" in created) == (201, {"function": "hello", "retry": {}}, False)
    assert set(warnings(api)) == UNKNOWN
    assert all(text.startswith("299 - ") for text in api.headers.getall("Warning"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("é", ['unknown field "spec.é"']),
        ("🙂", ['unknown field "spec.🙂"']),
        ("a\u2028b", ['unknown field "spec.a\u2028b"']),
        ("a\\b", ['unknown field "spec.a\\\\b"']),
        ("a\r\nX-Own: b", []),
        ("a\x7f", []),
        ("\x85", []),
    ],
    ids=["accent", "emoji", "line-separator", "backslash", "line-end", "delete", "next-line"],
)
async def test_warnings_name_fields_as_they_are_written_but_never_end_the_header(
    api: Api, path: str, name: str, told: list[str]
) -> None:
    """UTF-8 as it is; no warning at all of what has control characters."""
    status, _ = await api.send("POST", f"{path}?dryRun=All", execution("a", spec={name: 1}))
    assert (status, warnings(api), "X-Own" in api.headers) == (201, told, False)


async def test_many_warnings_are_cut(api: Api, path: str) -> None:
    """Past 4,096 characters in all only the beginnings of the first ones are told: clients bound their headers."""
    unknown = {f"{number:03}{'x' * 300}": 1 for number in range(200)}
    status, _ = await api.send("POST", f"{path}?dryRun=All", execution("a", spec=unknown))
    assert (status, [len(text) for text in warnings(api)]) == (201, [256] * 16)


async def test_unknown_fields_are_dropped_silently_with_ignore(api: Api, path: str) -> None:
    """No header."""
    status, created = await api.send("POST", f"{path}?fieldValidation=Ignore", with_unknown_fields())
    assert (status, created["spec"], warnings(api)) == (201, {"function": "hello", "retry": {}}, [])


async def test_unknown_fields_are_refused_with_strict(api: Api, path: str) -> None:
    """400 names them all, and nothing is stored."""
    status, answer = await api.send("POST", f"{path}?fieldValidation=Strict", with_unknown_fields())
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert "strict decoding error: " in answer["message"]
    assert all(text in answer["message"] for text in UNKNOWN)
    assert (await api.send("GET", f"{path}/a"))[0] == 404


async def test_known_fields_are_taken_with_strict(api: Api, path: str) -> None:
    """Free-form parts have no unknown fields, and a status that is dropped is none."""
    body = execution("a", spec={"arguments": {"any": {"thing": 1}}}, status={"phase": "Executing"})
    status, created = await api.send("POST", f"{path}?fieldValidation=Strict", body)
    assert (status, created["spec"]["arguments"], warnings(api)) == (201, {"any": {"thing": 1}}, [])


async def test_updates_and_patches_are_validated_too(api: Api, path: str) -> None:
    """Strict is 400 for an update and 422 for a patch; Warn warns; Ignore is silent."""
    _, created = await api.send("POST", path, execution("a"))
    unknown = {**created, "spec": {"function": "hello", "nonsense": 1}}
    add = [{"op": "add", "path": "/spec/nonsense", "value": 1}]
    writes: list[tuple[str, Any, str, int]] = [
        ("PUT", unknown, "application/json", 400),
        ("PATCH", {"spec": {"nonsense": 1}}, MERGE_PATCH, 422),
        ("PATCH", add, JSON_PATCH, 422),
    ]
    for method, body, content_type, code in writes:
        place = f"{path}/a?fieldValidation="
        status, answer = await api.send(method, f"{place}Strict", body, content_type=content_type)
        assert (status, 'unknown field "spec.nonsense"' in answer["message"]) == (code, True)
        for validation, expected in (("Warn", ['unknown field "spec.nonsense"']), ("Ignore", [])):
            status, answer = await api.send(method, place + validation, body, content_type=content_type)
            assert (status, answer["spec"], warnings(api)) == (200, created["spec"], expected)
    status, answer = await api.send(
        "PATCH", f"{path}/a/status?fieldValidation=Strict", {"status": {"nonsense": 1}}, content_type=MERGE_PATCH
    )
    assert (status, 'unknown field "status.nonsense"' in answer["message"]) == (422, True)
    assert await api.send("GET", f"{path}/a") == (200, created)


async def test_members_that_stand_twice_are_refused_with_strict(api: Api, path: str) -> None:
    """400 names each by its path, in free-form parts too."""
    status, answer = await api.send("POST", f"{path}?fieldValidation=Strict", REPEATED)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert "strict decoding error: " in answer["message"]
    assert all(f'duplicate field "{field}"' in answer["message"] for field in REPEATED_PATHS)


async def test_members_that_stand_twice_are_warned_of(api: Api, path: str) -> None:
    """The last one counts."""
    status, created = await api.send("POST", f"{path}?fieldValidation=Warn", REPEATED)
    assert (status, created["spec"]["function"], created["spec"]["retry"]) == (201, "g", {"retries": 2})
    assert set(warnings(api)) == {f'duplicate field "{field}"' for field in REPEATED_PATHS}


async def test_members_that_stand_twice_are_no_matter_with_ignore(api: Api, path: str) -> None:
    """The last one counts all the same."""
    status, created = await api.send("POST", f"{path}?fieldValidation=Ignore", REPEATED)
    assert (status, created["spec"]["function"], warnings(api)) == (201, "g", [])


async def test_keys_that_stand_twice_in_yaml(api: Api, path: str) -> None:
    """Told by their line: refused with Strict, warned of with Warn, dropped with Ignore."""
    complaints = ['line 8: key "function" already set in map', 'line 9: key "retries" already set in map']
    yaml: dict[str, Any] = {"content_type": "application/yaml"}
    status, answer = await api.send("POST", f"{path}?fieldValidation=Strict", REPEATED_YAML, **yaml)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert all(text in answer["message"] for text in complaints)
    for validation, expected in (("Warn", complaints), ("Ignore", [])):
        query = f"?dryRun=All&fieldValidation={validation}"
        status, created = await api.send("POST", path + query, REPEATED_YAML, **yaml)
        assert (status, created["spec"]["function"], warnings(api)) == (201, "g", expected)


async def test_members_that_stand_twice_in_a_patch(api: Api, path: str) -> None:
    """422 with Strict; with Warn the last one counts."""
    await api.send("POST", path, execution("a"))
    body = b'{"spec":{"retry":{"retries":1,"retries":2}}}'
    place = f"{path}/a?fieldValidation="
    status, answer = await api.send("PATCH", f"{place}Strict", body, content_type=MERGE_PATCH)
    assert (status, 'duplicate field "spec.retry.retries"' in answer["message"]) == (422, True)
    status, patched = await api.send("PATCH", f"{place}Warn", body, content_type=MERGE_PATCH)
    assert (status, patched["spec"]["retry"]) == (200, {"retries": 2})
    assert warnings(api) == ['duplicate field "spec.retry.retries"']


async def test_built_in_kinds_are_validated_too(api: Api) -> None:
    """Their fields are known as well as those of custom ones."""
    maps = api.path("configmaps")
    body = b'{"metadata":{"name":"a"},"nonsense":1,"data":{"k":"1","k":"2"}}'
    status, answer = await api.send("POST", f"{maps}?fieldValidation=Strict", body)
    assert (status, answer["reason"]) == (400, "BadRequest")
    complaints = {'unknown field "nonsense"', 'duplicate field "data.k"'}
    assert all(text in answer["message"] for text in complaints)
    status, created = await api.send("POST", f"{maps}?fieldValidation=Warn", body)
    assert (status, created["data"], "nonsense" in created) == (201, {"k": "2"}, False)
    assert set(warnings(api)) == complaints


@pytest.mark.parametrize("value", ["strict", "Nothing"])
async def test_validations_that_do_not_exist_are_refused(api: Api, path: str, value: str) -> None:
    """422 of the options."""
    _, created = await api.send("POST", path, execution("a"))
    writes: list[tuple[str, str, Any, str, str]] = [
        ("POST", path, execution("b"), "application/json", "CreateOptions"),
        ("PUT", f"{path}/a", created, "application/json", "UpdateOptions"),
        ("PATCH", f"{path}/a", {}, MERGE_PATCH, "PatchOptions"),
        ("PATCH", f"{path}/a", {}, APPLY_PATCH, "PatchOptions"),
    ]
    for method, place, body, content_type, kind in writes:
        query = f"?fieldManager=me&fieldValidation={value}"
        status, answer = await api.send(method, place + query, body, content_type=content_type)
        assert (status, answer["details"]["kind"]) == (422, kind)
        assert answer["details"]["causes"][0]["field"] == "fieldValidation"
