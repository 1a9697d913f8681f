"""What belongs to the tree of an Execution, and how it is found: by the label of its root. Called by ``Client``.

The kinds stand here once, for who reads a tree, as ``kontinue logs`` does, too, and for who follows one
(``kontinue.client.tree_watcher``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from kontinue import errors
from kontinue.api import labels
from kontinue.api.batch import Job
from kontinue.api.meta import ObjectList
from kontinue.api.v1alpha1 import Execution, Suspension
from kontinue.client.reading import Send, fetch_pages
from kontinue.client.together import all_of
from kontinue.client.tree import Member, root_of
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.requests import Resource

PAGE_SIZE: Final = 500
KINDS: Final[dict[type[Member], Resource]] = {
    Execution: requests.EXECUTIONS,
    Suspension: requests.SUSPENSIONS,
    Job: requests.JOBS,
}
"""What is below an Execution, and where it is found."""
EXTRAS: Final[frozenset[type[Member]]] = frozenset({Suspension, Job})
"""Kinds that a tree does without, if they may not be read."""

_decoders: Final[dict[type[Member], Callable[[bytes], ObjectList[Any]]]] = {
    Execution: reader(ObjectList[Execution], what="list of Executions"),
    Suspension: reader(ObjectList[Suspension], what="list of Suspensions"),
    Job: reader(ObjectList[Job], what="list of Jobs"),
}
_log: Final = logging.getLogger(__name__)


def selector_of(top: Execution) -> str:
    """Return the label selector of everything that belongs to the root of an Execution."""
    return f"{labels.ROOT}={labels.label_value(root_of(top))}"


async def fetch_below(send: Send, top: Execution) -> list[Member]:
    """Read everything that belongs to the root of an Execution, that itself aside."""
    found = await all_of(_fetch_kind(send, top, kind) for kind in KINDS)
    return [member for members in found for member in members]


async def _fetch_kind(send: Send, top: Execution, kind: type[Member]) -> list[Member]:
    found: list[Member] = []
    pages = fetch_pages(
        send,
        KINDS[kind],
        _decoders[kind],
        namespace=top.metadata.namespace,
        size=PAGE_SIZE,
        label_selector=selector_of(top),
    )
    try:
        async for page in pages:
            found += page.items
    except (errors.Forbidden, errors.NotFound) as error:
        if kind not in EXTRAS:
            raise
        warn_left_out(KINDS[kind], error)
    return found


def warn_left_out(resource: Resource, error: errors.ApiError) -> None:
    """Say that a tree is shown without one kind of its nodes."""
    _log.warning("the tree is shown without %ss: %s", resource.kind, error)
