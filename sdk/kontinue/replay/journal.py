"""The journal of one activation: which outcomes user code gets, in which order, and what may be started when.

Sans-io. A host of user code tells it what the program requests and abandons, feeds it what has arrived, and calls
``advance`` whenever the program has settled (nothing in it can run). It performs no effect and reads no clock.
Called by ``kontinue_engine.runner``; what it hands out goes to the supervisor as frames.

Replay must give a program the same outcomes in the same order, or two workers on one queue swap their values
silently. What does not work: handing out outcomes as they arrive (the order of two that arrive together is lost);
waiting some rounds of the event loop before each (no number of rounds is enough); starting what is requested at once
(a loser of a race, about to be canceled by the next record, would run again). So:

1. Every outcome gets a ``seq`` when it arrives. Outcomes are delivered one at a time in that order, each only after
   the program has settled, live as on replay.
2. Nothing is started before every record of the memo is delivered and the program has settled.
3. A call that the program gave up is *abandoned*. That follows from what was delivered before, so it needs no record:
   a replay abandons it again before anything starts. If it has a record all the same (it arrived, and the program
   gave up before delivery), the record is consumed without effect.
4. A step's outcome exists nowhere but here: it is delivered after its record is durable. Children and timers are
   durable elsewhere, so theirs are delivered at once and their records ride on a later write. But when such a
   delivery was a choice (another call could have been answered instead), a crash might choose differently; so what
   is requested after a choice starts only when the choice is durable. What was requested before need not wait. A call
   that nobody can repeat harmlessly comes after all that was delivered: then the memo tells whether it was asked for.
   A release comes after its hold, which could not be had again with the same token.
5. A new attempt begins with the records before the first failure that is to blame for the end of the last one. That
   is a prefix of a history, so rules 1 to 4 hold. Later records are a cache: a call by the same id that asks for the
   same is answered with the old outcome, under a new ``seq``, at the moment when it would be started.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection
from typing import Any, Final, NamedTuple

import msgspec

from kontinue.replay import limits
from kontinue.replay.call import Call, CallState, Exhausted, Mismatch, Outcome, describe
from kontinue.replay.holds import HOLD_KINDS, held_since
from kontinue.replay.records import Memo, Record, RecordedError, RecordKind, encode_record

_MAX_SHOWN: Final = 3
"""Calls in a message: a fan-out has thousands, and the message goes into a status. Judgement."""


_FORGOTTEN_EARLY: Final = frozenset({RecordKind.TIMER, RecordKind.POLL})
_WITHOUT_OBJECT: Final = frozenset({RecordKind.STEP, RecordKind.TIMER, RecordKind.POLL})


class Effect(NamedTuple):
    """Something to perform now: start the call, or (``is_cancel``) stop what was started for it."""

    call: Call
    is_cancel: bool = False
    message: str = ""


class Flush(NamedTuple):
    """Records to make durable: (step id, JSON) each, up to ``seq``."""

    seq: int
    records: list[tuple[str, bytes]]


class _Waiting(NamedTuple):
    """An effect that may not be performed yet."""

    effect: Effect
    needs: int


class _Arrival(NamedTuple):
    """An outcome that has its place in the order; ``value`` is unset for records of the memo: not decoded yet."""

    record: Record
    value: Any
    is_durable: bool


class Journal:
    """What one activation has asked for and been told.

    After every call of an input method (``request``, ``arrive``, ``recorded`` ...) the host looks at ``take_flush``;
    when the program has settled it calls ``advance`` until that returns None, and performs ``take_effects``.

    Args:
        memo: what is recorded.
        created_at_ms: of the Execution.
        only_replays: nothing is ever started, and cached outcomes are left where they are: the program stops where the
            records end.

    Attributes:
        now_ms: time of the latest outcome delivered; before any, of the Execution's creation.
        memo_bytes: size of all records, those not handed out yet included, as the supervisor counts it.

    Raises:
        Mismatch: the memo's records are not numbered without gaps.
    """

    def __init__(self, memo: Memo, *, created_at_ms: int, only_replays: bool = False) -> None:
        self._only_replays = only_replays
        self.now_ms = memo.since_ms or created_at_ms
        self._cache = {record.id: record for record in memo.cache}
        self._cached_bytes = {record.id: len(encode_record(record)) + 1 for record in memo.cache}
        self._cuts = memo.cuts
        self.memo_bytes = sum(len(encode_record(record)) + 1 for record in memo.records)
        self.memo_bytes += sum(self._cached_bytes.values())
        self._build = memo.build
        self._arrivals = deque(_Arrival(record, msgspec.UNSET, is_durable=True) for record in memo.records)
        for seq, record in enumerate(memo.records, 1):
            if record.seq != seq:
                raise Mismatch(step=record.id, recorded=f"record {record.seq} in place {seq}", requested="no gaps")
        self._left_to_replay = self._replayed = len(memo.records)
        self._holds = {record.id: record for record in memo.records if record.kind in HOLD_KINDS}
        self._next_seq = len(memo.records) + 1
        self._begun = len(memo.records)  # what has a record, or will have one
        self._delivered = 0
        self._refusals_told = 0
        self._durable = len(memo.records)
        self._in_flight = 0
        self._last_choice = 0
        self._unsent: list[tuple[str, bytes]] = []
        self._wants_flush = False
        self._calls: dict[str, Call] = {}
        self._abandoned: dict[str, Call] = {}
        self._dropped_errors: list[int] = []
        self._waiting: dict[tuple[str, bool], _Waiting] = {}
        self._effects: list[Effect] = []

    @property
    def is_replaying(self) -> bool:
        """Whether records of the memo are left to deliver, or nothing else is to be done."""
        return self._left_to_replay > 0 or self._only_replays

    @property
    def outstanding(self) -> Collection[Call]:
        """Calls that the program has made and that are not delivered yet, oldest first."""
        return self._calls.values()

    def find(self, step_id: str) -> Call | None:
        """Return the call of that id that the program waits for, or None."""
        return self._calls.get(step_id)

    @property
    def delivered(self) -> int:
        """Seq of the latest outcome that the program was told; 0 before any."""
        return self._delivered

    @property
    def is_flushing(self) -> bool:
        """Whether records are on their way to be made durable."""
        return self._in_flight > 0

    @property
    def has_unflushed(self) -> bool:
        """Whether records must be made durable that have not been sent yet: they wait for those on their way."""
        return self._wants_flush and bool(self._unsent)

    @property
    def holds_back(self) -> bool:
        """Whether something is to be started or stopped only once records on their way are durable."""
        return bool(self._waiting)

    def generation(self, call: Call) -> int:
        """Return by what the child of ``call`` differs from one that an earlier attempt asked for by the same id."""
        position = self._delivered if call.state is CallState.OPEN else call.position
        return max((generation for seq, generation in self._cuts if seq <= position), default=0)

    # What the program does.

    def request(self, call: Call) -> None:
        """The program waits for ``call``, or has spawned it. Its effect starts when the rules above allow."""
        call.state = CallState.REQUESTED
        call.position = self._delivered
        call.needs = self._delivered if call.comes_after_all else self._last_choice
        if call.kind is RecordKind.RELEASE and (hold := self._holds.get(call.digest)) is not None:
            call.needs = max(call.needs, hold.seq)  # once it is given back, who asks again is answered otherwise
        self._calls[call.id] = call
        group = call.parallelism
        if group is not None and group.taken >= group.limit:
            group.queue.append(call)
        else:
            self._admit(call)

    def abandon(self, call: Call, message: str = "") -> None:
        """The program has given up ``call``: nothing of it will be delivered. No effect on a finished call."""
        if self._calls.pop(call.id, None) is None:
            return
        before = call.state
        call.state = CallState.ABANDONED
        self._leave_group(call)
        self._waiting.pop((call.id, False), None)
        if before is CallState.ARRIVED or self.is_replaying:  # else no record of it can come
            self._abandoned[call.id] = call
        # Steps run here: whoever runs them stops them. What has come is over, but for what is held from then on.
        held = self._holds.pop(call.id, None) if call.kind is RecordKind.HOLD else None
        if held is not None or (call.kind is not RecordKind.STEP and self._may_have_started(call, before)):
            self.cancel(call, message)
        if held is not None and held.seq <= self._in_flight:
            # Its record says that it is held: who gives it back has to know that record.
            self._waiting[call.id, True] = _Waiting(Effect(call, is_cancel=True, message=message), held.seq)

    def _may_have_started(self, call: Call, state: CallState) -> bool:
        """Tell of a call without an outcome whether something was started for it, by an earlier activation perhaps.

        That one may have done so only if something was delivered between request and now.
        """
        return state is CallState.STARTED or (state is CallState.REQUESTED and call.position < self._delivered)

    def cancel(self, call: Call, message: str = "") -> None:
        """Stop what was started for ``call``; unlike ``abandon`` its outcome is still awaited."""
        # To forget a timer early is harmless, to cancel a child before the choice is durable is not: the next
        # activation could meet the canceled child before the winner. A Suspension would be missing.
        needs = 0 if call.kind in _FORGOTTEN_EARLY else self._last_choice
        self._waiting[call.id, True] = _Waiting(Effect(call, is_cancel=True, message=message), needs)

    def finish(self) -> list[tuple[str, bytes]]:
        """The function has ended: return the records not handed out yet.

        Raises:
            Mismatch: the memo holds a record that the program never asked for, or asked for with other arguments.
        """
        for record, _, _ in self._arrivals:
            call = self._calls.get(record.id) or self._abandoned.get(record.id)
            if call is None:
                raise self._mismatch(record, "the function ended without this call")
            self._check(call, record)
        unsent, self._unsent = self._unsent, []
        return unsent

    def blame(self, seqs: Collection[int]) -> list[int]:
        """The function has failed, and ``seqs`` are the records in its exception: return what is not to be kept.

        The next attempt cuts the memo at the smallest. Failures that the program was not told, or had given up by then,
        are among them: nobody has handled them, so they are no reason not to try again.
        """
        blamed = {*seqs, *(record.seq for record, _, _ in self._arrivals if record.error is not None)}
        if blamed:
            blamed.update(seq for seq in self._dropped_errors if seq > min(blamed))
            since = held_since(self._holds.values(), before=min(blamed))
            blamed.update([since] if since else ())
        return sorted(blamed)

    def hold_of(self, step_id: str) -> Record | None:
        """Return the record of a hold or a release, if the step has made one."""
        return self._holds.get(step_id)

    def may_repeat(self, call: Call) -> bool:
        """Tell of a call that comes after all whether an earlier activation may have asked for it.

        That one asked once all that it had been told was durable; so who is told something new before has come further.
        """
        return call.position <= self._replayed

    def orphans(self, seqs: Collection[int]) -> list[Call]:
        """Return calls of objects that no later attempt will ask for, if the memo is cut: nobody waits for them."""
        if not seqs:
            return []
        started = [call for call in self._calls.values() if self._may_have_started(call, call.state)]
        given_up = [waiting.effect.call for waiting in self._waiting.values() if waiting.effect.is_cancel]
        objects = [call for call in (*started, *given_up) if call.kind not in _WITHOUT_OBJECT]
        return [call for call in objects if call.position >= min(seqs)]

    # What the world does.

    def arrive(self, step_id: str, outcome: Outcome) -> bool:
        """Something started here has its outcome. Returns whether it counts: not abandoned, not the second one."""
        call = self._calls.get(step_id)
        if call is None or call.state is not CallState.STARTED:
            return False
        value, error = None, outcome.error
        if error is None:
            try:
                value = call.request.decode(outcome.value)
            except Exception as undecodable:  # noqa: BLE001 - ResultDecodeError, or anything from a user's validator
                name = f"{type(undecodable).__module__}.{type(undecodable).__qualname__}"
                error = RecordedError(type=name, message=str(undecodable), types=[name])
        record = self._record(call, outcome, error)
        too_large = limits.outcome_refusal(len(encode_record(record)), self.memo_bytes)
        if too_large is not None:
            record, value = self._record(call, outcome, too_large), None
        self._add(call, _Arrival(record, value, outcome.is_durable))
        return True

    def _record(self, call: Call, outcome: Outcome, error: RecordedError | None) -> Record:
        """Return the record of an outcome; ``error`` stands for it if there is one."""
        return Record(
            id=call.id,
            kind=call.kind,
            name=call.name,
            digest=call.digest,
            seq=self._next_seq,
            at_ms=outcome.at_ms,
            value=msgspec.Raw(outcome.value) if error is None else msgspec.UNSET,
            error=error,
            child=outcome.child,
            line=call.line,
        )

    def _add(self, call: Call, arrival: _Arrival) -> None:
        """Give an outcome its place in the order."""
        call.state = CallState.ARRIVED
        self._leave_group(call)
        self._next_seq += 1
        if call.kind in HOLD_KINDS:
            self._holds[call.id] = arrival.record
        encoded = encode_record(arrival.record)
        self.memo_bytes += len(encoded) + 1 - self._cached_bytes.pop(call.id, 0)
        self._unsent.append((call.id, encoded))
        self._arrivals.append(arrival)
        self._wants_flush = self._wants_flush or not arrival.is_durable

    def recorded(self, flush: int) -> None:
        """Every record up to ``flush`` is durable."""
        self._durable = max(self._durable, flush)
        if self._durable >= self._in_flight:
            self._in_flight = 0

    # What is to be done.

    def take_flush(self) -> Flush | None:
        """Return records that must be made durable now. One flush at a time: later records share the next one."""
        if not self._wants_flush or self._in_flight or not self._unsent:
            return None
        self._wants_flush = False
        self._in_flight = self._next_seq - 1
        records, self._unsent = self._unsent, []
        return Flush(self._in_flight, records)

    def take_effects(self) -> list[Effect]:
        """Return what to perform now, in order."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def can_advance(self) -> bool:
        """Whether ``advance`` would deliver or start something, if the program has settled."""
        if self._is_deliverable() or self._only_replays:
            return self._is_deliverable()
        return any(waiting.needs <= self._durable for waiting in self._waiting.values())

    def advance(self) -> Call | None:
        """Deliver one outcome and return its call, or None. Only for a program that has settled.

        Raises:
            Mismatch: the next record of the memo is not what the program asks for.
            Exhausted: the program does not heed that it may record nothing more.
        """
        while True:
            if not self.is_replaying:
                self._start_effects()
            if not self._is_deliverable():
                return None
            record, value, _ = self._arrivals.popleft()
            is_replayed = self._left_to_replay > 0
            self._left_to_replay -= is_replayed
            self._delivered = record.seq
            call = self._calls.pop(record.id, None)
            if call is None:
                self._consume_abandoned(record)
                continue
            if is_replayed:
                value = self._match(call, record)
            self._waiting.pop((call.id, False), None)
            self._waiting.pop((call.id, True), None)
            if self._calls:
                self._last_choice = record.seq
            self.now_ms = max(self.now_ms, record.at_ms)
            self._refusals_told += limits.is_refusal(record.error)
            call.deliver(record, value)
            self._leave_group(call)
            return call

    def _is_deliverable(self) -> bool:
        if not self._arrivals:
            return False
        record, _, is_durable = self._arrivals[0]
        return is_durable or record.seq <= self._durable

    def _start_effects(self) -> None:
        for key, (effect, needs) in list(self._waiting.items()):
            if needs > self._durable:
                self._wants_flush = True
                continue
            del self._waiting[key]
            if not effect.is_cancel:
                is_refused = self._refuse(effect.call)
                self._begun += 1
                if is_refused or self._reuse(effect.call):
                    continue
                effect.call.state = CallState.STARTED
            self._effects.append(effect)

    def _reuse(self, call: Call) -> bool:
        """Answer the call with what an earlier attempt was told, if it asks for the same."""
        record = self._cache.pop(call.id, None)
        if record is None or not _is_same(call, record) or call.kind in HOLD_KINDS:
            return False
        value = None
        if record.error is None and record.value is not msgspec.UNSET:
            try:
                value = call.request.decode(bytes(record.value))
            except Exception:  # noqa: BLE001 - the code has changed: then it is asked for anew
                return False
        reused = msgspec.structs.replace(record, seq=self._next_seq, line=call.line)
        self._add(call, _Arrival(reused, value, is_durable=True))
        return True

    def _refuse(self, call: Call) -> bool:
        """Answer the call with an error, if this run has recorded as much as it may."""
        error = limits.refusal(self._begun, self.memo_bytes)
        if error is not None:
            if self._refusals_told >= limits.MAX_REFUSALS:
                raise Exhausted(call, error)
            record = self._record(call, Outcome(at_ms=self.now_ms), error)
            self._add(call, _Arrival(record, None, is_durable=False))
        return error is not None

    def _admit(self, call: Call) -> None:
        if call.parallelism is not None:
            call.parallelism.taken += 1
            call.has_place = True
        self._waiting[call.id, False] = _Waiting(Effect(call), call.needs)

    def _leave_group(self, call: Call) -> None:
        """Give the place of ``call`` to the next one; its state says already that it does not need it."""
        group = call.parallelism
        if group is None or not call.has_place:
            return
        call.has_place = False
        group.taken -= 1
        while group.queue:
            following = group.queue.popleft()
            if following.state is CallState.REQUESTED:
                self._admit(following)
                return

    def _consume_abandoned(self, record: Record) -> None:
        call = self._abandoned.pop(record.id, None)
        if call is None:
            raise self._mismatch(record, f"no such call; the program waits for {self._describe_calls() or 'nothing'}")
        self._check(call, record)
        if record.error is not None:
            self._dropped_errors.append(record.seq)
        if call.kind is not RecordKind.HOLD:  # which goes on from its outcome on
            self._waiting.pop((call.id, True), None)

    def _describe_calls(self) -> str:
        shown = [f"{call.id}: {call.describe()}" for call in itertools.islice(self._calls.values(), _MAX_SHOWN)]
        more = len(self._calls) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")

    def _match(self, call: Call, record: Record) -> Any:
        """Return the value of a record of the memo that belongs to ``call``."""
        self._check(call, record)
        if record.error is not None or record.value is msgspec.UNSET:
            return None
        try:
            return call.request.decode(bytes(record.value))
        except Exception as error:
            raise self._mismatch(record, f"{call.describe()}: {error}") from error

    def _check(self, call: Call, record: Record) -> None:
        if not _is_same(call, record):
            is_same = (call.kind, call.name, call.line) == (record.kind, record.name, record.line)
            raise self._mismatch(record, call.describe(), only_arguments=is_same)

    def _mismatch(self, record: Record, requested: str, *, only_arguments: bool = False) -> Mismatch:
        recorded = describe(record.kind, record.name, record.digest, record.line)
        by_build = f", recorded by build {self._build}" if self._build else ""
        return Mismatch(
            step=record.id, recorded=recorded + by_build, requested=requested, only_arguments=only_arguments
        )


def _is_same(call: Call, record: Record) -> bool:
    return (call.kind, call.name, call.digest) == (record.kind, record.name, record.digest)
