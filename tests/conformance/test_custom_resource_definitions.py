"""CustomResourceDefinitions at run time: what is refused, what is served, several versions, changes, deletion."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import crds
from api import MERGE_PATCH, Api
from crds import CRDS, definition, version

TEXT = {"type": "string"}
REFUSED = json.loads((Path(__file__).parent / "data" / "refused_definitions.json").read_text())
"""What is wrong with a CRD: values to be replaced, by path, and (reason, field) of the causes."""


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return a good CRD with some values replaced."""
    crd: Any = copy.deepcopy(definition("refused.example.com", version(spec={"a": TEXT})))
    for path, value in changes.items():
        *parents, last = path.split("/")
        node = crd
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[last] = value
    return crd


async def test_a_definition_that_cannot_be_served_is_refused_with_every_cause(api: Api) -> None:
    """Names, versions, columns, subresources and schemas are judged; each cause names its reason and field."""
    found = {}
    for case in REFUSED:
        status, body = await api.send("POST", f"{CRDS}?dryRun=All", changed(case["changes"]))
        assert status in {201, 422}, (case["case"], body)
        found[case["case"]] = sorted(map(list, crds.causes(body))) if status == 422 else []
    assert found == {case["case"]: case["causes"] for case in REFUSED}


async def test_values_of_the_wrong_type_are_a_bad_request(api: Api) -> None:
    """What cannot be read as a CRD at all is refused as such."""
    for path, value in (("spec/versions", {}), ("spec/names/plural", 1), ("spec/versions/0/served", "yes")):
        status, body = await api.send("POST", CRDS, changed({path: value}))
        assert (status, body["reason"]) == (400, "BadRequest"), path


async def test_a_status_of_the_wrong_type_is_refused(api: Api) -> None:
    """A body with one is a bad request, a patch that would make one is invalid; the kind goes on being served."""
    wrong = ("x", {"conditions": "x"}, {"conditions": ["x"]}, {"storedVersions": "v1"}, {"storedVersions": [1]})
    wrong += ({"acceptedNames": []}, {"acceptedNames": {"plural": 3}}, {"acceptedNames": {"shortNames": "x"}})
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec={}))) as crd:
        path = f"{crds.path(crd)}/status"
        for value in wrong:
            patched, _ = await api.send("PATCH", path, {"status": value}, content_type=MERGE_PATCH)
            replaced, _ = await api.send("PUT", path, {**crd, "status": value})
            assert (patched, replaced) == (422, 400), value
        status, body = await api.send("PATCH", path, {"status": {"odd": 1}}, content_type=MERGE_PATCH)
        assert (status, "odd" in body["status"]) == (200, False)
        assert (await api.send("GET", api.path(f"{group}/v1/things")))[0] == 200


async def test_a_patch_that_makes_no_definition_is_invalid(api: Api) -> None:
    """What would be a bad request as a body is the fault of the patch."""
    async with crds.installed(api, definition(crds.group(), version(spec={}))) as crd:
        for spec in ({"versions": {}}, {"names": {"plural": 1}}, []):
            status, _ = await api.send("PATCH", crds.path(crd), {"spec": spec}, content_type=MERGE_PATCH)
            assert status == 422, spec


async def test_webhook_conversion_needs_a_webhook(api: Api) -> None:
    """A conversion strategy that is unknown, or lacks what it needs, is refused."""
    for strategy in ("Webhook", "Magic"):
        status, body = await api.send("POST", CRDS, changed({"spec/conversion": {"strategy": strategy}}))
        assert (status, body["reason"]) == (422, "Invalid")


async def test_unknown_members_are_dropped_or_refused_as_asked(api: Api) -> None:
    """Strict names them, else they are gone."""
    group = crds.group()
    crd = definition(group, version(spec={"a": {**TEXT, "odd": 1}}))
    status, body = await api.send("POST", f"{CRDS}?fieldValidation=Strict", crd)
    assert status == 400
    assert "unknown field" in body["message"]
    assert "odd" in body["message"]
    status, body = await api.send("POST", f"{CRDS}?dryRun=All&fieldValidation=Warn", crd)
    assert status == 201
    assert "odd" in api.headers["Warning"]
    assert body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["a"] == TEXT


