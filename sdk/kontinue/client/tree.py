"""The tree of an Execution: what it started, and what that started, with phases and times.

``build_tree`` is pure; ``TreeWatcher`` keeps a tree up to date by two watches, one on the Execution itself and one on
everything of the same root. Called through ``Client.get_tree`` and ``Client.watch_tree``; the CLI draws it.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from kontinue import errors
from kontinue.api import labels
from kontinue.api.meta import parent_of
from kontinue.api.v1alpha1 import Execution, ExecutionAttempt
from kontinue.kube import requests
from kontinue.kube.reflector import REFUSALS, Listed, Reflector
from kontinue.kube.transport import Transport
from kontinue.kube.watch import Changed

_DIGITS: Final = re.compile(r"(\d+)")


class NodeKind(enum.StrEnum):
    """What a node of the tree stands for."""

    EXECUTION = "Execution"
    ATTEMPT = "Attempt"


@dataclass(frozen=True, kw_only=True)
class ExecutionTreeNode:
    """One Execution, or one earlier attempt of the Execution above it.

    Attributes:
        name: name of the object; for an attempt, of its Execution.
        namespace: its namespace.
        kind: what it is.
        phase: its phase.
        message: cause of the phase, for people.
        created_at: when the object was created; None for attempts.
        started_at: when it first ran.
        finished_at: when it ended.
        attempt_number: number of the attempt; of an Execution, how many it had.
        children: what it started, in the order of the calls, earlier attempts first.
        execution: the object, for kind Execution.
        attempt: the record, for kind Attempt.
    """

    name: str
    namespace: str
    kind: NodeKind
    phase: str
    message: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt_number: int = 0
    children: Sequence[ExecutionTreeNode] = ()
    execution: Execution | None = field(default=None, repr=False)
    attempt: ExecutionAttempt | None = field(default=None, repr=False)

    def walk(self) -> Iterator[tuple[int, ExecutionTreeNode]]:
        """Yield this node and all below it, parents first, with their depth (0 for this one)."""
        stack: list[tuple[int, ExecutionTreeNode]] = [(0, self)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            stack.extend((depth + 1, child) for child in reversed(node.children))


@dataclass(frozen=True, kw_only=True)
class ExecutionTree:
    """An Execution and everything below it, as seen at one moment.

    Attributes:
        root: the Execution asked for.
        is_archived: whether it was read from the archive.
    """

    root: ExecutionTreeNode
    is_archived: bool = False

    def walk(self) -> Iterator[tuple[int, ExecutionTreeNode]]:
        """Yield all nodes, parents first, with their depth."""
        return self.root.walk()


def root_of(execution: Execution) -> str:
    """Return the name of the root that an Execution belongs to; its own, if it is one."""
    return execution.metadata.labels.get(labels.ROOT) or execution.metadata.name


def build_tree(top: Execution, others: Iterable[Execution]) -> ExecutionTree:
    """Return the tree under ``top``; whatever of ``others`` does not descend from it is left out."""
    children: defaultdict[str, list[Execution]] = defaultdict(list)
    for execution in others:
        parent = parent_of(execution.metadata.owner_references)
        if parent is not None and execution.metadata.uid != top.metadata.uid:
            children[parent.uid].append(execution)
    parents_first, left = list[Execution](), [top]
    while left:
        parents_first.append(left.pop())
        left += children.get(parents_first[-1].metadata.uid, ())
    nodes: dict[str, ExecutionTreeNode] = {}  # from the leaves up, without recursion: thousands of levels are legal
    for execution in reversed(parents_first):
        uid = execution.metadata.uid
        below = sorted(children.get(uid, ()), key=call_order)
        nodes[uid] = _node(execution, [nodes[child.metadata.uid] for child in below])
    return ExecutionTree(root=nodes[top.metadata.uid], is_archived=top.is_archived)


def _node(execution: Execution, below: Sequence[ExecutionTreeNode]) -> ExecutionTreeNode:
    metadata, status = execution.metadata, execution.status
    return ExecutionTreeNode(
        name=metadata.name,
        namespace=metadata.namespace,
        kind=NodeKind.EXECUTION,
        phase=execution.phase.value,
        message=status.message,
        created_at=metadata.creation_timestamp,
        started_at=status.started_at,
        finished_at=status.finished_at,
        attempt_number=status.attempt_count,
        children=[
            *(_attempt_node(execution, attempt) for attempt in _earlier(execution)),
            *below,
        ],
        execution=execution,
    )


def _earlier(execution: Execution) -> Sequence[ExecutionAttempt]:
    """Return the attempts before the one that runs, has ended the Execution, or is waited for."""
    attempts = execution.status.attempts
    waits = bool(attempts) and attempts[-1].finished_at is not None and not execution.phase.is_terminal
    return attempts if waits else attempts[:-1]


def _attempt_node(execution: Execution, attempt: ExecutionAttempt) -> ExecutionTreeNode:
    return ExecutionTreeNode(
        name=execution.metadata.name,
        namespace=execution.metadata.namespace,
        kind=NodeKind.ATTEMPT,
        phase=attempt.phase.value if attempt.phase else "",
        message=attempt.message,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        attempt_number=attempt.number,
        attempt=attempt,
    )


def call_order(execution: Execution) -> tuple[list[tuple[int, str]], str]:
    """Key to sort children by step id, numbers in it by value: ``2`` comes before ``10``."""
    step = execution.metadata.annotations.get(labels.STEP, "")
    parts = [(labels.number_in(part), part) for part in _DIGITS.split(step)]
    return [(-1, part) if number is None else (number, "") for number, part in parts], execution.metadata.name


class TreeWatcher:
    """A tree that follows the cluster: ``async with`` it, then iterate over its states.

    Each iteration gives the newest state; states that nobody waited for are skipped. Transient errors reconnect and
    show in ``last_error``, fatal ones are raised. It ends when ``stop`` is called or the Execution is deleted; what has
    been archived has one state.
    """

    def __init__(
        self, transport: Transport, fetch: Callable[[], Coroutine[Any, Any, Execution | ExecutionTree]]
    ) -> None:
        self._transport = transport
        self._fetch = fetch
        self._archived: ExecutionTree | None = None
        self._top: Execution | None = None
        self._below: dict[str, Execution] = {}
        self._changed = asyncio.Event()
        self._listed: set[str] = set()
        self._reflectors: dict[str, Reflector[Execution]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def last_error(self) -> errors.ApiError | None:
        """Why it is not up to date at the moment; None while all is well."""
        return next((reflector.last_error for reflector in self._reflectors.values() if reflector.last_error), None)

    async def __aenter__(self) -> Self:
        top = await self._fetch()
        if isinstance(top, ExecutionTree):
            self._archived = top
            return self
        self._top = top
        root = labels.label_value(root_of(top))
        self._reflectors = {
            "top": self._reflector(top.metadata.namespace, field_selector=f"metadata.name={top.metadata.name}"),
            "below": self._reflector(top.metadata.namespace, label_selector=f"{labels.ROOT}={root}"),
        }
        for part, reflector in self._reflectors.items():
            task = asyncio.create_task(self._follow(part, reflector), name=f"kontinue tree watch, {part}")
            task.add_done_callback(lambda _: self._changed.set())
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[ExecutionTree]:
        if self._archived is not None:
            yield self._archived
            return
        self._changed.set()  # every iteration starts with the state as it is
        while True:
            await self._changed.wait()
            self._changed.clear()
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()
            if self._stopped or self._top is None:
                return
            if len(self._listed) == len(self._reflectors):
                yield build_tree(self._top, self._below.values())

    async def stop(self) -> None:
        """Close the watches; an iteration under way ends."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._changed.set()

    def _reflector(self, namespace: str, *, label_selector: str = "", field_selector: str = "") -> Reflector[Execution]:
        return Reflector(
            self._transport,
            requests.EXECUTIONS,
            namespace,
            type_=Execution,
            label_selector=label_selector,
            field_selector=field_selector,
            fatal=REFUSALS,
        )

    async def _follow(self, part: str, reflector: Reflector[Execution]) -> None:
        async with aclosing(reflector.follow()) as stream:
            async for news in stream:
                match news:
                    case Listed(objects=objects):
                        self._listed.add(part)
                        if part == "top":
                            self._top = objects[0] if objects else None
                        else:
                            self._below = {obj.metadata.uid: obj for obj in objects}
                    case Changed(type=type_, object=obj):
                        gone = type_ == "DELETED"
                        if part == "top":
                            self._top = None if gone else obj
                        elif gone:
                            self._below.pop(obj.metadata.uid, None)
                        else:
                            self._below[obj.metadata.uid] = obj
                    case _:
                        continue
                self._changed.set()
