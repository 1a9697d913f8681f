"""What only the local server has over HTTP: its one token, its limit of nesting, its metrics.

What kube-apiserver answers too is asked of both in ``tests/conformance``.
"""

from __future__ import annotations

from typing import Any


async def _create(api: Any, name: str, **fields: Any) -> Any:
    status, created = await api.send("POST", api.executions, api.execution(name, **fields))
    assert status == 201, created
    return created


async def test_without_a_token_every_object_is_refused_and_health_is_not(api: Any, local_server: Any) -> None:
    """401 as a Status; a wrong token is no better than none; health is open."""
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        status, body = await api.send("GET", "/api/v1/namespaces", **headers)
        assert (status, body["reason"]) == (401, "Unauthorized")
    assert (await api.send("GET", "/metrics", Authorization=""))[0] == 401
    assert await api.send("GET", "/readyz", Authorization="") == (200, b"ok")
    prefixed = await api.send("GET", f"/{local_server.token}/api/v1/namespaces/default", Authorization="")
    assert prefixed[0] == 200


async def test_what_is_nested_too_deeply_is_a_bad_request_however_it_comes(api: Any) -> None:
    """Creates, merge patches, and JSON patches that put two shallow things together; 400 is final for clients."""

    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    kind = b'"apiVersion":"kontinue.cloud/v1alpha1","kind":"Execution"'
    for levels in (255, 300, 900, 1015):
        body = b'{%b,"metadata":{"name":"deep"},"spec":{"function":"f","arguments":%b}}' % (kind, nested(levels))
        for query in ("", "?fieldValidation=Strict"):
            status, answer = await api.send("POST", api.executions + query, body)
            assert (status, answer["reason"], "nested" in answer["message"]) == (400, "BadRequest", True), answer
        await _create(api, f"e{levels}")
        patch = b'{"status":{"result":%b}}' % nested(levels)
        path = f"{api.executions}/e{levels}/status"
        status, answer = await api.send("PATCH", path, patch, content_type=api.merge_patch)
        assert (status, "nested" in answer["message"]) == (400, True), answer
    body = b'{%b,"metadata":{"name":"half"},"spec":{"function":"f"},"status":{}}' % kind
    assert (await api.send("POST", api.executions, body))[0] == 201
    patch = b'[{"op":"add","path":"/status","value":{"result":%b}}]' % nested(200)
    status, _ = await api.send("PATCH", f"{api.executions}/half/status", patch, content_type=api.json_patch)
    assert status == 200
    patch = b'[{"op":"add","path":"/status/result%b","value":%b}]' % (b"/a" * 200, nested(200))
    status, answer = await api.send("PATCH", f"{api.executions}/half/status", patch, content_type=api.json_patch)
    assert (status, "nested" in answer["message"]) == (400, True), answer


async def test_applied_metadata_of_the_wrong_types_is_the_clients_fault(api: Any) -> None:
    """400, where kube-apiserver answers 500; the conformance suite asks of both that nothing is stored."""
    await _create(api, "a")
    owner = {"apiVersion": [None], "kind": "", "name": "", "uid": ""}
    body = {**api.execution("a"), "metadata": {"name": "a", "ownerReferences": [owner]}}
    apply = {"content_type": "application/apply-patch+yaml"}
    status, answer = await api.send("PATCH", f"{api.executions}/a?fieldManager=m", body, **apply)
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_writes_are_counted_by_resource_and_verb(api: Any) -> None:
    """/metrics counts what was committed; reads, refusals and no-ops count nothing."""
    created = await _create(api, "a")
    await api.send("PUT", f"{api.executions}/a/status", {**created, "status": {"phase": "Completed"}})
    await api.send("PATCH", f"{api.executions}/a", {}, content_type=api.merge_patch)
    await api.send("POST", api.executions, api.execution("a"))
    _, text = await api.send("GET", "/metrics")
    lines = [line for line in text.decode().splitlines() if 'resource="executions' in line]
    assert lines == [
        'kontinue_apiserver_writes_total{resource="executions",verb="create"} 1',
        'kontinue_apiserver_writes_total{resource="executions/status",verb="update"} 1',
    ]
