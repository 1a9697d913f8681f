"""Internal. Conditions that this replica's Executions wait for: when a runner is to look at each the next time.

Called by ``activations``. Nothing of it is stored: a pause outlives its activation, so that one that is evicted sleeps
until the next look, but not the replica. Whoever asks again after a crash is told to look at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from kontinue_engine.controllers.entries import Entry, Poll, Rest
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.lifecycle.observed import Wait
from kontinue_engine.wire import frames

POLL: Final = "Poll"


class Polls:
    """Polls of all Executions of this replica.

    Args:
        runtime: shared tools.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def request(self, entry: Entry, step: str, command: frames.StartPoll) -> None:
        """The activation waits for the next look: after the pause, or what is left of it."""
        now_ms = self._runtime.clock.now_ms()
        if command.has_looked:
            due_ms = now_ms + command.every_ms
        else:
            known = entry.polls.get(step)
            due_ms = now_ms if known is None else min(known.due_ms, now_ms + command.every_ms)
        entry.polls[step] = Poll(name=command.name, every_ms=command.every_ms, due_ms=due_ms, is_awaited=True)
        self._runtime.queue.add(entry.uid)

    def recorded(self, entry: Entry, records: Iterable[frames.EncodedRecord]) -> None:
        """Conditions hold: nobody looks any more."""
        for record in records:
            entry.polls.pop(record.step, None)

    def fire(self, entry: Entry, now_ms: int) -> None:
        """Tell whoever waits that it is time to look, or come back then."""
        for step, poll in list(entry.polls.items()):
            if poll.due_ms > now_ms:
                self._runtime.queue.add_after(entry.uid, (poll.due_ms - now_ms) / 1000)
            elif entry.rest is Rest.DORMANT or entry.is_losing:
                del entry.polls[step]  # it looks as soon as it asks again
                entry.rest = Rest.WOKEN
            elif poll.is_awaited:
                entry.polls[step] = msgspec.structs.replace(poll, is_awaited=False)
                self._runtime.tell(entry, step, frames.LookDue())

    def waits_of(self, entry: Entry) -> Mapping[str, Wait]:
        """Return what the activation waits for here, by step id. No times: they would be written at each look.

        However short the pauses are, nobody knows how many of them there will be.
        """
        return {
            step: Wait(name=poll.name, until_ms=None, is_sleep=True, kind=POLL) for step, poll in entry.polls.items()
        }
