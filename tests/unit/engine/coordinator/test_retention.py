"""What the leader remembers of what has ended, and that it goes on after refusals. Trees and archives: integration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import ObjectMeta, ObjectReference, PartialObjectMetadata
from kontinue.api.v1alpha1 import LIVE_PHASES_SELECTOR
from kontinue.archives import part_key
from kontinue.kube.requests import Request
from kontinue_engine.coordinator.retention import RetentionDuty
from kontinue_engine.coordinator.retention_views import ArchivesView, EndedExecution
from kontinue_engine.kube.events import EventRecorder
from kontinue_engine.lifecycle.retention import UNCLAIMED_PATIENCE_S, StoredPart
from scripted_transport import ScriptedTransport
from virtual_time import LoopClock, elapsed_s, virtual_time

START = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = "2025-01-01T00:00:00Z"
STOPPED = {"type": "Stopped", "status": "True", "reason": "Failed", "lastTransitionTime": ENDED}


class VirtualClock(LoopClock):
    """Wall time passes with the loop's."""

    def now_ms(self) -> int:
        return round(START.timestamp() * 1000 + elapsed_s() * 1000)


class Server:
    """One tree, and archives of it: ``refuse`` is asked first, what is deleted is only noted.

    Attributes:
        root: the Execution; to be deleted an hour after its end.
        child: the one below it, if there is one.
        archives: metadata.
        refuse: raises for what is refused.
        deleted: when what was deleted, by name.
        told: to whom the duty told what people are to know.
    """

    told: Told

    def __init__(self) -> None:
        self.root = execution("root", status={"conditions": [STOPPED]})
        self.child: dict[str, Any] | None = None
        self.archives: list[dict[str, Any]] = []
        self.refuse: Callable[[Request], None] = lambda _: None
        self.deleted: dict[str, float] = {}

    def answer(self, request: Request) -> bytes:
        self.refuse(request)
        kind, _, name = request.path.partition("/namespaces/ns/")[2].partition("/")
        if request.method == "DELETE":
            self.deleted[name] = elapsed_s()
            return b"{}"
        if name:
            return msgspec.json.encode(self.root)
        return msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": self._list(kind, request)})

    def _list(self, kind: str, request: Request) -> list[dict[str, Any]]:
        query = dict(parse_qsl(request.query))
        if kind == "archivedexecutions":
            return self.archives
        if kind != "executions":
            return []
        if query["labelSelector"] == f"{labels.ROOT}=root":
            return [self.child] if self.child is not None else []
        if query["labelSelector"].startswith("!"):
            return []  # of no group
        is_live = self.root["status"]["phase"] not in ("Canceled", "Failed")
        return [self.root] if is_live == (query["fieldSelector"] == LIVE_PHASES_SELECTOR) else []


def execution(name: str, *, status: dict[str, Any] | None = None) -> dict[str, Any]:
    owner = {"apiVersion": labels.API_VERSION, "kind": "Execution", "name": "root", "uid": "uid-root"}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "Execution",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "5",
            "creationTimestamp": ENDED,
            "labels": {labels.WORKER_GROUP: "g"},
            "ownerReferences": [] if name == "root" else [{**owner, "controller": True}],
        },
        "spec": {"function": "f", "ttl": {"deleteAfter": "1h"}},
        "status": {"phase": "Canceled", **(status or {})},
    }


def archive(name: str, uid: str, *, version: int = 1) -> ObjectMeta:
    note = f"{uid} {version} {version} digest-{name} 1 1 root"
    return ObjectMeta(name=name, uid=f"u-{name}", resource_version="1", annotations={labels.ARCHIVE_PART: note})


class Told(EventRecorder):
    """Keeps what is told: (name of the object, reason, message)."""

    def __init__(self, transport: ScriptedTransport) -> None:
        super().__init__(transport, component="test", instance="test", clock=VirtualClock())
        self.events: list[tuple[str, str, str]] = []

    def record(
        self,
        about: ObjectReference,
        type: Literal["Normal", "Warning"],  # noqa: A002 - the API's word
        reason: str,
        message: str,
    ) -> None:
        self.events.append((about.name, reason, message))


@asynccontextmanager
async def leading(server: Server) -> AsyncIterator[RetentionDuty]:
    transport, clock = ScriptedTransport(), VirtualClock()
    transport.answer = server.answer
    server.told = Told(transport)
    duty = RetentionDuty(
        transport,
        server.told,
        namespace="ns",
        group="g",
        ttl=None,
        defaults={},
        owns=lambda _: True,
        clock=clock,
    )
    running = asyncio.ensure_future(duty.run())
    yield duty
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


