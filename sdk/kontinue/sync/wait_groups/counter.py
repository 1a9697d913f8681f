"""Writes operations on one WaitGroup: what is asked for while a write is under way goes into the next one, together.

What operations do is ``kontinue.api.konductor.counting``'s business; here are the conditional writes and their
conflicts. What became of a write whose answer got lost is judged by ``attempts``. Called by ``wait_group``.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api.konductor import counting
from kontinue.api.konductor.counting import Counted, Operation
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.client.shared_task import SharedTask
from kontinue.kube import errors as kube_errors
from kontinue.kube import jitter, requests
from kontinue.kube.answers import reader
from kontinue.kube.backoff import Backoff
from kontinue.kube.transport import Transport
from kontinue.sync.wait_groups.attempts import Attempt, uncounted, unknown
from kontinue.sync.wait_groups.turns import Turns

FIRST_PAUSE_S: Final = 0.004
LONGEST_PAUSE_S: Final = 0.064
"""After a write without an answer, drawn between 0 and a bound that doubles between these. Judgement."""

LEAST_TRY_S: Final = 1.0
LONGEST_TRY_S: Final = 30.0
"""Bounds of what one request may take; between them it is the time that is left. Judgement."""

MOST_LEFT_TO_OTHERS: Final = 1 / 4
LONGEST_LEFT_TO_OTHERS_S: Final = 7.5
"""Of the time for a write, before it is tried. Judgement."""

_decode: Final = reader(WaitGroup)


class _Asked(msgspec.Struct, eq=False):
    operation: Operation
    answer: asyncio.Future[int]


class Counter:
    """Operations of one process on one WaitGroup.

    Args:
        transport: to the API server.
        namespace: of the WaitGroup.
        name: of the WaitGroup.
        retry_for_s: how long one write is tried; conflicts with others count, too.
        new_writer: makes names of who writes, as the WaitGroup remembers it: none that anybody has had.
        random: draws from 0 to 1.
    """

    _asked: list[_Asked]
    _seen: WaitGroup | None
    """As our last write left it; None after a conflict or somebody else's turn, when it is probably old."""
    _is_writing: bool
    """One of those who have asked is writing; the task may be instead."""
    _task: SharedTask

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        name: str,
        *,
        retry_for_s: float,
        new_writer: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
        random: Callable[[], float] = jitter.rng.random,
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._name = name
        self._retry_for_s = retry_for_s
        self._new_writer = new_writer
        self._random = random
        self._begin_in_this_process()

    async def count(self, operation: Operation) -> int:
        """Carry out an operation and return the counter after it. Cancelled, it may still be carried out.

        Raises:
            InvalidState: the counter does not allow it.
            NotFound: there is no such WaitGroup.
            ApiError: the server refuses, or was away for too long. Where it may have been counted all the same, the
                message says so.
        """
        if self._pid != os.getpid():
            self._begin_in_this_process()
        if self._is_writing or self._task.is_running:
            return await self._ask(operation)
        self._is_writing = True
        try:
            # In no task of its own: that would cost as much CPU as all the rest.
            (answer,) = await self._write([operation])
        except BaseException:
            self._begin_as_another_writer()
            raise
        finally:
            self._write_what_was_asked_meanwhile()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _ask(self, operation: Operation) -> int:
        """Have an operation carried out with the next write."""
        asked = _Asked(operation, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        try:
            return await asked.answer
        finally:
            if asked in self._asked:
                self._asked.remove(asked)

    def _write_what_was_asked_meanwhile(self) -> None:
        self._is_writing = False
        if self._asked:
            self._task.start()

    async def _write_all(self) -> None:
        while self._asked:
            await self._write_next()

    async def _write_next(self) -> None:
        batch, self._asked = self._asked, []
        try:
            answers = await self._write([one.operation for one in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who asked must hear of it
            self._begin_as_another_writer()
            answers = [error] * len(batch)
        except BaseException:  # a cancel or a Ctrl-C of the task: those who have asked have perhaps heard of neither
            self._begin_as_another_writer()
            what = f"WaitGroup {self._namespace}/{self._name}"
            given_up = unknown(errors.Unavailable(f"{what}: the task that writes it was cut off by this program"))
            _tell(batch, [given_up] * len(batch))
            raise
        _tell(batch, answers)

    def _begin_in_this_process(self) -> None:
        """A fork is another writer, and nothing of what its parent writes is its own."""
        self._pid = os.getpid()
        self._asked = []
        self._is_writing = False
        self._task = SharedTask(
            self._write_all,
            name=f"kontinue counts {self._name}",
            is_needed=lambda: bool(self._asked) and not self._is_writing,
        )
        self._begin_as_another_writer()

    def _begin_as_another_writer(self) -> None:
        """A write that was given up may still be carried out: it must not be taken for the next one."""
        self._seen = None
        self._writer = self._new_writer()
        self._turns = Turns(self._writer, random=self._random)

    async def _write(self, operations: Sequence[Operation]) -> Sequence[int | Exception]:
        """Apply them to the newest status there is, until that or nothing is written; return the answers."""
        asked_s = _now_s()
        ends_s = asked_s + self._retry_for_s
        yields_until_s = asked_s + min(self._retry_for_s * MOST_LEFT_TO_OTHERS, LONGEST_LEFT_TO_OTHERS_S)
        pause_s = self._turns.asked(asked_s)
        if pause_s is not None:
            self._seen = None
            await _pause(pause_s, until_s=yields_until_s)
        backoff: Backoff | None = None
        last: Attempt | None = None
        writer = self._writer
        while True:
            is_current = self._seen is None
            group = self._seen or await self._read(ends_s, last)
            self._seen = None
            if last is not None and last.was_carried_out(group, writer=writer):
                return last.counted.answers
            if is_current and await _pause(self._turns.pause_s(_now_s(), group.status.writers), until_s=yields_until_s):
                continue
            goes_on_for_s = self._turns.goes_on_for_s()
            counted = counting.count(group.status, operations, writer=writer, goes_on_for_s=goes_on_for_s)
            if counted.status is group.status:
                if is_current:
                    return counted.answers
                continue  # what was refused is judged by the newest status, not by the one that we remember
            begun_s = _now_s()
            try:
                self._seen = await self._replace(group, counted, left_s=ends_s - begun_s)
            except (errors.Conflict, errors.Unavailable) as error:
                is_lost = isinstance(error, errors.Unavailable) and not kube_errors.was_not_processed(error)
                last = Attempt(group, counted, is_lost or (last is not None and last.may_still_come(group)))
                self._give_up_after(ends_s, error, last)
                backoff = backoff or Backoff(first_s=FIRST_PAUSE_S, cap_s=LONGEST_PAUSE_S)
                await _pause(self._pause_after_s(error, backoff, begun_s), until_s=ends_s)
            except errors.ApiError as error:
                if last is None or not last.may_still_come(group):
                    raise
                raise unknown(error) from error
            else:
                written_s = _now_s()
                self._turns.written(written_s, took_s=written_s - begun_s)
                return counted.answers

    def _pause_after_s(self, error: errors.ApiError, backoff: Backoff, begun_s: float) -> float:
        if isinstance(error, errors.Conflict):
            return self._turns.pause_after_conflict_s(took_s=_now_s() - begun_s)
        return backoff.next_s(at_least_s=error.retry_after_s)

    def _give_up_after(self, ends_s: float, error: errors.ApiError, last: Attempt) -> None:
        if _now_s() < ends_s:
            return
        if not last.is_lost:
            raise error
        raise unknown(error) from error

    async def _read(self, ends_s: float, last: Attempt | None) -> WaitGroup:
        left_s = max(0.0, ends_s - _now_s())
        request = requests.get(requests.WAIT_GROUPS, self._namespace, self._name)
        try:
            return _decode(await self._transport.send(request, retry_for_s=left_s, timeout_s=_try_s(left_s)))
        except errors.ApiError as error:
            if last is not None and last.is_lost:
                raise unknown(error) from error
            if isinstance(error, errors.Unavailable) and not error.status:
                spent_s = _now_s() - (ends_s - self._retry_for_s)
                raise uncounted(error, self._namespace, self._name, within_s=spent_s) from error
            raise

    async def _replace(self, group: WaitGroup, counted: Counted, *, left_s: float) -> WaitGroup:
        body = msgspec.structs.replace(group, status=counted.status)
        request = requests.replace_status(requests.WAIT_GROUPS, self._namespace, self._name, body)
        # Sent once: only so is it known whether an answer got lost.
        return _decode(await self._transport.send(request, retries=False, repeatable=False, timeout_s=_try_s(left_s)))


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _pause(pause_s: float, *, until_s: float) -> bool:
    """Leave it to others, but not for ever; tell whether there was a pause."""
    if pause_s > 0:
        pause_s = min(pause_s, until_s - _now_s())
    if pause_s <= 0:
        return False
    await asyncio.sleep(pause_s)
    return True


def _try_s(left_s: float) -> float:
    """Return how long one request may take when so much time is left for all."""
    return min(max(LEAST_TRY_S, left_s), LONGEST_TRY_S)


def _tell(batch: Sequence[_Asked], answers: Sequence[int | Exception]) -> None:
    for one, answer in zip(batch, answers, strict=True):
        if one.answer.done():
            continue
        if isinstance(answer, Exception):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)