async def test_a_new_definition_gets_its_names_and_is_established(api: Api) -> None:
    """Names that were left out are made from the kind; the status tells that they are accepted and served."""
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec={}), shortNames=["tg"], categories=["all"])) as crd:
        names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
        names |= {"shortNames": ["tg"], "categories": ["all"]}
        assert crd["spec"]["names"] == names
        assert crd["status"]["acceptedNames"] == names
        assert crd["status"]["storedVersions"] == ["v1"]
        assert crd["spec"]["conversion"] == {"strategy": "None"}
        assert crd["metadata"]["generation"] == 1
        found = {one["type"]: (one["status"], one["reason"]) for one in crd["status"]["conditions"]}
        assert found == {
            "NamesAccepted": ("True", "NoConflicts"),
            "Established": ("True", "InitialNamesAccepted"),
        }


async def test_a_kind_is_served_and_discovered_as_soon_as_it_is_established(api: Api) -> None:
    """Objects can be created; discovery, OpenAPI and printer columns show the kind."""
    group = crds.group()
    columns = [{"name": "A", "type": "string", "jsonPath": ".spec.a"}]
    crd = definition(group, version(spec={"a": TEXT}, additionalPrinterColumns=columns), shortNames=["tg"])
    async with crds.installed(api, crd):
        await api.eventually(f"/apis/{group}/v1", lambda found: bool(found["resources"]))
        _, listed = await api.send("GET", f"/apis/{group}/v1")
        assert [(one["name"], one["kind"], one["shortNames"]) for one in listed["resources"]] == [
            ("things", "Thing", ["tg"])
        ]
        await api.eventually(f"/apis/{group}", 200)
        await api.eventually("/apis", lambda found: group in [one["name"] for one in found["groups"]])
        await api.eventually("/openapi/v3", lambda found: f"apis/{group}/v1" in str(found))
        things = api.path(f"{group}/v1/things")
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"a": "x"}}
        status, created = await api.send("POST", things, thing)
        assert (status, created["spec"], created["metadata"]["generation"]) == (201, {"a": "x"}, 1)
        _, table = await api.send("GET", things, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "A"]
        assert [row["cells"] for row in table["rows"]] == [["one", "x"]]
    await api.eventually(f"/apis/{group}/v1", 404)
    await api.eventually("/apis", lambda found: group not in [one["name"] for one in found["groups"]])
    status, _ = await api.send("GET", things)
    assert status == 404


async def test_a_kind_of_the_whole_cluster_has_no_namespace(api: Api) -> None:
    """Its objects have paths without a namespace, and no others."""
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec={}), scope="Cluster")):
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
        status, created = await api.send("POST", f"/apis/{group}/v1/things", thing)
        assert status == 201
        assert "namespace" not in created["metadata"]
        status, _ = await api.send("GET", api.path(f"{group}/v1/things"))
        assert status == 404


async def test_names_that_are_taken_wait_until_they_are_free(api: Api) -> None:
    """The second definition of a kind in a group is not served before the first one is gone."""
    group = crds.group()
    first = definition(group, version(spec={}))
    second = definition(group, version(spec={}), plural="stuff", kind="Thing", singular="stuff", listKind="StuffList")
    async with crds.installed(api, first):
        status, _ = await api.send("POST", CRDS, second)
        assert status == 201
        crd = await api.eventually(crds.path(second), lambda found: crds.condition(found, "NamesAccepted") == "False")
        accepted = next(one for one in crd["status"]["conditions"] if one["type"] == "NamesAccepted")
        assert accepted["reason"] == "KindConflict"
        assert '"Thing" is already in use' in accepted["message"]
        assert crds.condition(crd, "Established") == "False"
        status, _ = await api.send("GET", f"/apis/{group}/v1/stuff")
        assert status == 404
    crd = await crds.established(api, second)
    assert crd["status"]["acceptedNames"]["kind"] == "Thing"
    await api.send("DELETE", crds.path(second))


