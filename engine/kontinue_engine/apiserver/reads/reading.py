"""Internal. Handlers of get, list and watch: from memory, at the revision that was asked for.

Called by ``kontinue_engine.apiserver.router``; reads the object store, hands watches to the watch hub. Nothing here
waits for anything but a revision that has not come up yet. Of a store that several servers share, memory has caught up
before a request for the latest comes here (``kontinue_engine.apiserver.latest``).
"""

from __future__ import annotations

import bisect
import operator
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.http.http_protocol import Answer, Response, StreamResponse
from kontinue_engine.apiserver.http.requests import Target
from kontinue_engine.apiserver.objects import scaling
from kontinue_engine.apiserver.objects.object_store import Entry, ObjectStore
from kontinue_engine.apiserver.reads import list_options, watch
from kontinue_engine.apiserver.reads.list_options import ListOptions
from kontinue_engine.apiserver.reads.views import View

FUTURE_REVISION_WAIT_S: Final = 3.0
"""As in kube-apiserver: how long a read waits for a revision that it does not know yet."""
_key: Final = operator.attrgetter("key")
"""Lists are in order of keys, as those of kube-apiserver are."""


class _Part(NamedTuple):
    """Which part of which state a list shows.

    Attributes:
        rev: what the state must not be older than.
        is_exact: whether it is the state at ``rev`` and no later one.
        start: key to begin at.
    """

    rev: int
    is_exact: bool
    start: str


