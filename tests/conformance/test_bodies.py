"""What bodies may be: JSON and YAML, their content types, depth and size."""

from __future__ import annotations

from typing import Any

import pytest

from api import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
MEBIBYTE = 1024 * 1024
YAML: dict[str, Any] = {"content_type": "application/yaml"}


@pytest.fixture
def path(api: Api) -> str:
    """The collection of Executions."""
    return api.path(EXECUTIONS)


@pytest.fixture
def maps(api: Api) -> str:
    """The collection of ConfigMaps."""
    return api.path("configmaps")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"{} {}", b'{"a":1}x', b"[1"])
async def test_a_body_that_is_no_object_is_a_bad_request(api: Api, path: str, maps: str, body: bytes) -> None:
    """400 with a Status, whatever the bytes."""
    for collection in (path, maps):
        status, answer = await api.send("POST", collection, body)
        assert (status, answer["kind"], answer["reason"]) == (400, "Status", "BadRequest")
    assert (await api.send("PUT", f"{path}/a", body))[0] == 400


@pytest.mark.parametrize("content_type", ["", "application/json", "application/json; charset=utf-8"])
async def test_json_may_come_without_its_type(api: Api, maps: str, content_type: str) -> None:
    """The Python client sends none with creates and updates."""
    # aiohttp gives bytes a type unless told of an empty one.
    headers = {} if content_type else {"Content-Type": ""}
    status, _ = await api.send("POST", maps, {"metadata": {"name": "a"}}, content_type=content_type, **headers)
    assert status == 201


@pytest.mark.parametrize("content_type", ["text/xml", "text/plain", "application/octet-stream", MERGE_PATCH])
async def test_other_types_are_refused_naming_those_accepted(api: Api, path: str, maps: str, content_type: str) -> None:
    """415; a patch's type is for PATCH alone."""
    for method, place in (("POST", path), ("POST", maps), ("PUT", f"{maps}/a")):
        status, answer = await api.send(method, place, {"metadata": {"name": "a"}}, content_type=content_type)
        assert (status, answer["reason"]) == (415, "UnsupportedMediaType")
        assert "accepted media types include: application/json, application/yaml" in answer["message"]


async def test_objects_come_in_yaml(api: Api, path: str) -> None:
    """Dates stay text, what looks like a number or a boolean is one, keys become text."""
    body = b"""# an Execution
apiVersion: kontinue.cloud/v1alpha1
kind: Execution
metadata: &meta
  name: in-yaml
spec:
  function: hello
  arguments: {at: 2026-01-01, at2: 2026-01-01T00:00:00Z, yes: true, num: 5, f: 1.5, s: "5", l: [a, ~], 2: x}
"""
    status, created = await api.send("POST", path, body, **YAML)
    assert status == 201, created
    arguments = created["spec"]["arguments"]
    assert (arguments["at"], arguments["at2"]) == ("2026-01-01", "2026-01-01T00:00:00Z")
    assert (arguments["num"], arguments["f"], arguments["s"]) == (5, 1.5, "5")
    assert (arguments["l"], arguments["true"], arguments["2"]) == (["a", None], True, "x")
    body = b"metadata: {name: m}\ndata:\n  text: |\n    two\n    lines\n"
    status, created = await api.send("POST", api.path("configmaps"), body, **YAML)
    assert (status, created["data"]) == (201, {"text": "two\nlines\n"})
    status, updated = await api.send("PUT", api.path("configmaps", "m"), b"metadata: {name: m}\n", **YAML)
    assert (status, "data" in updated) == (200, False)


async def test_plain_scalars_are_those_of_yaml_1_1(api: Api, path: str) -> None:
    """A y is true, which surprises; no time of day is a number; infinity is a bad request."""
    head = b"apiVersion: kontinue.cloud/v1alpha1\nkind: Execution\nmetadata: {name: a}\nspec:\n  function: hello\n"
    body = head + b"  arguments: {a: y, b: N, c: off, d: 010, e: 0x10, f: 1_000, h: .5, i: 12:30:45, l: 1.2.3, m: y1}\n"
    status, created = await api.send("POST", path, body, **YAML)
    assert status == 201, created
    arguments = {"a": True, "b": False, "c": False, "d": 8, "e": 16, "f": 1000, "h": 0.5, "l": "1.2.3", "m": "y1"}
    assert created["spec"]["arguments"] == {**arguments, "i": "12:30:45"}
    assert (await api.send("POST", path, head + b"  arguments: {a: .inf}\n", **YAML))[0] == 400


@pytest.mark.parametrize("body", [b"a: [", b"\tx: 1", b"- a\n", b"text", b"a: b: c", b"a: *nowhere"])
async def test_yaml_that_is_no_object_is_a_bad_request(api: Api, path: str, maps: str, body: bytes) -> None:
    """400."""
    for collection in (path, maps):
        status, answer = await api.send("POST", collection, body, **YAML)
        assert (status, answer["reason"]) == (400, "BadRequest")


