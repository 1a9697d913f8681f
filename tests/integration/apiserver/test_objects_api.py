"""Create, read, update, patch and delete over HTTP, on our kinds and built-in ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


async def _create(api: Any, name: str, **fields: Any) -> Any:
    status, created = await api.send("POST", api.executions, api.execution(name, **fields))
    assert status == 201, created
    return created


async def test_a_create_sets_system_metadata_and_a_get_returns_the_same_object(api: Any) -> None:
    """uid, creationTimestamp, generation 1, namespace and resourceVersion come from the server; status is dropped."""
    created = await _create(api, "a", status={"phase": "Completed"})
    metadata = created["metadata"]
    assert (metadata["name"], metadata["namespace"], metadata["generation"]) == ("a", "default", 1)
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert "status" not in created
    assert await api.send("GET", f"{api.executions}/a") == (200, created)


async def test_without_a_token_every_object_is_refused_and_health_is_not(api: Any, local_server: Any) -> None:
    """401 as a Status; a wrong token is no better than none; health is open."""
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        status, body = await api.send("GET", "/api/v1/namespaces", **headers)
        assert (status, body["reason"]) == (401, "Unauthorized")
    assert (await api.send("GET", "/metrics", Authorization=""))[0] == 401
    assert await api.send("GET", "/readyz", Authorization="") == (200, b"ok")
    prefixed = await api.send("GET", f"/{local_server.token}/api/v1/namespaces/default", Authorization="")
    assert prefixed[0] == 200


async def test_names_that_exist_or_are_invalid_are_refused(api: Any) -> None:
    """409 AlreadyExists; 422 names the field."""
    await _create(api, "a")
    status, body = await api.send("POST", api.executions, api.execution("a"))
    assert (status, body["reason"], body["details"]["name"]) == (409, "AlreadyExists", "a")
    status, body = await api.send("POST", api.executions, api.execution("Not_A_Name"))
    assert (status, body["details"]["causes"][0]["field"]) == (422, "metadata.name")
    status, body = await api.send("POST", api.executions, {**api.execution("x"), "metadata": {}})
    assert (status, body["reason"]) == (422, "Invalid")


async def test_generate_name_gives_different_names(api: Any) -> None:
    """The prefix is completed by five characters."""
    body = {**api.execution(""), "metadata": {"generateName": "run-"}}
    names = {(await api.send("POST", api.executions, body))[1]["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


async def test_a_malformed_execution_is_refused_with_the_path_of_each_field(api: Any) -> None:
    """422 Invalid lists every cause with its field."""
    status, body = await api.send("POST", api.executions, api.execution("a", spec={"retry": {"retries": -1}}))
    assert (status, body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in body["details"]["causes"]] == ["spec.retry.retries"]
    status, body = await api.send("POST", api.executions, {**api.execution("a"), "spec": {}})
    assert (status, body["details"]["causes"][0]["field"]) == (422, "spec.function")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff"])
async def test_a_body_that_is_no_object_is_a_bad_request(api: Any, body: bytes) -> None:
    """400 with a Status, whatever the bytes."""
    status, answer = await api.send("POST", api.executions, body)
    assert (status, answer["reason"]) == (400, "BadRequest")


async def test_content_types_are_judged(api: Any) -> None:
    """No Content-Type means JSON, YAML is taken, protobuf is refused."""
    yaml = b"metadata: {name: y}\nspec: {function: hello, arguments: {at: 2026-01-01}}\n"
    status, created = await api.send("POST", api.executions, yaml, content_type="application/yaml")
    assert (status, created["spec"]["arguments"]) == (201, {"at": "2026-01-01"})
    protobuf = "application/vnd.kubernetes.protobuf"
    assert (await api.send("POST", api.executions, b"k8s\0", content_type=protobuf))[0] == 415
    raw = b'{"metadata":{"name":"j"},"spec":{"function":"hello"}}'
    # aiohttp sends application/octet-stream for bytes without a type; an empty one counts as none.
    assert (await api.send("POST", api.executions, raw, **{"Content-Type": ""}, content_type=""))[0] == 201


async def test_an_update_needs_the_current_resource_version(api: Any) -> None:
    """Stale: 409 Conflict; missing on a custom resource: 422; current: 200 and a new resourceVersion."""
    created = await _create(api, "a")
    changed = {**created, "metadata": {**created["metadata"], "labels": {"x": "y"}}}
    status, updated = await api.send("PUT", f"{api.executions}/a", changed)
    assert (status, updated["metadata"]["labels"]) == (200, {"x": "y"})
    assert int(updated["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    status, body = await api.send("PUT", f"{api.executions}/a", changed)
    assert (status, body["reason"]) == (409, "Conflict")
    del changed["metadata"]["resourceVersion"]
    status, body = await api.send("PUT", f"{api.executions}/a", changed)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")


async def test_status_and_the_rest_are_written_separately(api: Any) -> None:
    """/status changes only status, the main path everything but it; generation follows the spec alone."""
    created = await _create(api, "a")
    both = {**created, "spec": {"function": "other"}, "status": {"phase": "Executing"}}
    status, updated = await api.send("PUT", f"{api.executions}/a/status", both)
    assert (status, updated["spec"]["function"], updated["status"]) == (200, "hello", {"phase": "Executing"})
    assert updated["metadata"]["generation"] == 1
    retried = {**updated, "spec": {**updated["spec"], "retry": {"retries": 2}}, "status": {"phase": "Completed"}}
    status, updated = await api.send("PUT", f"{api.executions}/a", retried)
    assert (status, updated["status"], updated["metadata"]["generation"]) == (200, {"phase": "Executing"}, 2)


async def test_an_immutable_spec_and_a_final_phase_are_kept_by_the_schemas_rules(api: Any) -> None:
    """CEL rules of the CRD hold on update."""
    created = await _create(api, "a")
    status, body = await api.send("PUT", f"{api.executions}/a", {**created, "spec": {"function": "other"}})
    assert (status, body["reason"]) == (422, "Invalid")
    for phase, wanted in (("Completed", 200), ("Executing", 422)):
        status, body = await api.send(
            "PATCH", f"{api.executions}/a/status", {"status": {"phase": phase}}, content_type=api.merge_patch
        )
        assert status == wanted, body


async def test_a_write_that_changes_nothing_keeps_the_resource_version(api: Any) -> None:
    """Neither an equal PUT, nor one with members in another order, nor an empty patch is a write."""
    created = await _create(api, "a", spec={"arguments": {"x": 1, "y": 2}})
    reordered = {**created, "spec": {"arguments": {"y": 2, "x": 1}, "function": "hello"}}
    for method, body, kind in (
        ("PUT", created, "application/json"),
        ("PUT", reordered, "application/json"),
        ("PATCH", {}, api.merge_patch),
        ("PATCH", [], api.json_patch),
    ):
        status, answer = await api.send(method, f"{api.executions}/a", body, content_type=kind)
        assert (status, answer["metadata"]["resourceVersion"]) == (200, created["metadata"]["resourceVersion"])


async def test_a_cancel_by_tested_json_patch_works_without_a_status_and_fails_on_another_phase(api: Any) -> None:
    """An absent status tests as null; a failed test is 422 and changes nothing."""
    await _create(api, "a")
    cancel = [
        {"op": "test", "path": "/status", "value": None},
        {"op": "add", "path": "/status", "value": {"phase": "Canceled"}},
    ]
    status, body = await api.send("PATCH", f"{api.executions}/a/status", cancel, content_type=api.json_patch)
    assert (status, body["status"]["phase"]) == (200, "Canceled")
    status, body = await api.send("PATCH", f"{api.executions}/a/status", cancel, content_type=api.json_patch)
    assert (status, body["reason"]) == (422, "Invalid")


async def test_patch_types_are_limited_by_kind(api: Any) -> None:
    """Strategic merge works on built-in kinds and is refused on ours, naming what is accepted."""
    await _create(api, "a")
    status, body = await api.send(
        "PATCH", f"{api.executions}/a", {"metadata": {"labels": {"x": "y"}}}, content_type=api.strategic_patch
    )
    assert status == 415
    assert "application/merge-patch+json" in body["message"]
    await api.send("POST", api.configmaps, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    status, body = await api.send(
        "PATCH", f"{api.configmaps}/c", {"data": {"b": "2"}}, content_type=api.strategic_patch
    )
    assert (status, body["data"]) == (200, {"a": "1", "b": "2"})


async def test_a_patch_that_names_a_resource_version_is_a_precondition(api: Any) -> None:
    """A stale one is 409; without one, concurrent patches all succeed."""
    created = await _create(api, "a")
    patch = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"], "labels": {"n": "0"}}}
    assert (await api.send("PATCH", f"{api.executions}/a", patch, content_type=api.merge_patch))[0] == 200
    assert (await api.send("PATCH", f"{api.executions}/a", patch, content_type=api.merge_patch))[0] == 409
    patches = [{"metadata": {"labels": {f"l{n}": "x"}}} for n in range(20)]
    answers = await asyncio.gather(
        *(api.send("PATCH", f"{api.executions}/a", patch, content_type=api.merge_patch) for patch in patches)
    )
    assert {status for status, _ in answers} == {200}
    _, body = await api.send("GET", f"{api.executions}/a")
    assert len(body["metadata"]["labels"]) == 21


async def test_delete_obeys_preconditions_and_finalizers(api: Any) -> None:
    """A wrong uid or resourceVersion is 409; a finalizer keeps the object until it is removed."""
    created = await _create(api, "a", metadata={"finalizers": ["example.com/hold"]})
    path = f"{api.executions}/a"
    for precondition in ({"uid": "other"}, {"resourceVersion": "1"}):
        assert (await api.send("DELETE", path, {"preconditions": precondition}))[0] == 409
    status, held = await api.send("DELETE", path, {"preconditions": {"uid": created["metadata"]["uid"]}})
    assert (status, held["metadata"]["deletionGracePeriodSeconds"], held["metadata"]["generation"]) == (200, 0, 2)
    added = {"metadata": {"finalizers": ["example.com/hold", "example.com/new"]}}
    assert (await api.send("PATCH", path, added, content_type=api.merge_patch))[0] == 422
    released = {"metadata": {"finalizers": None}}
    assert (await api.send("PATCH", path, released, content_type=api.merge_patch))[0] == 200
    assert (await api.send("GET", path))[0] == 404


async def test_a_delete_answers_with_a_status_that_names_the_object(api: Any) -> None:
    """Success with name, group, plural and uid; a second delete is 404."""
    created = await _create(api, "a")
    status, body = await api.send("DELETE", f"{api.executions}/a?propagationPolicy=Background")
    details = {"name": "a", "group": "kontinue.cloud", "kind": "executions", "uid": created["metadata"]["uid"]}
    assert (status, body["status"], body["details"]) == (200, "Success", details)
    assert (await api.send("DELETE", f"{api.executions}/a"))[0] == 404


async def test_delete_collection_deletes_what_is_selected(api: Any) -> None:
    """Only objects that match the selector go."""
    for n in range(5):
        await _create(api, f"e{n}", metadata={"labels": {"odd": str(n % 2)}})
    status, body = await api.send("DELETE", f"{api.executions}?labelSelector=odd%3D1")
    assert (status, body["status"]) == (200, "Success")
    _, listed = await api.send("GET", api.executions)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["e0", "e2", "e4"]


async def test_dry_run_judges_and_stores_nothing(api: Any) -> None:
    """dryRun=All answers as usual and leaves revision and objects alone."""
    _, before = await api.send("GET", api.executions)
    assert (await api.send("POST", f"{api.executions}?dryRun=All", api.execution("a")))[0] == 201
    assert (await api.send("POST", f"{api.executions}?dryRun=All", api.execution("A")))[0] == 422
    created = await _create(api, "b")
    assert (await api.send("DELETE", f"{api.executions}/b", {"dryRun": ["All"]}))[0] == 200
    _, after = await api.send("GET", f"{api.executions}/b")
    assert after == created
    assert before["items"] == []


async def test_unknown_fields_are_dropped_warned_of_or_refused_as_asked(api: Any) -> None:
    """fieldValidation: Warn names them in a Warning header, Strict is 400, Ignore is silent."""
    body = api.execution("a", spec={"nonsense": 1})
    status, answer = await api.send("POST", f"{api.executions}?fieldValidation=Strict", body)
    assert (status, "spec.nonsense" in answer["message"]) == (400, True)
    status, answer = await api.send("POST", api.executions, body)
    assert (status, "nonsense" in answer["spec"]) == (201, False)
    assert "spec.nonsense" in api.headers["Warning"]
    body["metadata"]["name"] = "b"
    await api.send("POST", f"{api.executions}?fieldValidation=Ignore", body)
    assert "Warning" not in api.headers
    double = b'{"metadata":{"name":"c"},"spec":{"function":"x","function":"y"}}'
    assert (await api.send("POST", f"{api.executions}?fieldValidation=Strict", double))[0] == 400


async def test_bodies_past_3_mib_are_refused(api: Any) -> None:
    """413 with a Status; the server goes on."""
    status, body = await api.send("POST", api.executions, b" " * (3 * 1024 * 1024 + 1))
    assert (status, body["reason"]) == (413, "RequestEntityTooLarge")
    await _create(api, "a")


async def test_what_is_nested_too_deeply_is_a_bad_request_however_it_comes(api: Any) -> None:
    """Creates, merge patches, and JSON patches that put two shallow things together; 400 is final for clients."""

    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    for levels in (255, 300, 900, 1015):
        body = b'{"metadata":{"name":"deep"},"spec":{"function":"f","arguments":%b}}' % nested(levels)
        for query in ("", "?fieldValidation=Strict"):
            status, answer = await api.send("POST", api.executions + query, body)
            assert (status, answer["reason"], "nested" in answer["message"]) == (400, "BadRequest", True), answer
        await _create(api, f"e{levels}")
        patch = b'{"status":{"result":%b}}' % nested(levels)
        path = f"{api.executions}/e{levels}/status"
        status, answer = await api.send("PATCH", path, patch, content_type=api.merge_patch)
        assert (status, "nested" in answer["message"]) == (400, True), answer
    body = b'{"metadata":{"name":"half"},"spec":{"function":"f"},"status":{}}'
    assert (await api.send("POST", api.executions, body))[0] == 201
    patch = b'[{"op":"add","path":"/status","value":{"result":%b}}]' % nested(200)
    status, _ = await api.send("PATCH", f"{api.executions}/half/status", patch, content_type=api.json_patch)
    assert status == 200
    patch = b'[{"op":"add","path":"/status/result%b","value":%b}]' % (b"/a" * 200, nested(200))
    status, answer = await api.send("PATCH", f"{api.executions}/half/status", patch, content_type=api.json_patch)
    assert (status, "nested" in answer["message"]) == (400, True), answer


async def test_paths_and_methods_that_do_not_exist(api: Any) -> None:
    """Unknown paths are plain 404s as in kube-apiserver; known ones refuse other methods with 405."""
    assert await api.send("GET", "/apis/example.com/v1/things") == (404, b"404 page not found\n")
    assert (await api.send("GET", f"{api.executions}/a/scale"))[0] == 404
    assert (await api.send("PUT", api.executions, {}))[0] == 405
    assert (await api.send("POST", f"{api.executions}/a", {}))[0] == 405
    assert (await api.send("PROPFIND", api.executions))[0] == 405
    assert (await api.send("POST", "/apis/kontinue.cloud/v1alpha1/executions", api.execution("a")))[0] == 405


async def test_a_create_in_a_missing_namespace_is_not_found(api: Any) -> None:
    """404 names the namespace; a namespace in the body that differs from the path is 400."""
    path = api.executions.replace("default", "nowhere")
    status, body = await api.send("POST", path, api.execution("a"))
    assert (status, body["details"]) == (404, {"name": "nowhere", "kind": "namespaces"})
    status, _ = await api.send("POST", api.executions, api.execution("a", metadata={"namespace": "other"}))
    assert status == 400


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


async def test_crds_are_listed_and_cannot_be_changed(api: Any) -> None:
    """They come with the server's version: established, readable, refusing another spec."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    _, listed = await api.send("GET", path)
    assert [item["metadata"]["name"] for item in listed["items"]] == [
        "executions.kontinue.cloud",
        "functions.kontinue.cloud",
    ]
    crd = listed["items"][0]
    assert {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}[
        "Established"
    ] == "True"
    name = crd["metadata"]["name"]
    assert (await api.send("DELETE", f"{path}/{name}"))[0] == 403
    changed = {"spec": {"scope": "Cluster"}}
    assert (await api.send("PATCH", f"{path}/{name}", changed, content_type=api.merge_patch))[0] == 403
    labelled = {"metadata": {"labels": {"x": "y"}}}
    assert (await api.send("PATCH", f"{path}/{name}", labelled, content_type=api.merge_patch))[0] == 200
