"""Planted bugs, each of a kind that a plausible engine has. The property test must notice every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import world

from kontinue.replay.call import Call
from kontinue_engine.runner import activation, deterministic_loop, sync_activation


class ArrivalOrderJournal(world.LoggedJournal):
    """Hands out what is there to who asked first, instead of in the order of the memo."""

    def advance(self) -> Call | None:
        for call_id in self._calls:
            found = next((arrival for arrival in self._arrivals if arrival.record.id == call_id), None)
            if found is not None:
                self._arrivals.remove(found)
                self._arrivals.appendleft(found)
                break
        return super().advance()


class EagerJournal(world.LoggedJournal):
    """Starts effects before the memo is exhausted."""

    def advance(self) -> Call | None:
        self._start_effects()
        return super().advance()


def arrival_order() -> None:
    activation.Journal = ArrivalOrderJournal  # type: ignore[misc]


def early_effects() -> None:
    activation.Journal = EagerJournal  # type: ignore[misc]


def no_idle_gate() -> None:
    """Deliver whenever something is there, whether the program has settled or not."""
    loop = deterministic_loop.DeterministicLoop
    run_callbacks = loop._run_callbacks

    def run_ungated(self: Any) -> None:
        if self._ready:
            self._owner.on_idle()
        run_callbacks(self)

    loop._run_callbacks = run_ungated  # type: ignore[method-assign]

    def advance_ungated(self: Any) -> None:
        while self._interruption is None and (call := self.journal.advance()) is not None:
            self._notify(call)
        advance(self)

    sync = sync_activation.SyncActivation
    advance = sync._advance
    sync._advance = advance_ungated  # type: ignore[method-assign]


class HastyJournal(world.LoggedJournal):
    """Starts effects before the choices that led to them are durable."""

    def request(self, call: Call) -> None:
        self._last_choice = 0
        super().request(call)


def no_flush() -> None:
    """Crashes only show it."""
    activation.Journal = HastyJournal  # type: ignore[misc]


class UnchangingJournal(world.LoggedJournal):
    """Takes what an attempt asks for under an id for what the one before asked for."""

    def generation(self, call: Call) -> int:
        del call
        return 0


def no_generation() -> None:
    """Attempts only show it."""
    activation.Journal = UnchangingJournal  # type: ignore[misc]


class ForgetfulJournal(world.LoggedJournal):
    """Asks anew for what an earlier attempt was told."""

    def _reuse(self, call: Call) -> bool:
        del call
        return False


def no_reuse() -> None:
    """Attempts only show it."""
    activation.Journal = ForgetfulJournal  # type: ignore[misc]


def address_hash() -> None:
    """Tasks hash by address, so that sets of them iterate differently in each process."""
    deterministic_loop.DeterministicTask.__hash__ = lambda self: object.__hash__(self)  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "arrival_order": arrival_order,
    "no_idle_gate": no_idle_gate,
    "early_effects": early_effects,
    "address_hash": address_hash,
    "no_flush": no_flush,
    "no_generation": no_generation,
    "no_reuse": no_reuse,
}