class Reader:
    """Reads of any kind."""

    def __init__(self, store: ObjectStore, hub: watch.WatchHub, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._hub = hub
        self._now = now

    def get(self, target: Target, query: dict[str, str], view: View) -> Answer | Coroutine[Any, Any, Answer]:
        """Return one object.

        Raises:
            StatusError: 404, or 400 for a resourceVersion that is none.
        """
        wanted = query.get("resourceVersion") if query else None
        rev = list_options.parse_revision(wanted) if wanted else 0
        if rev > self._store.rev:
            return self._when(rev, lambda: self._get(target, view))
        return self._get(target, view)

    def list(self, target: Target, query: dict[str, str], view: View) -> Answer | Coroutine[Any, Any, Answer]:
        """Return a list or begin a watch.

        Raises:
            StatusError: the options are wrong, or what they ask for is no longer known.
        """
        options = list_options.parse_list_options(query, target.resource)
        if options.is_watch:
            if options.sends_initial_events and options.rev > self._store.rev:
                return self._watch_when(target, options, view)
            return self._watch(target, options, view)
        part = _part_of(target, options)
        if part.rev > self._store.rev:
            return self._when(part.rev, lambda: self._list(target, options, part, view))
        return self._list(target, options, part, view)

    async def shown(self, target: Target, answer: Coroutine[Any, Any, Response], view: View) -> Response:
        """Return the answer of a write, an object, in another form.

        Raises:
            StatusError: the write was refused; or 406, an object has no such form.
        """
        plain = await answer
        return msgspec.structs.replace(plain, body=view.encode_data(target.resource, plain.body, self._now()))

    async def _when(self, rev: int, answer: Callable[[], Answer]) -> Answer:
        if not await self._store.wait_for(rev, FUTURE_REVISION_WAIT_S):
            raise statuses.future_resource_version(rev, self._store.rev)
        return answer()

    async def _watch_when(self, target: Target, options: ListOptions, view: View) -> Answer:
        try:
            return await self._when(options.rev, lambda: self._watch(target, options, view))
        except statuses.StatusError as error:
            problem = error  # as in kube-apiserver: an event of the watch, and no refusal
            return StreamResponse(lambda stream: watch.fail(stream, problem))

    def _get(self, target: Target, view: View) -> Response:
        entry = self._store.table(target.resource.store_key).get(target.namespace or "", target.name)
        if entry is None:
            raise statuses.not_found(target.resource, target.name)
        if target.subresource == "scale":
            found = orjson.loads(View().encode_object(target.resource, entry, self._now()))
            return Response(200, orjson.dumps(scaling.scale_of(target.resource, found)))
        return Response(200, view.encode_object(target.resource, entry, self._now()))

    def _watch(self, target: Target, options: ListOptions, view: View) -> StreamResponse:
        return StreamResponse(lambda stream: self._hub.start(stream, target.resource, target.namespace, options, view))

    def _list(self, target: Target, options: ListOptions, part: _Part, view: View) -> Response:
        store = self._store
        rev = part.rev if part.is_exact else store.rev
        if rev < store.compacted_rev:
            raise self._too_old(target, options, part)
        if rev < store.rev:
            found: Sequence[Entry] = store.table(target.resource.store_key).entries_at(rev, target.namespace)
        else:
            found = self._current(target, options)
        entries = sorted(found, key=_key)
        if part.start:
            entries = entries[bisect.bisect_left(entries, part.start, key=_key) :]
        # As in kube-apiserver: what need not be the latest is given whole.
        limit = options.limit if options.continue_token or options.resource_version != "0" else 0
        selected, remaining = _first(entries, options, limit)
        list_metadata: dict[str, Any] = {"resourceVersion": str(rev)}
        if remaining:
            last = selected[-1].key.removeprefix(_prefix(target))
            list_metadata["continue"] = list_options.encode_continue(rev, last)
            if not options.labels.requirements and not options.fields.requirements:
                list_metadata["remainingItemCount"] = remaining
        return Response(200, view.encode_list(target.resource, selected, list_metadata, self._now()))

    def _current(self, target: Target, options: ListOptions) -> Sequence[Entry]:
        table = self._store.table(target.resource.store_key)
        name = options.fields.exact("metadata.name")
        if name is not None and target.namespace is not None:
            entry = table.get(target.namespace, name)
            return [entry] if entry is not None else []
        return list(table.entries(target.namespace))

    def _too_old(self, target: Target, options: ListOptions, part: _Part) -> statuses.StatusError:
        if not options.continue_token:
            return statuses.expired(f"too old resource version: {part.rev} ({self._store.compacted_rev})")
        start = part.start.removeprefix(_prefix(target)).removesuffix("\0")
        return _ContinueExpiredError(list_options.encode_continue(-1, start))


class _ContinueExpiredError(statuses.StatusError):
    """410 with a token that goes on at the same place, at a newer revision."""

    def __init__(self, token: str) -> None:
        super().__init__(
            410,
            "Expired",
            "the continue token is too old: its revision is no longer known. List anew without it, or go on with the "
            "token in this answer; then what was written since the first page may be missing or show up twice",
        )
        self._token = token

    def status(self) -> dict[str, Any]:
        """Return the Status with the token in its list metadata."""
        return {**super().status(), "metadata": {"continue": self._token}}


def _part_of(target: Target, options: ListOptions) -> _Part:
    if options.continue_token:
        rev, start = list_options.decode_continue(options.continue_token)
        return _Part(max(rev, 0), is_exact=rev > 0, start=_prefix(target) + start)
    match, rev = options.resource_version_match, options.rev
    return _Part(rev, is_exact=rev > 0 and (match == "Exact" or (options.limit > 0 and not match)), start="")


def _prefix(target: Target) -> str:
    """Return what the keys of all objects of a list begin with."""
    if target.namespace is None:
        return f"{target.resource.store_key}/"
    return f"{target.resource.store_key}/{target.namespace}/"


def _first(entries: Sequence[Entry], options: ListOptions, limit: int) -> tuple[Sequence[Entry], int]:
    """Return the first ``limit`` entries that are selected, and how many, selected or not, come after them."""
    if not limit or len(entries) <= limit:
        return _matching(entries, options), 0
    if not options.labels.requirements and not options.fields.requirements:
        return entries[:limit], len(entries) - limit
    selected: list[Entry] = []
    for index, entry in enumerate(entries):
        if options.labels.matches(entry.facts.labels) and options.fields.matches(entry.field):
            selected.append(entry)
            if len(selected) == limit:
                return selected, len(entries) - index - 1
    return selected, 0


def _matching(entries: Sequence[Entry], options: ListOptions) -> Sequence[Entry]:
    labels, fields = options.labels, options.fields
    if labels.requirements:
        entries = [entry for entry in entries if labels.matches(entry.facts.labels)]
    if fields.requirements:
        entries = [entry for entry in entries if fields.matches(entry.field)]
    return entries
