"""Server-side printing (what ``kubectl get`` shows) and metadata alone, of objects, lists and watches."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api import MERGE_PATCH, Api, execution, unique
from watched import events_of

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TABLE_V1BETA1 = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
KUBECTL = f"{TABLE},{TABLE_V1BETA1},application/json"
COLUMNS = [
    ("Text", "string", ".x", {}),
    ("Integer", "integer", ".x", {"priority": 1, "description": "A whole number."}),
    ("Number", "number", ".x", {"format": "double"}),
    ("Boolean", "boolean", ".x", {}),
    ("Date", "date", ".x", {}),
    ("First", "string", ".list[0].a", {}),
    ("Last", "string", ".list[-1].b", {}),
    ("Beyond", "string", ".list[9].a", {}),
    ("Any", "string", ".list[*].a", {}),
    ("Some", "integer", ".numbers[1:2]", {}),
    ("Ready", "string", '.conditions[?(@.type=="Ready")].status', {}),
    ("Label", "string", r".metadata.labels.example\.com/k", {}),
    ("Quoted", "string", r".metadata.labels['example\.com/k']", {}),
    ("All", "string", ".list", {}),
    ("Missing", "date", ".missing.at", {}),
]


@pytest.fixture
async def printed(api: Api) -> AsyncIterator[str]:
    """A kind with columns of every type; gives its path within ``Api.path``."""
    plural = unique("prints").replace("-", "")
    group = "tables.example.com"
    columns = [{"name": name, "type": kind, "jsonPath": path, **more} for name, kind, path, more in COLUMNS]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "additionalPrinterColumns": columns,
    }
    names = {"plural": plural, "kind": plural.capitalize()}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, created = await api.send("POST", crds, crd)
    assert status == 201, created
    await api.eventually(api.path(f"{group}/v1/{plural}"), 200)
    yield f"{group}/v1/{plural}"
    await api.send("DELETE", f"{crds}/{plural}.{group}")


async def _create(api: Api, plural: str, name: str, **fields: Any) -> Any:
    status, created = await api.send("POST", api.path(plural), {"metadata": {"name": name}, **fields})
    assert status == 201, created
    return created


async def test_cells_are_of_the_type_of_their_column(api: Api, printed: str) -> None:
    """What is of another type, or missing, is null; a date is an age."""
    values: dict[str, Any] = {
        "text": "text",
        "empty": "",
        "whole": 7,
        "fraction": 3.7,
        "even": 2.0,
        "large": 1234567.5,
        "small": 0.00001,
        "medium": 123456.5,
        "huge": 1e30,
        "yes": True,
        "map": {"b": 1, "a": [1, "x"]},
        "list": [1, "a", True],
        "past": "2000-01-01T00:00:00Z",
        "offset": "2000-01-01T02:00:00+02:00",
        "future": "2999-01-01T00:00:00Z",
    }
    api_version = printed.rpartition("/")[0]
    kind = printed.rpartition("/")[2].capitalize()
    common = {
        "apiVersion": api_version,
        "kind": kind,
        "list": [{"a": "p"}, {"b": 1}],
        "numbers": [5, 6, 7],
        "conditions": [{"type": "Other", "status": "X"}, {"type": "Ready", "status": "True"}],
    }
    for name, value in values.items():
        metadata = {"name": name, "labels": {"example.com/k": "v"}}
        await _create(api, printed, name, **{**common, "metadata": metadata, "x": value})
    _, table = await api.send("GET", api.path(printed), Accept=TABLE)
    shown = [(c["name"], c["type"], c["format"], c["priority"]) for c in table["columnDefinitions"]]
    declared = [(name, kind, m.get("format", ""), m.get("priority", 0)) for name, kind, _, m in COLUMNS]
    assert shown == [("Name", "string", "name", 0), *declared]
    assert table["columnDefinitions"][2]["description"] == "A whole number."
    assert ".x" in table["columnDefinitions"][1]["description"]
    cells = {row["cells"][0]: row["cells"][1:] for row in table["rows"]}
    ages = {name: row.pop(4) for name, row in cells.items()}
    fixed = ["p", "1", None, "p", 6, "True", "v", "v", '[{"a":"p"},{"b":1}]', None]
    assert cells == {
        "text": ["text", None, None, None, *fixed],
        "empty": ["", None, None, None, *fixed],
        "whole": ["7", 7, 7, None, *fixed],
        "fraction": ["3.7", 3, 3.7, None, *fixed],
        "even": ["2", 2, 2, None, *fixed],
        "large": ["1.2345675e+06", 1234567, 1234567.5, None, *fixed],
        "small": ["1e-05", 0, 0.00001, None, *fixed],
        "medium": ["123456.5", 123456, 123456.5, None, *fixed],
        "huge": ["1e+30", -(2**63), 1e30, None, *fixed],
        "yes": ["true", None, None, True, *fixed],
        "map": ['{"a":[1,"x"],"b":1}', None, None, None, *fixed],
        "list": ['[1,"a",true]', None, None, None, *fixed],
        "past": ["2000-01-01T00:00:00Z", None, None, None, *fixed],
        "offset": ["2000-01-01T02:00:00+02:00", None, None, None, *fixed],
        "future": ["2999-01-01T00:00:00Z", None, None, None, *fixed],
    }
    assert ages["past"] == ages["offset"] != "<invalid>"
    assert ages["past"].endswith("y") or "y" in ages["past"]
    assert ages["future"] == ages["text"] == "<invalid>"
    assert ages["empty"] == "<unknown>"
    assert ages["whole"] is ages["map"] is None


async def test_our_own_kinds_are_printed_with_their_columns(api: Api) -> None:
    """What ``kubectl get executions`` shows on either server."""
    await api.send("POST", api.path(EXECUTIONS), execution("a"))
    status = {"status": {"phase": "Executing", "attemptCount": 2, "waitingFor": [{"kind": "Timer", "name": "t"}]}}
    assert (await api.send("PATCH", api.path(EXECUTIONS, "a", "status"), status, content_type=MERGE_PATCH))[0] == 200
    _, table = await api.send("GET", api.path(EXECUTIONS), Accept=KUBECTL)
    shown = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert shown == ["Name", "Function", "Phase", "Attempt", "Waiting-For", "Age"]
    (row,) = table["rows"]
    assert row["cells"][: len(shown) - 1] == ["a", "hello", "Executing", 2, "t"]
    assert row["cells"][len(shown) - 1][-1] == "s"
    assert len(row["cells"]) == len(table["columnDefinitions"])


@pytest.mark.parametrize(("accept", "version"), [(TABLE, "v1"), (TABLE_V1BETA1, "v1beta1"), (KUBECTL, "v1")])
async def test_a_table_is_given_for_objects_and_lists(api: Api, accept: str, version: str) -> None:
    """In the version that was asked for first; rows carry metadata unless asked otherwise; pages are pages."""
    for name in "ab":
        await api.send("POST", api.path(EXECUTIONS), execution(name, metadata={"labels": {"l": "1"}}))
    for path, names in ((api.path(EXECUTIONS), ["a", "b"]), (api.path(EXECUTIONS, "b"), ["b"])):
        _, table = await api.send("GET", path, Accept=accept)
        assert (table["kind"], table["apiVersion"]) == ("Table", f"meta.k8s.io/{version}")
        assert [row["cells"][0] for row in table["rows"]] == names
        assert table["metadata"]["resourceVersion"].isdecimal()
        partial = table["rows"][0]["object"]
        assert set(partial) == {"kind", "apiVersion", "metadata"}
        assert (partial["kind"], partial["apiVersion"]) == ("PartialObjectMetadata", f"meta.k8s.io/{version}")
        assert (partial["metadata"]["name"], partial["metadata"]["labels"]) == (names[0], {"l": "1"})
    _, page = await api.send("GET", f"{api.path(EXECUTIONS)}?limit=1", Accept=accept)
    assert (len(page["rows"]), page["metadata"]["remainingItemCount"]) == (1, 1)
    _, rest = await api.send(
        "GET", f"{api.path(EXECUTIONS)}?limit=1&continue={page['metadata']['continue']}", Accept=accept
    )
    assert [row["cells"][0] for row in rest["rows"]] == ["b"]
    assert (await api.send("GET", api.path(EXECUTIONS, "zz"), Accept=accept))[1]["kind"] == "Status"


async def test_rows_carry_what_was_asked_for(api: Api) -> None:
    """Metadata by default, the whole object, or nothing; anything else is a bad request."""
    await api.send("POST", api.path(EXECUTIONS), execution("a"))
    _, plain = await api.send("GET", api.path(EXECUTIONS, "a"))
    for path in (api.path(EXECUTIONS), api.path(EXECUTIONS, "a")):
        _, whole = await api.send("GET", f"{path}?includeObject=Object", Accept=TABLE)
        assert whole["rows"][0]["object"] == plain
        _, none = await api.send("GET", f"{path}?includeObject=None", Accept=TABLE)
        assert none["rows"][0]["object"] is None
        _, metadata = await api.send("GET", f"{path}?includeObject=Metadata", Accept=TABLE)
        assert "spec" not in metadata["rows"][0]["object"]
        status, refused = await api.send("GET", f"{path}?includeObject=Everything", Accept=TABLE)
        assert (status, "includeObject" in refused["message"]) == (400, True)
        assert (await api.send("GET", f"{path}?includeObject=Everything"))[0] == 200


async def test_metadata_alone_is_given_for_objects_and_lists(api: Api) -> None:
    """As metadata informers and controller-runtime ask; one form for objects, one for lists."""
    await api.send("POST", api.path(EXECUTIONS), execution("a", metadata={"labels": {"l": "1"}}))
    _, plain = await api.send("GET", api.path(EXECUTIONS, "a"))
    _, one = await api.send("GET", api.path(EXECUTIONS, "a"), Accept=f"{METADATA},application/json")
    kind = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
    assert one == {**kind, "metadata": plain["metadata"]}
    _, listed = await api.send("GET", api.path(EXECUTIONS), Accept=METADATA_LIST)
    assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert listed["items"] == [one]
    assert listed["metadata"]["resourceVersion"]
    beta = METADATA_LIST.replace("v=v1", "v=v1beta1")
    assert (await api.send("GET", api.path(EXECUTIONS), Accept=beta))[1]["apiVersion"] == "meta.k8s.io/v1beta1"
    assert (await api.send("GET", api.path(EXECUTIONS), Accept=METADATA))[0] == 406


async def test_metadata_of_nothing_is_null(api: Api) -> None:
    """A client that expects an array always would fail on the day that the last object goes."""
    assert (await api.send("GET", api.path(EXECUTIONS), Accept=METADATA_LIST))[1]["items"] is None
    assert (await api.send("GET", api.path(EXECUTIONS)))[1]["items"] == []


async def test_the_first_form_that_can_be_given_is_given(api: Api) -> None:
    """What is unknown in Accept is passed over; with nothing left the answer is 406."""
    await api.send("POST", api.path(EXECUTIONS), execution("a"))
    kinds = {
        "*/*": "Execution",
        "application/*": "Execution",
        "application/json;charset=utf-8": "Execution",
        "text/html, */*;q=0.1": "Execution",
        "application/json;as=Table;v=v9;g=meta.k8s.io,application/json": "Execution",
        "application/json;as=Table;v=v1;g=example.com,application/json": "Execution",
        "*/*;as=Table;v=v1;g=meta.k8s.io": "Table",
        "application/json; as=Table; v=v1; g=meta.k8s.io": "Table",
    }
    found = {accept: (await api.send("GET", api.path(EXECUTIONS, "a"), Accept=accept))[1]["kind"] for accept in kinds}
    assert found == kinds
    for accept in ("text/html", "garbage", ";;,,", "application/json;as=Table;v=v9;g=meta.k8s.io", TABLE + "2"):
        status, body = await api.send("GET", api.path(EXECUTIONS), Accept=accept)
        assert (status, body["reason"]) == (406, "NotAcceptable"), accept


async def test_a_watch_of_tables_names_its_columns_once(api: Api) -> None:
    """In its first event, as ``kubectl get -w`` relies on; bookmarks are rows too."""
    for name in "ab":
        await api.send("POST", api.path(EXECUTIONS), execution(name))
    query = (
        "watch=1&timeoutSeconds=20&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    events = []
    async with contextlib.aclosing(api.watch(f"{api.path(EXECUTIONS)}?{query}", Accept=KUBECTL)) as watched:
        async for event in watched:
            events.append(event)
            if event["type"] == "BOOKMARK":
                break
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    tables = [event["object"] for event in events]
    assert [table["kind"] for table in tables] == ["Table"] * 3
    assert [bool(table["columnDefinitions"]) for table in tables] == [True, False, False]
    assert [table["rows"][0]["cells"][0] for table in tables] == ["a", "b", ""]
    assert tables[0]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    annotations = tables[2]["rows"][0]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}
    for table in tables[:2]:
        version = table["rows"][0]["object"]["metadata"]["resourceVersion"]
        assert table["metadata"]["resourceVersion"] == version


async def test_a_watch_of_metadata_tells_of_changes_without_content(api: Api) -> None:
    """Additions, changes, deletions and bookmarks alike."""
    _, created = await api.send("POST", api.path(EXECUTIONS), execution("a"))
    status = {"status": {"phase": "Executing"}}
    await api.send("PATCH", api.path(EXECUTIONS, "a", "status"), status, content_type=MERGE_PATCH)
    await api.send("DELETE", api.path(EXECUTIONS, "a"))
    before = int(created["metadata"]["resourceVersion"])
    await api.send("POST", api.path(EXECUTIONS), execution("b"))
    path = f"{api.path(EXECUTIONS)}?watch=1&resourceVersion={before}"
    events = await events_of(api, path, 3, Accept=METADATA)
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED", "ADDED"]
    for event, name in zip(events, "aab", strict=True):
        assert set(event["object"]) == {"kind", "apiVersion", "metadata"}
        assert (event["object"]["kind"], event["object"]["metadata"]["name"]) == ("PartialObjectMetadata", name)


async def test_a_write_answers_in_the_form_asked_for(api: Api) -> None:
    """Metadata clients patch without ever reading content."""
    body = execution("a")
    status, created = await api.send("POST", api.path(EXECUTIONS), body, Accept=METADATA)
    assert (status, created["kind"], "spec" in created) == (201, "PartialObjectMetadata", False)
    labels = {"metadata": {"labels": {"x": "y"}}}
    _, patched = await api.send(
        "PATCH", api.path(EXECUTIONS, "a"), labels, content_type=MERGE_PATCH, Accept=f"{METADATA},application/json"
    )
    assert (patched["kind"], patched["metadata"]["labels"]) == ("PartialObjectMetadata", {"x": "y"})
    _, table = await api.send("PATCH", api.path(EXECUTIONS, "a"), labels, content_type=MERGE_PATCH, Accept=TABLE)
    assert (table["kind"], table["rows"][0]["cells"][0]) == ("Table", "a")
