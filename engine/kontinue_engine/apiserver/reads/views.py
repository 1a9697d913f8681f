"""Internal. In which form objects leave the server: as stored, as rows of a Table, or as PartialObjectMetadata.

``negotiate`` reads the Accept header; a ``View`` encodes single objects, lists and watch events. The plain form joins
stored bytes and parses nothing. Called by ``reading`` and ``watch``; rows are made by ``tables``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.builtin import printing
from kontinue_engine.apiserver.objects.object_store import Entry
from kontinue_engine.apiserver.reads import tables
from kontinue_engine.apiserver.resources import ResourceInfo

PLAIN: Final = "plain"
TABLE: Final = "Table"
METADATA: Final = "PartialObjectMetadata"
METADATA_LIST: Final = "PartialObjectMetadataList"
_JSON_TYPES: Final = frozenset({"*/*", "application/*", "application/json"})
_MAX_CACHED_HEADERS: Final = 256


class View(NamedTuple):
    """A form of output; ``version`` is that of meta.k8s.io."""

    form: str = PLAIN
    version: str = "v1"
    included: str = "Metadata"

    def encode_object(self, resource: ResourceInfo, entry: Entry, now: datetime) -> bytes:
        """Return one object as JSON."""
        return self.encode_data(resource, entry.data if resource.convert is None else resource.convert(entry.data), now)

    def encode_data(self, resource: ResourceInfo, data: bytes, now: datetime) -> bytes:
        """Return one object, given as JSON of its own version, as JSON."""
        if self.form == PLAIN:
            return data
        document = orjson.loads(data)
        if self.form == METADATA:
            return orjson.dumps(self._metadata_of(document))
        if self.form == METADATA_LIST:
            raise _not_acceptable("a PartialObjectMetadataList was asked for, and this is no list")
        list_metadata = {"resourceVersion": document["metadata"].get("resourceVersion", "")}
        return orjson.dumps(self._table(resource, [document], list_metadata, now))

    def encode_list(
        self, resource: ResourceInfo, entries: Sequence[Entry], list_metadata: dict[str, Any], now: datetime
    ) -> bytes:
        """Return a list as JSON."""
        shown = [entry.data for entry in entries]
        if resource.convert is not None:
            shown = [resource.convert(data) for data in shown]
        if self.form == PLAIN:
            if resource.custom:
                list_metadata = {"continue": "", **list_metadata}
            head = {"apiVersion": resource.api_version, "kind": resource.list_kind, "metadata": list_metadata}
            return b'%b,"items":[%b]}' % (orjson.dumps(head)[:-1], b",".join(shown))
        if self.form == METADATA:
            raise _not_acceptable("a PartialObjectMetadata was asked for, and this is a list")
        documents = [orjson.loads(data) for data in shown]
        if self.form == METADATA_LIST:
            # An empty list is null, as kube-apiserver's is: clients that cannot read that should fail here already.
            items = [self._metadata_of(document) for document in documents] or None
            kind = {"apiVersion": f"meta.k8s.io/{self.version}", "kind": "PartialObjectMetadataList"}
            return orjson.dumps({**kind, "metadata": list_metadata, "items": items})
        return orjson.dumps(self._table(resource, documents, list_metadata, now))

    def encode_event(self, resource: ResourceInfo, kind: str, data: bytes, now: datetime, *, is_first: bool) -> bytes:
        """Return one line of a watch from the object's JSON; only a Table's first line names its columns."""
        if self.form == PLAIN:
            return plain_line(kind, data)
        document = orjson.loads(data)
        shown: dict[str, Any]
        if self.form != TABLE:
            shown = self._metadata_of(document)
        else:
            metadata = {"resourceVersion": document["metadata"]["resourceVersion"]}
            # Of a bookmark the row is the only place for its annotations.
            view = self._replace(included="Metadata") if kind == "BOOKMARK" else self
            shown = view._table(resource, [document], metadata, now)
            if not is_first:
                shown["columnDefinitions"] = None
        return orjson.dumps({"type": kind, "object": shown}) + b"\n"

    def _metadata_of(self, document: dict[str, Any]) -> dict[str, Any]:
        kind = {"apiVersion": f"meta.k8s.io/{self.version}", "kind": "PartialObjectMetadata"}
        return {**kind, "metadata": document["metadata"]}

    def _table(
        self, resource: ResourceInfo, documents: Sequence[dict[str, Any]], metadata: dict[str, Any], now: datetime
    ) -> dict[str, Any]:
        columns, cells = printing.layout(resource)
        table = tables.build_table(columns, documents, metadata, now, cells=cells)
        for row, document in zip(table["rows"], documents, strict=True):
            if self.included == "Object":
                row["object"] = document
            else:
                row["object"] = None if self.included == "None" else self._metadata_of(document)
        table["apiVersion"] = f"meta.k8s.io/{self.version}"
        return table


def plain_line(kind: str, data: bytes) -> bytes:
    """Return one line of a watch, the object as stored."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), data)


_PLAIN_VIEW: Final = View()
_known: Final[dict[bytes, View]] = {b"": _PLAIN_VIEW, b"application/json": _PLAIN_VIEW, b"*/*": _PLAIN_VIEW}


def negotiate(accept: bytes, included: str) -> View:
    """Choose the first form of an Accept header that this server can give.

    Args:
        accept: the header.
        included: the parameter ``includeObject``: what the rows of a Table carry.

    Raises:
        StatusError: 406, there is none; 400, ``included`` is nothing that a row can carry.
    """
    view = _known.get(accept)
    if view is None:
        view = _parse_accept(accept.decode("latin-1"))
        if len(_known) < _MAX_CACHED_HEADERS:
            _known[accept] = view
    if not included or view.form != TABLE:
        return view
    if included not in {"Metadata", "Object", "None"}:
        raise statuses.bad_request(
            f"Unable to convert to Table as requested: includeObject: Invalid value: {included!r}: "
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    return view._replace(included=included)


def _parse_accept(accept: str) -> View:
    for clause in accept.split(","):
        media_type, *parts = [part.strip() for part in clause.split(";")]
        parameters = dict(part.split("=", 1) for part in parts if "=" in part)
        if media_type not in _JSON_TYPES:
            continue
        form, version = parameters.get("as", ""), parameters.get("v", "v1")
        if not form:
            return _PLAIN_VIEW
        if parameters.get("g") != "meta.k8s.io" or version not in {"v1", "v1beta1"}:
            continue
        if form in {METADATA, METADATA_LIST, TABLE}:
            return View(form, version)
    raise statuses.not_acceptable(["application/json"])


def _not_acceptable(problem: str) -> statuses.StatusError:
    return statuses.StatusError(406, "NotAcceptable", problem)
