"""A reflector turns lists, watches and their failures into one stream that misses nothing."""

import json
from contextlib import aclosing

import pytest

from kontinue import errors
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.reflector import REFUSALS, Listed, Reconnected, Reflector
from kontinue.kube.watch import Changed
from virtual_time import elapsed_s, virtual_time


def obj(name, version):
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "spec": {"function": "f"}}


def event(type_, name, version):
    return json.dumps({"type": type_, "object": obj(name, version)}).encode()


def bookmark(version):
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}).encode()


def page(*items, version=1, token=""):
    return json.dumps({"metadata": {"resourceVersion": str(version), "continue": token}, "items": items}).encode()


GONE = errors.Gone("too old", status=410)
CUT = errors.Unavailable("cut")


async def take(reflector, count):
    """Return the first news, in short."""
    found = []
    async with aclosing(reflector.follow()) as stream:
        async for news in stream:
            match news:
                case Listed(objects=objects):
                    found.append([item.metadata.name for item in objects])
                case Changed(type=type_, object=item):
                    found.append((type_, item.metadata.name))
                case Reconnected():
                    found.append("reconnected")
            if len(found) == count:
                return found
    raise AssertionError


def reflector(transport, **options):
    return Reflector(transport, requests.EXECUTIONS, "ns", type_=Execution, **options)


def versions(transport):
    """Return the resourceVersion that each watch started from."""
    return [part for watch in transport.watched for part in watch.query.split("&") if part.startswith("resourceV")]


@virtual_time
async def test_a_list_is_followed_by_its_changes(transport):
    """The watch starts at the list's version."""
    transport.answer = lambda _: page(obj("a", 1), version=5)
    transport.watches.append([event("MODIFIED", "a", 6), event("DELETED", "a", 7)])
    assert await take(reflector(transport), 3) == [["a"], ("MODIFIED", "a"), ("DELETED", "a")]
    assert versions(transport) == ["resourceVersion=5"]


@virtual_time
async def test_a_list_of_nothing_may_be_null(transport):
    """So kube-apiserver writes an empty list of metadata."""
    transport.answer = lambda _: b'{"metadata": {"resourceVersion": "5"}, "items": null}'
    assert await take(reflector(transport, only_metadata=True), 1) == [[]]


@virtual_time
async def test_pages_are_one_list(transport):
    """``continue`` is followed until there is none."""
    pages = [page(obj("a", 1), version=5, token="t"), page(obj("b", 2), version=5)]
    transport.answer = lambda _: pages[len(transport.sent) - 1]
    assert await take(reflector(transport), 1) == [["a", "b"]]
    assert "continue=t" in transport.sent[1].query


@virtual_time
async def test_the_objects_of_a_list_are_decoded_when_they_are_looked_at(transport):
    """Ten thousand decoded ones are many times as large as their JSON. One that does not fit its type is not there."""
    pages = [page(obj("a", 1), {"metadata": {"name": "odd"}}, token="t"), page(obj("b", 2), obj("c", 3))]
    transport.answer = lambda _: pages[len(transport.sent) - 1]
    objects = (await reflector(transport).fetch()).objects
    assert [one.metadata.name for one in objects] == ["a", "b", "c"]
    assert (len(objects), objects[-1].metadata.name) == (3, "c")
    assert [one.metadata.name for one in objects[1:]] == ["b", "c"]
    assert objects[0] == objects[0]
    assert objects[0] is not objects[0]


@virtual_time
async def test_a_list_whose_snapshot_went_is_read_whole(transport):
    """410 in the middle of paging falls back to one list without a limit."""

    def answer(request):
        if "continue" in request.query:
            raise GONE
        return page(obj("a", 1), token="t" if "limit" in request.query else "")

    transport.answer = answer
    assert await take(reflector(transport), 1) == [["a"]]


@pytest.mark.parametrize("end", [[], [CUT]], ids=["clean end", "cut"])
@virtual_time
async def test_a_watch_that_ends_is_resumed_from_the_last_version(transport, end):
    """Events and bookmarks both count; nothing is listed again."""
    transport.answer = lambda _: page(version=5)
    transport.watches.extend([[event("ADDED", "a", 6), *end], [bookmark(9), *end], [event("ADDED", "b", 10)]])
    expected = [[], ("ADDED", "a"), "reconnected", "reconnected", ("ADDED", "b")]
    assert await take(reflector(transport), 5) == expected
    assert versions(transport) == ["resourceVersion=5", "resourceVersion=6", "resourceVersion=9"]
    assert len(transport.sent) == 1


@virtual_time
async def test_a_version_that_is_too_old_leads_to_a_new_list(transport):
    """410, as HTTP status or as ERROR event, lists again."""
    lists = [page(obj("a", 1), version=5), page(obj("b", 8), version=9)]
    transport.answer = lambda _: lists[len(transport.sent) - 1]
    error = b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}'
    transport.watches.extend([[error], [event("ADDED", "c", 10)]])
    assert await take(reflector(transport), 3) == [["a"], ["b"], ("ADDED", "c")]


@virtual_time
async def test_failures_back_off_and_show(transport):
    """A server that is away is asked again after growing delays, and ``last_error`` says why."""
    transport.answer = lambda _: page(version=5)
    transport.watches.extend([[CUT]] * 20)
    subject = reflector(transport)
    await take(subject, 20)
    assert subject.last_error is CUT
    assert 1 < elapsed_s() < 100


@virtual_time
async def test_watches_that_end_at_once_do_not_spin(transport):
    """An endless row of empty watches takes time too."""
    transport.answer = lambda _: page(version=5)
    transport.watches.extend([[]] * 20)
    await take(reflector(transport), 20)
    assert elapsed_s() > 1


@virtual_time
async def test_an_undecodable_object_is_left_out(transport, caplog):
    """It is logged with its name; its version still counts."""
    bad = {**obj("bad", 6), "spec": 7}
    transport.answer = lambda _: page(obj("a", 1), bad, version=5)
    line = json.dumps({"type": "ADDED", "object": bad}).encode()
    transport.watches.extend([[line], [event("ADDED", "b", 7)]])
    assert await take(reflector(transport), 3) == [["a"], "reconnected", ("ADDED", "b")]
    assert versions(transport) == ["resourceVersion=5", "resourceVersion=6"]
    assert "bad does not fit its type" in caplog.text


@virtual_time
async def test_watch_only_lists_nothing(transport):
    """One object is asked for, only to learn the version."""
    transport.answer = lambda _: page(obj("a", 1), version=5, token="more")
    transport.watches.append([event("ADDED", "b", 6)])
    assert await take(reflector(transport, watch_only=True), 2) == [[], ("ADDED", "b")]
    assert [request.query for request in transport.sent] == ["limit=1"]


@virtual_time
async def test_refusals_are_raised_when_asked_for(transport):
    """A client without permission hears of it instead of waiting for ever."""

    def answer(request):
        raise errors.Forbidden("no", status=403)

    transport.answer = answer
    with pytest.raises(errors.Forbidden):
        await take(reflector(transport, fatal=REFUSALS), 1)
