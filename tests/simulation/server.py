"""What a client sees of kube-apiserver, as far as the engine relies on it: objects, resourceVersions, lists, watches.

Every request is one atomic step. Watches hear of every change in its order; how late is the network's business. Who
writes is known, so that ``invariants`` can judge each accepted write.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

KINDS = {
    "executions": "Execution",
    "archivedexecutions": "ArchivedExecution",
    "functions": "Function",
    "scheduledexecutions": "ScheduledExecution",
    "suspensions": "Suspension",
    "leases": "Lease",
    "events": "Event",
    "jobs": "Job",
    "pods": "Pod",
}
WITH_STATUS = frozenset({"executions", "scheduledexecutions", "suspensions"})
_PATH = re.compile(r"/apis?/(?:[^/]+/)?v1[a-z0-9]*/namespaces/[^/]+/([a-z]+)(?:/([^/]+)(?:/([a-z]+))?)?")
_TERMS = re.compile(r",(?![^(]*\))")
Predicate = Callable[[dict[str, Any]], bool]


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


@dataclasses.dataclass(frozen=True)
class Change:
    """One accepted write; ``old`` is None for a create, ``new`` for a deletion."""

    version: int
    plural: str
    subresource: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    who: Any


class Watch:
    """One open watch: calls ``push`` with each line."""

    def __init__(self, plural: str, selects: Predicate, *, only_metadata: bool, push: Callable[[bytes], None]) -> None:
        self.plural = plural
        self._selects = selects
        self._only_metadata = only_metadata
        self.push = push

    def tell(self, change: Change) -> None:
        was = change.old is not None and self._selects(change.old)
        is_ = change.new is not None and self._selects(change.new)
        if not was and not is_:
            return
        shown = change.new if change.new is not None else change.old
        assert shown is not None
        if shown["metadata"]["resourceVersion"] != str(change.version):
            shown = {**shown, "metadata": {**shown["metadata"], "resourceVersion": str(change.version)}}
        kind = "MODIFIED" if was and is_ else "ADDED" if is_ else "DELETED"
        self.push(b'{"type":"%b","object":%b}\n' % (kind.encode(), encode(shown, only_metadata=self._only_metadata)))


class Server:
    """The API server and its storage.

    Args:
        now: wall time as Kubernetes writes it.
        on_change: called after each accepted write.
    """

    def __init__(self, now: Callable[[], str], on_change: Callable[[Change], None]) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {plural: {} for plural in KINDS}
        self.version = 1
        self.oldest = 0
        self.writes = 0
        self._now = now
        self._on_change = on_change
        self._uids = 0
        self._history: list[Change] = []
        self._watches: dict[Watch, None] = {}

    def handle(self, method: str, target: str, accept: str, content_type: str, body: bytes, who: Any) -> Answer:
        """Answer one request that is no watch."""
        path, _, query = target.partition("?")
        plural, name, subresource = self._parse(path)
        try:
            if method == "GET":
                return self._get(plural, name) if name else self._list(plural, query, accept)
            sent = orjson.loads(body) if body else {}
            if method == "POST":
                return self._create(plural, sent, who)
            old = self.objects[plural].get(name)
            if old is None:
                return _refusal(404, "NotFound", f"{plural} {name} not found")
            if method == "DELETE":
                return self._delete(plural, name, sent, who)
            if method == "PATCH":
                sent = _patched(old, sent, content_type)
            return self._replace(plural, name, subresource, old, sent, who)
        except _TestFailedError:
            return _refusal(422, "Invalid", "the test of a JSON patch failed")

    def watch(self, target: str, accept: str, push: Callable[[bytes], None]) -> Watch | Answer:
        """Open a watch, and push what has happened since; None in place of a line is the end."""
        path, _, query = target.partition("?")
        plural, _, _ = self._parse(path)
        options = dict(parse_qsl(query))
        since = int(options["resourceVersion"])
        if since < self.oldest:
            return _refusal(410, "Expired", f"too old resource version: {since} ({self.oldest})")
        watch = Watch(plural, _selector(options), only_metadata="PartialObjectMetadata" in accept, push=push)
        for change in self._history:
            if change.version > since and change.plural == plural:
                watch.tell(change)
        self._watches[watch] = None
        return watch

    def close(self, watch: Watch) -> None:
        self._watches.pop(watch, None)

    def compact(self) -> None:
        """Forget the past: a watch from there is refused with 410."""
        self._history.clear()
        self.oldest = self.version

    # Verbs.

    def _get(self, plural: str, name: str) -> Answer:
        found = self.objects[plural].get(name)
        return Answer(200, encode(found)) if found else _refusal(404, "NotFound", f"{plural} {name} not found")

    def _list(self, plural: str, query: str, accept: str) -> Answer:
        selects = _selector(dict(parse_qsl(query)))
        only_metadata = "PartialObjectMetadata" in accept
        items = [encode(one, only_metadata=only_metadata) for one in self.objects[plural].values() if selects(one)]
        return Answer(200, b'{"metadata":{"resourceVersion":"%d"},"items":[%b]}' % (self.version, b",".join(items)))

    def _create(self, plural: str, sent: dict[str, Any], who: Any) -> Answer:
        name = sent["metadata"]["name"]
        if name in self.objects[plural]:
            return _refusal(409, "AlreadyExists", f"{plural} {name} already exists")
        self._uids += 1
        metadata = {**sent["metadata"], "uid": f"u{self._uids}", "creationTimestamp": self._now(), "generation": 1}
        new = {**sent, "metadata": metadata}
        if plural in WITH_STATUS:
            new.pop("status", None)
        return self._store(201, plural, "", None, new, who)

    def _replace(
        self, plural: str, name: str, subresource: str, old: dict[str, Any], sent: dict[str, Any], who: Any
    ) -> Answer:
        wanted = sent["metadata"].get("resourceVersion", "")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            message = f"{plural} {name}: the object has been modified; please apply your changes to the latest version"
            return _refusal(409, "Conflict", message)
        if sent["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            return _refusal(409, "Conflict", f"{plural} {name}: another uid")
        if subresource == "status":
            new = {**old, "status": sent.get("status", {})}
        else:
            kept = {key: old["metadata"][key] for key in ("uid", "creationTimestamp", "generation")}
            kept["generation"] += sent.get("spec") != old.get("spec")
            new = {**sent, "metadata": {**sent["metadata"], **kept}}
            if plural in WITH_STATUS:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = old["status"]
        metadata = {**new["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}
        if {**new, "metadata": metadata} == old:
            return Answer(200, encode(old))  # kube-apiserver writes nothing then
        return self._store(200, plural, subresource, old, new, who)

    def _delete(self, plural: str, name: str, sent: dict[str, Any], who: Any) -> Answer:
        old = self.objects[plural][name]
        wanted = sent.get("preconditions", {})
        if any(old["metadata"][key] != value for key, value in wanted.items()):
            return _refusal(409, "Conflict", f"{plural} {name}: the precondition does not hold")
        del self.objects[plural][name]
        self._tell(plural, "", old, None, who)
        return Answer(200, encode(old))

    def _store(
        self, status: int, plural: str, subresource: str, old: dict[str, Any] | None, new: dict[str, Any], who: Any
    ) -> Answer:
        new["metadata"] = {**new["metadata"], "resourceVersion": str(self.version + 1)}
        self.objects[plural][new["metadata"]["name"]] = new
        self._tell(plural, subresource, old, new, who)
        return Answer(status, encode(new))

    def _tell(
        self, plural: str, subresource: str, old: dict[str, Any] | None, new: dict[str, Any] | None, who: Any
    ) -> None:
        self.version += 1
        self.writes += 1
        change = Change(self.version, plural, subresource, old, new, who)
        self._history.append(change)
        for watch in self._watches:
            if watch.plural == plural:
                watch.tell(change)
        self._on_change(change)

    def _parse(self, path: str) -> tuple[str, str, str]:
        match = _PATH.fullmatch(path)
        assert match is not None, path
        return match[1], match[2] or "", match[3] or ""


def encode(document: dict[str, Any], *, only_metadata: bool = False) -> bytes:
    return orjson.dumps({"metadata": document["metadata"]} if only_metadata else document)


def labels_of(document: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = document["metadata"].get("labels") or {}
    return found


def is_retry_requested(execution: dict[str, Any]) -> bool:
    """Tell whether somebody has asked for another attempt of one that has failed or was canceled."""
    status = execution.get("status") or {}
    asked = (execution["spec"].get("retry") or {}).get("retries", 0)
    is_edited = execution["metadata"]["generation"] > 1
    return is_edited and status.get("phase") in {"Failed", "Canceled"} and asked > status.get("observedRetries", 0)


def _refusal(code: int, reason: str, message: str) -> Answer:
    return Answer(code, orjson.dumps({"kind": "Status", "code": code, "reason": reason, "message": message}))


class _TestFailedError(Exception):
    pass


def _patched(old: dict[str, Any], patch: Any, content_type: str) -> dict[str, Any]:
    if content_type == "application/merge-patch+json":
        merged = _merged(old, patch)
        if not patch.get("metadata", {}).get("resourceVersion"):
            merged["metadata"] = {**merged["metadata"], "resourceVersion": ""}  # no precondition
        return merged
    assert content_type == "application/json-patch+json", content_type
    status = dict(old.get("status") or {})
    for operation in patch:
        _, _, field = operation["path"].removeprefix("/").partition("/")
        assert operation["path"].startswith("/status"), operation
        if operation["op"] == "test":
            found = status.get(field) if field else old.get("status")
            if found != operation["value"]:
                raise _TestFailedError
        elif field:
            status[field] = operation["value"]
        else:
            status = dict(operation["value"])
    metadata = {key: value for key, value in old["metadata"].items() if key != "resourceVersion"}
    return {**old, "metadata": metadata, "status": status}


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


_selectors: dict[tuple[str, str], Predicate] = {}


def _selector(options: dict[str, str]) -> Predicate:
    key = options.get("labelSelector", ""), options.get("fieldSelector", "")
    if key not in _selectors:
        _selectors[key] = _compile(*key)
    return _selectors[key]


def _compile(label_selector: str, field_selector: str) -> Predicate:
    by_label = [_label_term(term) for term in _TERMS.split(label_selector) if term]
    by_phase = [_phase_term(term) for term in field_selector.split(",") if term]

    def selects(document: dict[str, Any]) -> bool:
        phase = (document.get("status") or {}).get("phase", "")
        if not all(holds(phase) for holds in by_phase):
            return False
        found = document["metadata"].get("labels") or {}
        return all(holds(found) for holds in by_label)

    return selects


def _phase_term(term: str) -> Callable[[str], bool]:
    field, sign, value = re.split("(!?=)", term)
    assert field == "status.phase", term
    return (lambda phase: phase != value) if sign == "!=" else (lambda phase: phase == value)


def _label_term(term: str) -> Callable[[dict[str, str]], bool]:
    if " notin " in term:
        key, _, values = term.partition(" notin ")
        banned = set(values.strip("()").split(","))
        return lambda found: found.get(key) not in banned
    if " in " in term:
        key, _, values = term.partition(" in ")
        wanted = set(values.strip("()").split(","))
        return lambda found: found.get(key) in wanted
    assert " " not in term, term
    if term.startswith("!"):
        return lambda found: term[1:] not in found
    key, equals, value = term.partition("=")
    if not equals:
        return lambda found: key in found
    return lambda found: found.get(key) == value