async def test_names_become_free_when_somebody_lets_go_of_the_definition_that_had_them(api: Api) -> None:
    """Its objects are gone, a finalizer of somebody else held it: taking that away is what the next one waits for."""
    group = crds.group()
    first = definition(group, version(spec={}))
    first["metadata"]["finalizers"] = ["example.com/held"]
    second = definition(group, version(spec={}), plural="stuff", kind="Thing", singular="stuff", listKind="StuffList")
    async with crds.installed(api, first):
        await api.send("POST", CRDS, second)
        await api.eventually(crds.path(second), lambda found: crds.condition(found, "NamesAccepted") == "False")
    await api.eventually(crds.path(first), lambda found: found["metadata"]["finalizers"] == ["example.com/held"])
    let_go = {"metadata": {"finalizers": None}}
    assert (await api.send("PATCH", crds.path(first), let_go, content_type=MERGE_PATCH))[0] == 200
    await crds.established(api, second)
    await api.send("DELETE", crds.path(second))


async def test_what_identifies_a_kind_cannot_change(api: Api) -> None:
    """Scope, group, plural and kind are fixed once they are served."""
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec={}))) as crd:
        for path, value in (("scope", "Cluster"), ("names/kind", "Other")):
            changed_crd: Any = copy.deepcopy(crd)
            *parents, last = path.split("/")
            node = changed_crd["spec"]
            for key in parents:
                node = node[key]
            node[last] = value
            status, body = await api.send("PUT", crds.path(crd), changed_crd)
            assert status == 422
            assert ("FieldValueInvalid", f"spec.{path.replace('/', '.')}") in crds.causes(body)


