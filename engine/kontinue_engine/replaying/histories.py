"""Internal. Histories in files, as `kubectl get executions,memopages -o yaml` (or json) writes them. Pure.

Called by ``kontinue replay`` and ``kontinue_engine.testing``. Archives are unpacked; other objects are passed over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import yaml

from kontinue import archives
from kontinue.api import labels
from kontinue.api.v1alpha1 import ArchivedExecution, Execution, MemoPage, MemoPageSpec
from kontinue_engine.errors import EngineError, MemoUnreadableError
from kontinue_engine.kube.memo_pages import PageMissingError, with_pages_at_hand


class HistoryError(EngineError):
    """A file does not hold what its name promises; the message says where and what."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One Execution, with its whole memo; ``problem`` says why it is not whole, or is empty."""

    execution: Execution
    problem: str = ""


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes' tools write it: times are texts, and so is nothing that JSON takes for a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_FLOAT: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?e[-+][0-9]+\Z")
"""``1e+06``, which PyYAML takes for a text. What has no sign there is one: a digest, as `kontinue get` writes it."""
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def read_histories(texts: Sequence[tuple[str, str]]) -> list[History]:
    """Return the Executions in some files, in their order; pages may stand in any of them.

    Args:
        texts: name and content of each file.

    Raises:
        HistoryError: one is neither JSON nor YAML, or holds an Execution that does not decode, or there is none at all.
    """
    executions: list[Execution] = []
    pages: list[MemoPage] = []
    archived: dict[tuple[str, str, str], list[ArchivedExecution]] = defaultdict(list)
    for source, text in texts:
        for document in _documents(source, text):
            kind = document.get("kind")
            if kind == "Execution":
                executions.append(_decode(source, document, Execution))
            elif kind == "MemoPage":
                pages.append(_decode(source, document, MemoPage))
            elif kind == "ArchivedExecution":
                part = _decode(source, document, ArchivedExecution)
                key = archives.part_key(part.metadata)
                digest = key.digest if key is not None else ""
                archived[part.metadata.namespace, part.spec.uid, digest].append(part)
    where = ", ".join(source for source, _ in texts)
    for parts in archived.values():
        archive = _unpack(where, parts)
        executions += archive.executions
        pages += archive.pages
    if not executions:
        raise HistoryError(
            f"{where}: no Execution in there. `kubectl get executions,memopages -o yaml` writes what is needed"
        )
    by_name = {(page.metadata.namespace, page.metadata.name): page.spec for page in pages}
    return [history_of(execution, by_name) for execution in executions]


def _unpack(where: str, parts: Sequence[ArchivedExecution]) -> archives.Archive:
    try:
        return archives.unpack(parts)
    except archives.ArchiveError as error:
        raise HistoryError(f"{where}: {error}") from error


def history_of(execution: Execution, pages: Mapping[tuple[str, str], MemoPageSpec] = {}) -> History:
    """Return the history of an Execution, made whole by ``pages``: (namespace, name) -> content."""
    namespace = execution.metadata.namespace
    own = {name: spec for (place, name), spec in pages.items() if place == namespace}
    try:
        return History(execution=with_pages_at_hand(execution, own))
    except PageMissingError as error:
        remedy = "write the file by `kubectl get executions,memopages`"
        return History(execution=execution, problem=f"{error}: {remedy}")
    except MemoUnreadableError as error:
        return History(execution=execution, problem=str(error))


def _documents(source: str, text: str) -> Iterator[dict[str, Any]]:
    left = list(reversed(_parse(source, text)))
    while left:
        document = left.pop()
        if not isinstance(document, dict):
            continue
        items = document.get("items")
        if isinstance(items, list):
            left += reversed(items)
        elif str(document.get("apiVersion", "")).startswith(f"{labels.GROUP}/"):
            yield document


def _parse(source: str, text: str) -> list[Any]:
    try:
        return [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        pass
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise HistoryError(f"{source}: neither JSON nor YAML: {error}") from error


def _decode(source: str, document: dict[str, Any], type_: Any) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(document), type=type_)
    except msgspec.MsgspecError as error:
        name = document.get("metadata", {}).get("name", "?")
        raise HistoryError(f"{source}: {document['kind']} {name} does not decode: {error}") from error
