"""Planted bugs in the product, each of a kind that a plausible engine has. The simulation must notice every one.

``MUTANTS`` says how to plant each, by name. A mutant lives as long as its process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from kontinue.api import labels
from kontinue.api.meta import Lease
from kontinue_engine.coordinator import fates
from kontinue_engine.coordinator.placement import PlacementDuty
from kontinue_engine.kube.lease import HeldLease
from kontinue_engine.lifecycle import starting
from kontinue_engine.sharding import fates as sharding_fates
from kontinue_engine.sharding import limits, mutexes, views
from kontinue_engine.sharding.lease_book import LeaseBook, Sighting
from kontinue_engine.sharding.tenure import Tenure
from kontinue_engine.worker import leadership, replica


def verdict_without_version() -> None:
    """The leader takes a Lease away although its holder may have renewed it meanwhile."""
    expired = views.expired
    views.expired = lambda lease, *, by: _unversioned(expired(lease, by=by))


def take_without_version() -> None:
    """Two replicas that want one Lease both get it."""
    written = HeldLease._written
    HeldLease._written = lambda self, lease, spec: _unversioned(written(self, lease, spec))  # type: ignore[method-assign]


def _unversioned(lease: Lease) -> Lease:
    return msgspec.structs.replace(lease, metadata=msgspec.structs.replace(lease.metadata, resource_version=""))


def relabel_without_version() -> None:
    """What was moved may have been changed by its owner meanwhile."""
    move_patch = views.move_patch

    def careless(*arguments: Any, **named: Any) -> dict[str, Any]:
        patch = move_patch(*arguments, **named)
        del patch["metadata"]["resourceVersion"]
        return patch

    views.move_patch = careless


def claim_skipped() -> None:
    """What somebody else may have started runs without a claim."""
    claim = starting._claim

    def careless(*arguments: Any) -> Any:
        plan = claim(*arguments)
        return (
            plan if plan.status is None or plan.status.phase.is_terminal else msgspec.structs.replace(plan, status=None)
        )

    starting._claim = careless


def fence_ignored() -> None:
    """A holder goes on although its Lease has run out."""
    Tenure.remaining_s = lambda self, now_s: -1.0 if self._valid_from_s is None or self._is_lost else 60.0  # type: ignore[method-assign]


def fence_counts_from_the_answer() -> None:
    """A holder counts from when it was told, others from when the renewal was written: it may be long before."""
    renew = HeldLease._renew

    async def late(self: HeldLease) -> None:
        await renew(self)
        self._tenure.confirmed(self._clock.monotonic_s() + self._times.renew_s)

    HeldLease._renew = late  # type: ignore[method-assign]


def runners_not_frozen() -> None:
    """The supervisor fences itself, and its runners go on."""
    run = HeldLease.run
    HeldLease.run = lambda self, **_: run(self)  # type: ignore[method-assign]


def renew_time_compared() -> None:
    """An observer compares the holder's clock with its own."""

    def observe(self: LeaseBook, lease: Lease, now_s: float) -> None:
        renewed = lease.spec.renew_time
        age_s = (replica.SystemClock().now() - renewed).total_seconds() if renewed is not None else 0.0
        self._sightings[lease.metadata.name] = Sighting(lease, now_s - age_s)

    LeaseBook.observe = observe  # type: ignore[method-assign]


def placement_kept() -> None:
    """A leader goes on with what it had under way in its last reign."""
    kept: dict[Any, PlacementDuty] = {}
    build = leadership.PlacementDuty

    def careless(*arguments: Any, **named: Any) -> PlacementDuty:
        return kept.setdefault(arguments[0], build(*arguments, **named))

    leadership.PlacementDuty = careless  # type: ignore[assignment,misc]


def stopped_while_unsure() -> None:
    """Whoever has ended is taken for stopped: what it held is given on while its code may still run."""
    judge = sharding_fates.judge

    def careless(**facts: bool) -> sharding_fates.Fate:
        fate = judge(**facts)
        return sharding_fates.Fate.STOPPED if fate is sharding_fates.Fate.UNSURE else fate

    sharding_fates.judge = fates.judge = careless  # type: ignore[assignment]


def grant_without_version() -> None:
    """Two leaders that overlap both grant a mutex."""
    granted = views.granted
    views.granted = lambda grant, **named: _unversioned(granted(grant, **named))


def old_grant_believed() -> None:
    """What was granted to an Execution before it was retried starts it again."""
    views.is_grant_of = lambda lease, uid, _status: lease.spec.holder_identity == uid


def mutex_given_on_unseen() -> None:
    """A holder that is not seen any more is taken for stopped without asking."""
    look = mutexes.Mutexes._look_after_holder

    def careless(self: mutexes.Mutexes, mutex: Any, now_s: float) -> Any:
        if mutex.holder not in mutex.contenders and mutex.lease is not None:
            mutex.has_stopped = True
            return self._give_on(mutex, now_s)
        return look(self, mutex, now_s)

    mutexes.Mutexes._look_after_holder = careless  # type: ignore[method-assign]


def limit_forgets_the_stopping() -> None:
    """What has ended counts no more, although its code still runs."""
    limits.Admissions.lost = lambda self, uid, now_s: self._drop(uid)  # type: ignore[method-assign]


def limit_forgets_the_last_reign() -> None:
    """A new leader admits before it knows what has ended under the last one and still runs."""
    limits.Admissions.hold_ended = lambda self, found, now_s: setattr(self, "_has_ended", True)  # type: ignore[method-assign]


def lost_by_not_noted() -> None:
    """Whoever moves what died with its replica does not say so."""
    move_patch = views.move_patch

    def careless(*arguments: Any, **named: Any) -> dict[str, Any]:
        patch = move_patch(*arguments, **named)
        patch["metadata"].get("annotations", {}).pop(labels.LOST_BY, None)
        return patch

    views.move_patch = careless


def lost_by_ignored() -> None:
    """Whoever claims it does not charge it: what kills its replica kills the next one, for ever."""
    claim = starting._claim
    starting._claim = lambda observed, *rest: claim(msgspec.structs.replace(observed, lost_by=""), *rest)


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    plant.__name__: plant
    for plant in (
        verdict_without_version,
        take_without_version,
        relabel_without_version,
        claim_skipped,
        fence_ignored,
        fence_counts_from_the_answer,
        runners_not_frozen,
        renew_time_compared,
        placement_kept,
        stopped_while_unsure,
        grant_without_version,
        old_grant_believed,
        mutex_given_on_unseen,
        limit_forgets_the_stopping,
        limit_forgets_the_last_reign,
        lost_by_not_noted,
        lost_by_ignored,
    )
}