async def test_yaml_aliases_do_not_multiply_without_end(api: Api, path: str) -> None:
    """400 for a small body that would unfold to gigabytes."""
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%b]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)]
    status, answer = await api.send("POST", path, b"\n".join(lines), **YAML)
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_bodies_past_3_mib_are_refused(api: Api, path: str, maps: str) -> None:
    """413 with a Status, and the server goes on."""
    for method, place, content_type in (
        ("POST", path, "application/json"),
        ("PUT", f"{maps}/a", "application/json"),
        ("PATCH", f"{path}/a", MERGE_PATCH),
    ):
        body = b'{"metadata":{"name":"a"},"data":{"a":"%b"}}' % (b"x" * 3 * MEBIBYTE)
        status, answer = await api.send(method, place, body, content_type=content_type)
        assert (status, answer["kind"], answer["reason"]) == (413, "Status", "RequestEntityTooLarge")
    assert (await api.send("POST", path, execution("a")))[0] == 201


async def test_objects_past_what_can_be_stored_are_refused(api: Api, path: str) -> None:
    """1.4 MiB is stored; 2.5 MiB is an error for good, of which nothing is stored."""
    big = execution("a", spec={"arguments": {"text": "x" * (1400 * 1024)}})
    assert (await api.send("POST", path, big))[0] == 201
    big = execution("b", spec={"arguments": {"text": "x" * (2500 * 1024)}})
    status, answer = await api.send("POST", path, big)
    # kube-apiserver passes on what etcd says of it, as 500.
    assert (status in {413, 500}, answer["kind"]) == (True, "Status")
    assert (await api.send("GET", f"{path}/b"))[0] == 404


async def test_large_integers_and_unicode_come_back_as_they_went(api: Api, path: str) -> None:
    """Integers of 64 bits, text beyond the basic plane and escapes."""
    arguments = {"max": 2**63 - 1, "min": -(2**63), "text": 'ü 🎈 \u2028 " \\ / \n\t\u0001', "f": 1.25, "e": ""}
    status, _ = await api.send("POST", path, execution("a", spec={"arguments": arguments}))
    assert status == 201
    _, read = await api.send("GET", f"{path}/a")
    assert read["spec"]["arguments"] == arguments


async def test_whole_numbers_are_integers_however_they_are_written(api: Api, path: str) -> None:
    """1.0 and 1e0 come back as 1, from a read as from the write, and may stand for an integer in JSON and YAML."""
    written = b'{"a":1.0,"b":[-0.0,1e3,{"c":2.0}],"d":1.5,"e":".0,","f":1.0}'
    body = (
        b'{"apiVersion":"kontinue.cloud/v1alpha1","kind":"Execution","metadata":{"name":"NAME"},'
        b'"spec":{"function":"f","retry":{"retries":3.0},"arguments":%b}}' % written
    )
    wanted = "{'a': 1, 'b': [0, 1000, {'c': 2}], 'd': 1.5, 'e': '.0,', 'f': 1}"
    for name, options in (("json", {}), ("yaml", YAML)):
        status, created = await api.send("POST", path, body.replace(b"NAME", name.encode()), **options)
        assert status == 201, created
        _, found = await api.send("GET", f"{path}/{name}")
        for spec in (created["spec"], found["spec"]):
            assert repr(spec["retry"]["retries"]) == "3"
            assert repr({key: spec["arguments"][key] for key in sorted(spec["arguments"])}) == wanted
    patch = b'{"spec":{"retry":{"retries":7.0}}}'
    for _ in range(2):
        status, patched = await api.send("PATCH", f"{path}/json", patch, content_type=MERGE_PATCH)
        assert status == 200, patched
        assert repr(patched["spec"]["retry"]["retries"]) == "7"


async def test_a_whole_number_is_no_integer_of_a_built_in_kind_in_json(api: Api) -> None:
    """400 where the type is Go's; YAML, an apply and a strategic merge patch are read by way of another one."""
    leases = api.path("coordination.k8s.io/v1/leases")
    body = (
        b'{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"},'
        b'"spec":{"leaseDurationSeconds":%b}}'
    )
    assert (await api.send("POST", leases, body % b"1.0"))[0] == 400
    status, created = await api.send("POST", leases, body % b"1.0", **YAML)
    assert (status, repr(created["spec"]["leaseDurationSeconds"])) == (201, "1")
    lease, patch = f"{leases}/a", b'{"spec":{"leaseDurationSeconds":%b}}'
    assert (await api.send("PATCH", lease, patch % b"2.0", content_type=MERGE_PATCH))[0] == 422
    for value, code in ((b"2.5", 422), (b"2.0", 200)):
        status, patched = await api.send("PATCH", lease, patch % value, content_type=STRATEGIC_PATCH)
        assert status == code, patched
    assert repr(patched["spec"]["leaseDurationSeconds"]) == "2"
    apply = f"{lease}?fieldManager=a&force=true"
    status, applied = await api.send("PATCH", apply, body % b"3.0", content_type=APPLY_PATCH)
    assert status == 200, applied
    assert repr(applied["spec"]["leaseDurationSeconds"]) == "3"
