"""Requests about primitives, renamed for a cluster that serves them in the original's API group."""

from __future__ import annotations

from contextlib import aclosing

import msgspec
import pytest

from kontinue.api.konductor.group import GROUPS, ORIGINAL_GROUP
from kontinue.api.konductor.semaphores import Permit, PermitSpec
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.api.meta import ObjectMeta, OwnerReference
from kontinue.kube import requests
from kontinue.kube.api_groups import for_group, in_group
from kontinue_engine.cli.options import API_GROUPS
from scripted_transport import ScriptedTransport

THERE = f"{ORIGINAL_GROUP}/v1"


def test_a_request_about_a_primitive_goes_where_it_is_served():
    """With its query, and without a body where it has none."""
    request = requests.list_objects(requests.WAIT_GROUPS, "shop", field_selector="metadata.name=jobs")
    renamed = in_group(request, ORIGINAL_GROUP)
    assert renamed.target == request.target.replace("/apis/konductor.io/", "/apis/sync.konductor.io/")
    assert msgspec.structs.replace(renamed, path=request.path) == request


def test_what_is_created_says_where_it_belongs_and_so_does_its_owner():
    """An API server refuses an object whose apiVersion is another one than that of the path."""
    owner = OwnerReference(api_version=THERE, kind="Semaphore", name="db", uid="1")
    meta = ObjectMeta(name="db-a", owner_references=[owner])
    permit = Permit(metadata=meta, spec=PermitSpec(semaphore="db", holder="a"))
    created = msgspec.json.decode(in_group(requests.create(requests.PERMITS, "shop", permit), ORIGINAL_GROUP).body)
    assert created["apiVersion"] == created["metadata"]["ownerReferences"][0]["apiVersion"] == THERE


def test_an_event_about_a_primitive_names_it_where_it_is():
    """So that kubectl describe shows it."""
    about = {"apiVersion": "konductor.io/v1", "kind": "WaitGroup", "name": "jobs"}
    request = requests.create(requests.EVENTS, "shop", {"involvedObject": about, "message": "released"})
    assert msgspec.json.decode(in_group(request, ORIGINAL_GROUP).body)["involvedObject"]["apiVersion"] == THERE


def test_what_somebody_has_written_into_a_text_is_not_touched():
    """Also if it looks like what is renamed."""
    text = 'he said "apiVersion":"konductor.io/v1", twice'
    group = WaitGroup(metadata=ObjectMeta(name="jobs", annotations={"note": text}))
    renamed = in_group(requests.create(requests.WAIT_GROUPS, "shop", group), ORIGINAL_GROUP)
    assert msgspec.json.decode(renamed.body, type=WaitGroup) == msgspec.structs.replace(group, api_version=THERE)


@pytest.mark.parametrize(
    "request_",
    [
        requests.create(requests.EXECUTIONS, "shop", {"spec": {"arguments": {"apiVersion": "konductor.io/v1"}}}),
        requests.get(requests.PODS, "shop", "konductor.io"),
        requests.get(requests.EVENTS, "shop", "one"),
    ],
)
def test_other_requests_stay_as_they_are(request_: requests.Request):
    """Whatever their arguments are about."""
    assert in_group(request_, ORIGINAL_GROUP) == request_


async def test_a_transport_renames_all_that_it_sends():
    """Requests and watches; for the group that all code speaks of there is nothing to do."""
    transport = ScriptedTransport()
    assert for_group(transport, "konductor.io") is transport
    transport.answer = lambda _: b"{}"
    transport.watches.append([b"line"])
    there = for_group(transport, ORIGINAL_GROUP)
    request = requests.get(requests.WAIT_GROUPS, "shop", "jobs")
    assert await there.send(request) == b"{}"
    async with aclosing(there.stream(request)) as lines:
        assert [line async for line in lines] == [b"line"]
    assert transport.sent == transport.watched == [in_group(request, ORIGINAL_GROUP)]


def test_the_command_line_knows_the_same_groups():
    """Its own list, as it is there before anything of ours is imported."""
    assert API_GROUPS == GROUPS