async def test_a_changed_schema_holds_for_new_and_old_objects(api: Api) -> None:
    """After a change, requests are judged by the new schema, and what is stored is read pruned and defaulted by it."""
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec={"old": TEXT, "kept": TEXT}))) as crd:
        things = api.path(f"{group}/v1/things")
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
        status, created = await api.send("POST", things, {**thing, "spec": {"old": "x", "kept": "y"}})
        assert status == 201
        properties = {"kept": TEXT, "new": {**TEXT, "default": "d"}}
        patch = [{"op": "replace", "path": "/spec/versions/0", "value": version(spec=properties)}]
        status, updated = await api.send("PATCH", crds.path(crd), patch, content_type="application/json-patch+json")
        assert (status, updated["metadata"]["generation"]) == (200, 2)
        one = f"{things}/one"
        read = await api.eventually(one, lambda found: "new" in found["spec"])
        assert read["spec"] == {"kept": "y", "new": "d"}
        assert read["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
        _, listed = await api.send("GET", things)
        assert [item["spec"] for item in listed["items"]] == [{"kept": "y", "new": "d"}]


async def test_a_watch_ends_when_its_kind_changes_or_goes(api: Api) -> None:
    """Watchers are told of deletes, then the stream ends, so that they begin anew."""
    group = crds.group()
    crd = definition(group, version(spec={"a": TEXT}))
    async with crds.installed(api, crd):
        things = api.path(f"{group}/v1/things")
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
        status, _ = await api.send("POST", things, thing)
        assert status == 201
        patch = {"spec": {"versions": [version(spec={"b": TEXT})]}}
        types = []
        async with asyncio.timeout(30):
            async for event in api.watch(f"{things}?watch=true"):
                types.append(event["type"])
                await api.send("PATCH", crds.path(crd), patch, content_type=MERGE_PATCH)
            assert types == ["ADDED"]
            await api.eventually(f"{things}?limit=1", 200)
            async for event in api.watch(f"{things}?watch=true"):
                types.append(event["type"])
                await api.send("DELETE", crds.path(crd))
        assert types == ["ADDED", "ADDED", "DELETED"]


async def test_a_deleted_definition_takes_its_objects_along(api: Api) -> None:
    """It stays until the last object, held by a finalizer, is gone; meanwhile nothing can be created."""
    group = crds.group()
    crd = definition(group, version(spec={}))
    async with crds.installed(api, crd):
        things = api.path(f"{group}/v1/things")
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing"}
        held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
        for metadata in (held, {"metadata": {"name": "free"}}):
            status, _ = await api.send("POST", things, {**thing, **metadata})
            assert status == 201
        status, deleted = await api.send("DELETE", crds.path(crd))
        assert (status, deleted["kind"]) == (200, "CustomResourceDefinition")
        assert deleted["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        assert deleted["metadata"]["deletionTimestamp"]
        assert crds.condition(deleted, "Terminating") == "True"
        await api.eventually(f"{things}/free", 404)
        read = await api.eventually(f"{things}/held", lambda found: "deletionTimestamp" in found["metadata"])
        status, body = await api.send("POST", things, {**thing, "metadata": {"name": "late"}})
        assert (status, body["reason"]) == (403, "Forbidden")
        assert "create not allowed while custom resource definition is terminating" in body["message"]
        read["metadata"]["finalizers"] = []
        status, _ = await api.send("PUT", f"{things}/held", read)
        assert status == 200
        await api.eventually(crds.path(crd), 404)


async def test_objects_are_served_in_every_version(api: Api) -> None:
    """Without a conversion another version has another apiVersion and less what it does not know."""
    group = crds.group()
    first = version("v1", spec={"both": TEXT, "one": TEXT, "filled": {**TEXT, "default": "f"}})
    second = version("v2", storage=False, spec={"both": TEXT, "two": TEXT, "other": {**TEXT, "default": "o"}})
    async with crds.installed(api, definition(group, first, second)) as crd:
        assert crd["status"]["storedVersions"] == ["v1"]
        one, two = (api.path(f"{group}/{name}/things") for name in ("v1", "v2"))
        spec = {"both": "b", "one": "1", "two": "2"}
        thing = {"kind": "Thing", "metadata": {"name": "old"}, "spec": spec}
        status, created = await api.send("POST", one, {**thing, "apiVersion": f"{group}/v1"})
        assert (status, created["spec"]) == (201, {"both": "b", "one": "1", "filled": "f"})
        status, read = await api.send("GET", f"{two}/old")
        assert (status, read["apiVersion"], read["spec"]) == (200, f"{group}/v2", {"both": "b"})
        assert read["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
        _, listed = await api.send("GET", two)
        assert (listed["apiVersion"], [item["apiVersion"] for item in listed["items"]]) == (f"{group}/v2",) * 1 + (
            [f"{group}/v2"],
        )
        thing["metadata"] = {"name": "new"}
        status, created = await api.send("POST", two, {**thing, "apiVersion": f"{group}/v2"})
        assert (status, created["apiVersion"], created["spec"]) == (201, f"{group}/v2", {"both": "b"})
        _, read = await api.send("GET", f"{one}/new")
        assert (read["apiVersion"], read["spec"]) == (f"{group}/v1", {"both": "b", "filled": "f"})
        status, body = await api.send("POST", two, {**thing, "apiVersion": f"{group}/v1"})
        assert (status, body["reason"]) == (400, "BadRequest")
        status, patched = await api.send("PATCH", f"{two}/old", {"spec": {"both": "c"}}, content_type=MERGE_PATCH)
        assert (status, patched["apiVersion"], patched["spec"]) == (200, f"{group}/v2", {"both": "c"})
        async for event in api.watch(f"{two}?watch=true&fieldSelector=metadata.name=old"):
            assert event["object"]["apiVersion"] == f"{group}/v2"
            assert event["object"]["spec"] == {"both": "c"}
            break


async def test_the_storage_version_can_move(api: Api) -> None:
    """Both versions stay recorded as stored; the old one cannot leave the spec before the status forgets it."""
    group = crds.group()
    first, second = version("v1", spec={"a": TEXT}), version("v2", storage=False, spec={"a": TEXT, "b": TEXT})
    async with crds.installed(api, definition(group, first, second)) as crd:
        status, _ = await api.send(
            "POST",
            api.path(f"{group}/v1/things"),
            {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"a": "x"}},
        )
        assert status == 201
        moved = [{**first, "storage": False}, {**second, "storage": True}]
        status, body = await api.send("PATCH", crds.path(crd), {"spec": {"versions": moved}}, content_type=MERGE_PATCH)
        assert (status, body["status"]["storedVersions"]) == (200, ["v1", "v2"])
        read = await api.eventually(api.path(f"{group}/v2/things", "one"), 200)
        assert (read["apiVersion"], read["spec"]) == (f"{group}/v2", {"a": "x"})
        only = {"spec": {"versions": moved[1:]}}
        status, body = await api.send("PATCH", crds.path(crd), only, content_type=MERGE_PATCH)
        assert status == 422
        assert ("FieldValueInvalid", "status.storedVersions[0]") in crds.causes(body)
        # Stored anew as v2: a real server that has to read a version that it does not know any more can neither list
        # nor delete the kind, and its garbage collector and namespace controller wait for it for ever.
        change = {"metadata": {"labels": {"stored": "anew"}}}
        one = api.path(f"{group}/v2/things", "one")
        assert (await api.send("PATCH", one, change, content_type=MERGE_PATCH))[0] == 200
        forget = {"status": {"storedVersions": ["v2"]}}
        status, body = await api.send("PATCH", f"{crds.path(crd)}/status", forget, content_type=MERGE_PATCH)
        assert (status, body["status"]["storedVersions"]) == (200, ["v2"])
        status, _ = await api.send("PATCH", crds.path(crd), only, content_type=MERGE_PATCH)
        assert status == 200
        await api.eventually(f"/apis/{group}/v1", 404)


async def test_a_version_that_is_not_served_has_no_path(api: Api) -> None:
    """It is part of the definition only."""
    group = crds.group()
    versions = (version("v1", spec={}), version("v2", storage=False, served=False, spec={"a": TEXT}))
    async with crds.installed(api, definition(group, *versions)):
        status, _ = await api.send("GET", api.path(f"{group}/v2/things"))
        assert status == 404


async def test_whoever_uses_a_deprecated_version_is_warned(api: Api) -> None:
    """By every answer, a refusal and a watch too: in the definition's words, or by what is the best version instead."""
    group = crds.group()
    old = version("v1alpha1", storage=False, deprecated=True)
    told = version("v1beta1", storage=False, deprecated=True, deprecationWarning='use "v1"')
    last = version("v3", storage=False, deprecated=True)
    crd = definition(group, version("v1"), old, told, last, version("v2", storage=False, served=False))
    said = {
        "v1": [],
        "v1alpha1": [f'299 - "{group}/v1alpha1 Thing is deprecated; use {group}/v1 Thing"'],
        "v1beta1": ['299 - "use \\"v1\\""'],
        "v3": [f'299 - "{group}/v3 Thing is deprecated"'],
    }
    async with crds.installed(api, crd):
        for name, wanted in said.items():
            things = api.path(f"{group}/{name}/things")
            thing = {"apiVersion": f"{group}/{name}", "kind": "Thing", "metadata": {"name": "a"}}
            patch = {"metadata": {"labels": {"a": "b"}}}
            for method, path, body, code in (
                ("POST", things, b"{", 400),
                ("POST", things, thing, 201),
                ("GET", things, None, 200),
                ("HEAD", things, None, 200),
                ("GET", f"{things}/a", None, 200),
                ("GET", f"{things}/b", None, 404),
                ("GET", f"{things}?watch=true&timeoutSeconds=1", None, 200),
                ("PATCH", f"{things}/a", patch, 200),
                ("DELETE", f"{things}/a", None, 200),
            ):
                content_type = MERGE_PATCH if method == "PATCH" else "application/json"
                status, answer = await api.send(method, path, body, content_type=content_type)
                found = (status, api.headers.getall("Warning", []))
                assert found == (code, wanted), (name, method, path, answer)
            _, answer = await api.send("POST", f"{things}?dryRun=All", {**thing, "odd": 1})
            assert api.headers.getall("Warning") == [*wanted, '299 - "unknown field \\"odd\\""']
            await api.send("GET", f"/apis/{group}/{name}")
            assert "Warning" not in api.headers


async def test_selectable_fields_can_be_added(api: Api) -> None:
    """Field selectors see objects from before too."""
    group = crds.group()
    async with crds.installed(api, definition(group, version(spec={"a": TEXT}))) as crd:
        things = api.path(f"{group}/v1/things")
        for name in ("x", "y"):
            thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"a": name}}
            status, _ = await api.send("POST", things, thing)
            assert status == 201
        status, _ = await api.send("GET", f"{things}?fieldSelector=spec.a=x")
        assert status == 400
        versions = [version(spec={"a": TEXT}, selectableFields=[{"jsonPath": ".spec.a"}])]
        status, _ = await api.send("PATCH", crds.path(crd), {"spec": {"versions": versions}}, content_type=MERGE_PATCH)
        assert status == 200
        found = await api.eventually(f"{things}?fieldSelector=spec.a=x", 200)
        assert [item["metadata"]["name"] for item in found["items"]] == ["x"]
