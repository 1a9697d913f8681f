"""Internal. Handlers of get, list and watch: from memory, at the revision that was asked for.

Called by ``kontinue_engine.apiserver.router``; reads the object store, hands watches to the watch hub. Nothing here
waits for anything but a revision that has not come up yet.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final

from kontinue_engine.apiserver import requests, statuses, watch
from kontinue_engine.apiserver.http_protocol import Answer, Response, StreamResponse
from kontinue_engine.apiserver.object_store import Entry, ObjectStore
from kontinue_engine.apiserver.requests import ListOptions, Target
from kontinue_engine.apiserver.views import View

FUTURE_REVISION_WAIT_S: Final = 3.0
"""As in kube-apiserver: how long a read waits for a revision that it does not know yet."""


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
        rev = requests.parse_revision(query["resourceVersion"]) if query.get("resourceVersion") else 0
        if rev > self._store.rev:
            return self._when(rev, lambda: self._get(target, view))
        return self._get(target, view)

    def list(self, target: Target, query: dict[str, str], view: View) -> Answer | Coroutine[Any, Any, Answer]:
        """Return a list or begin a watch.

        Raises:
            StatusError: the options are wrong, or what they ask for is no longer known.
        """
        options = requests.parse_list_options(query, target.resource)
        if target.name:
            selected = requests.parse_list_options({"fieldSelector": f"metadata.name={target.name}"}, target.resource)
            options = options._replace(fields=selected.fields, selector_text=f"{options.selector_text}\n{target.name}")
        rev = requests.parse_revision(options.resource_version) if options.resource_version else 0
        if options.is_watch:
            if options.sends_initial_events and rev > self._store.rev:
                return self._when(rev, lambda: self._watch(target, options, view))
            return self._watch(target, options, view)
        if rev > self._store.rev:
            return self._when(rev, lambda: self._list(target, options, view))
        return self._list(target, options, view)

    def select(self, target: Target, options: ListOptions) -> Sequence[Entry]:
        """Return the current objects of a selection, unordered."""
        return self._matching(self._current(target, options), options)

    async def _when(self, rev: int, answer: Callable[[], Answer]) -> Answer:
        if not await self._store.wait_for(rev, FUTURE_REVISION_WAIT_S):
            raise statuses.future_resource_version(rev, self._store.rev)
        return answer()

    def _get(self, target: Target, view: View) -> Response:
        entry = self._store.table(target.resource.store_key).get(target.namespace or "", target.name)
        if entry is None:
            raise statuses.not_found(target.resource, target.name)
        return Response(200, view.encode_object(target.resource, entry, self._now()))

    def _watch(self, target: Target, options: ListOptions, view: View) -> StreamResponse:
        return StreamResponse(lambda stream: self._hub.start(stream, target.resource, target.namespace, options, view))

    def _list(self, target: Target, options: ListOptions, view: View) -> Response:
        rev, start = self._store.rev, ("", "")
        is_old = False
        if options.continue_token:
            rev, start = requests.decode_continue(options.continue_token)
            is_old = rev >= 0
            rev = rev if is_old else self._store.rev
        elif options.resource_version not in {"", "0"} and (
            options.resource_version_match == "Exact" or (options.limit and not options.resource_version_match)
        ):
            rev, is_old = int(options.resource_version), True
        if is_old and rev < self._store.compacted_rev:
            raise self._too_old(options, start)
        if is_old and rev < self._store.rev:
            found: Sequence[Entry] = self._store.table(target.resource.store_key).entries_at(rev, target.namespace)
        else:
            found = self._current(target, options)
        entries = sorted(found, key=_position)
        if options.continue_token:
            entries = [entry for entry in entries if _position(entry) > start]
        return self._page(target, options, view, entries, rev)

    def _page(self, target: Target, options: ListOptions, view: View, entries: Sequence[Entry], rev: int) -> Response:
        selected = self._matching(entries, options)
        list_metadata: dict[str, Any] = {"resourceVersion": str(rev)}
        if options.limit and len(selected) > options.limit:
            remaining = len(selected) - options.limit
            selected = selected[: options.limit]
            list_metadata["continue"] = requests.encode_continue(rev, _position(selected[-1]))
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

    @staticmethod
    def _matching(entries: Sequence[Entry], options: ListOptions) -> Sequence[Entry]:
        labels, fields = options.labels, options.fields
        if labels.requirements:
            entries = [entry for entry in entries if labels.matches(entry.facts.labels)]
        if fields.requirements:
            entries = [entry for entry in entries if fields.matches(entry.facts.fields)]
        return entries

    def _too_old(self, options: ListOptions, start: tuple[str, str]) -> statuses.StatusError:
        if not options.continue_token:
            wanted = options.resource_version
            return statuses.expired(f"too old resource version: {wanted} ({self._store.compacted_rev})")
        return _ContinueExpiredError(requests.encode_continue(-1, start))


class _ContinueExpiredError(statuses.StatusError):
    """410 with a token that goes on at the same place, at a newer revision."""

    def __init__(self, token: str) -> None:
        super().__init__(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up.",
        )
        self._token = token

    def status(self) -> dict[str, Any]:
        """Return the Status with the token in its list metadata."""
        return {**super().status(), "metadata": {"continue": self._token}}


def _position(entry: Entry) -> tuple[str, str]:
    return entry.namespace, entry.name
