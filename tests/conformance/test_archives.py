"""ArchivedExecutions: what they refuse, how they are found and shown, and what goes with the first part."""

from __future__ import annotations

from typing import Any

from api import MERGE_PATCH, Api

ARCHIVES = "kontinue.cloud/v1alpha1/archivedexecutions"
DELETE_AT = "kontinue.cloud/delete-at"


def archive(name: str, *, execution: str = "order", **spec: Any) -> dict[str, Any]:
    """Return one part of an archive."""
    return {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "ArchivedExecution",
        "metadata": {"name": name},
        "spec": {
            "execution": execution,
            "uid": "u",
            "version": "7",
            "function": "fulfil",
            "phase": "Completed",
            "executions": 2,
            "bytes": 4096,
            "part": 1,
            "parts": 1,
            "data": "eJwDAAAAAAE=",
            **spec,
        },
    }


async def create(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    status, created = await api.send("POST", api.path(ARCHIVES), body)
    assert status == 201, created
    return dict(created)


async def test_an_archive_cannot_be_changed(api: Api) -> None:
    """Its labels and annotations can: when it goes is one of them."""
    await create(api, archive("a"))
    one = api.path(ARCHIVES, "a")
    for change in ({"data": "eJwDAAAAAAI="}, {"phase": "Failed"}, {"workerGroup": "g"}):
        status, refused = await api.send("PATCH", one, {"spec": change}, content_type=MERGE_PATCH)
        assert status == 422
        causes = [(cause["field"], cause["message"]) for cause in refused["details"]["causes"]]
        assert causes == [("spec", "Invalid value: an archive is immutable")]
    note = {"metadata": {"annotations": {DELETE_AT: "2027-01-01T00:00:00Z"}, "labels": {"team": "blue"}}}
    assert (await api.send("PATCH", one, note, content_type=MERGE_PATCH))[0] == 200


async def test_an_archive_says_what_it_is_of(api: Api) -> None:
    """Without that nobody would find it."""
    for missing in ("execution", "uid", "version", "phase", "part", "parts", "data"):
        body = archive("a")
        del body["spec"][missing]
        status, refused = await api.send("POST", api.path(ARCHIVES), body)
        assert (status, refused["reason"]) == (422, "Invalid"), missing
    for wrong in ({"phase": "Gone"}, {"part": 0}, {"executions": 0}, {"data": 3}, {"finishedAt": "yesterday"}):
        status, refused = await api.send("POST", api.path(ARCHIVES), archive("a", **wrong))
        assert (status, refused["reason"]) == (422, "Invalid"), wrong


async def test_archives_are_found_by_their_root_its_function_and_its_phase(api: Api) -> None:
    """On the server, without the data of all others; also by metadata alone."""
    await create(api, archive("order-1"))
    await create(api, archive("order-2", part=2, parts=2))
    await create(api, archive("other-1", execution="other", function="pack", phase="Failed"))
    for selector, names in (
        ("spec.execution%3Dorder", ["order-1", "order-2"]),
        ("spec.function%3Dpack", ["other-1"]),
        ("spec.phase%21%3DFailed,spec.phase%21%3DSkipped", ["order-1", "order-2"]),
        ("metadata.name%3Dother-1", ["other-1"]),
    ):
        for accept in ("application/json", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"):
            _, listed = await api.send("GET", f"{api.path(ARCHIVES)}?fieldSelector={selector}", Accept=accept)
            assert sorted(item["metadata"]["name"] for item in listed["items"]) == names, selector


async def test_kubectl_shows_archives_as_karch(api: Api) -> None:
    """The columns say what is kept, and when it goes: that stands in an annotation."""
    body = archive("order-1", finishedAt="2026-01-02T03:04:05Z")
    body["metadata"]["annotations"] = {DELETE_AT: "2027-01-01T00:00:00Z"}
    await create(api, body)
    _, kinds = await api.send("GET", "/apis/kontinue.cloud/v1alpha1")
    (kind,) = (one for one in kinds["resources"] if one["name"] == "archivedexecutions")
    assert (kind["shortNames"], kind["categories"]) == (["karch"], ["kontinue"])
    _, table = await api.send("GET", api.path(ARCHIVES), Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    shown = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    (row,) = table["rows"]
    cells = dict(zip([column["name"] for column in table["columnDefinitions"]], row["cells"], strict=True))
    assert shown == [
        *("Name", "Execution", "Function", "Phase", "Finished", "Executions", "Part", "Parts", "Delete-At", "Age"),
    ]
    assert (cells["Execution"], cells["Function"], cells["Phase"]) == ("order", "fulfil", "Completed")
    assert (cells["Executions"], cells["Part"], cells["Parts"]) == (2, 1, 1)
    assert cells["Delete-At"] == "2027-01-01T00:00:00Z"


async def test_the_other_parts_go_with_the_first_one(api: Api) -> None:
    """They belong to it; and a part is taken that is as large as parts get."""
    first = await create(api, archive("order-1", parts=2))
    second = archive("order-2", part=2, parts=2, data="A" * 491_520)
    known = {"apiVersion": first["apiVersion"], "kind": first["kind"], "name": "order-1"}
    second["metadata"]["ownerReferences"] = [{**known, "uid": first["metadata"]["uid"]}]
    await create(api, second)
    precondition = {"preconditions": {"uid": first["metadata"]["uid"], "resourceVersion": "1"}}
    assert (await api.send("DELETE", api.path(ARCHIVES, "order-1"), precondition))[0] == 409
    precondition["preconditions"]["resourceVersion"] = first["metadata"]["resourceVersion"]
    assert (await api.send("DELETE", api.path(ARCHIVES, "order-1"), precondition))[0] == 200
    await api.eventually(api.path(ARCHIVES, "order-2"), 404, patience_s=120)