def retry_and_cancel_again(duty: RetentionDuty, server: Server) -> None:
    """Let the watches show that the root has run again meanwhile."""
    duty.forget_root("uid-root")
    duty.note_root(msgspec.convert(server.root, EndedExecution))


@virtual_time
async def test_archives_of_what_lives_are_looked_for_until_the_server_answers() -> None:
    """Else a new leader would keep them, and show them beside what lives, as long as it leads."""
    server = Server()
    server.root["status"] = {"phase": "Executing"}
    server.archives = [{"metadata": msgspec.to_builtins(archive("stale", "uid-root"))}]
    refusals = [errors.Unavailable("away", status=503), errors.Forbidden("not yet", status=403)]

    def refuse(request: Request) -> None:
        if dict(parse_qsl(request.query)).get("fieldSelector") == LIVE_PHASES_SELECTOR and refusals:
            raise refusals.pop(0)

    server.refuse = refuse
    async with leading(server):
        await asyncio.sleep(60)
    assert server.deleted.keys() == {"stale"}


@virtual_time
async def test_a_root_that_has_run_again_is_seen_unclaimed_anew() -> None:
    """Somebody may have started it just before it was canceled the second time, without a word."""
    server = Server()
    server.root["status"] = {"phase": "Canceled"}
    async with leading(server) as duty:
        await asyncio.sleep(UNCLAIMED_PATIENCE_S - 50)
        retry_and_cancel_again(duty, server)
        await asyncio.sleep(UNCLAIMED_PATIENCE_S * 3)
    assert server.deleted["root"] >= 2 * UNCLAIMED_PATIENCE_S - 50


@virtual_time
async def test_what_is_below_a_root_that_has_run_again_is_seen_unclaimed_anew() -> None:
    """A retry of the root may have retried it, too."""
    server = Server()
    server.child = execution("child")
    async with leading(server) as duty:
        await asyncio.sleep(UNCLAIMED_PATIENCE_S - 50)
        retry_and_cancel_again(duty, server)
        await asyncio.sleep(UNCLAIMED_PATIENCE_S * 3)
    assert server.deleted["root"] >= 2 * UNCLAIMED_PATIENCE_S - 50


@virtual_time
async def test_refusals_of_a_root_that_has_run_again_are_forgotten() -> None:
    """It is tried as soon as one that has never been refused."""
    server = Server()
    tries: list[float] = []

    def refuse(request: Request) -> None:
        if request.method == "DELETE":
            tries.append(elapsed_s())
            raise errors.Forbidden("no", status=403)

    server.refuse = refuse
    async with leading(server) as duty:
        await asyncio.sleep(24 * 3600)
        retry_and_cancel_again(duty, server)
        began_s = elapsed_s()
        await asyncio.sleep(2)
    assert len([at for at in tries if at >= began_s]) >= 4


def annotate(duty: RetentionDuty, delete_at: str | None) -> None:
    """Let the watch show an archive with this annotation."""
    meta = archive("kept", "uid-gone")
    notes = {**meta.annotations} if delete_at is None else {**meta.annotations, labels.DELETE_AT: delete_at}
    key = part_key(meta)
    assert key is not None
    duty.note_archive(StoredPart(key, msgspec.structs.replace(meta, annotations=notes)))


@virtual_time
async def test_an_archive_that_is_kept_for_a_typing_error_says_so_once() -> None:
    """For each thing that somebody has written there; a time, and none, are what they are meant to be."""
    server = Server()
    async with leading(server) as duty:
        for text in ("tomorrow", "tomorrow", None, "2026-01-02", "2030-01-01T00:00:00Z"):
            annotate(duty, text)
        await asyncio.sleep(3600)
    assert [(name, reason) for name, reason, _ in server.told.events] == [("kept", "DeleteAtUnclear")] * 2
    assert ["'tomorrow'" in message for *_, message in server.told.events] == [True, False]
    assert "kept" not in server.deleted


class Noted:
    """Implements ``retention_views.Listener`` for archives."""

    def note_root(self, seen: EndedExecution) -> None:
        """There are none."""

    def forget_root(self, uid: str) -> None:
        """There are none."""

    def note_archive(self, part: StoredPart) -> None:
        """Nothing follows."""

    def forget_archive(self, name: str) -> None:
        """Nothing follows."""


def test_an_archive_that_somebody_has_given_to_another_is_not_of_both() -> None:
    """Whoever edits its annotation, or creates it anew while the watch is away."""
    view = ArchivesView(Noted())
    view.on_event("ADDED", PartialObjectMetadata(metadata=archive("a", "first")))
    view.on_event("MODIFIED", PartialObjectMetadata(metadata=archive("a", "second")))
    assert view.uids() == {"second"}
    assert [part.meta.name for part in view.of("second")] == ["a"]
