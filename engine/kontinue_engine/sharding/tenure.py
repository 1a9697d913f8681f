"""Internal. What the holder of a Lease may still do: a state machine without clock or I/O.

A holder's validity counts from when a renewal was *sent*: observers cannot have seen it earlier. Some time before the
end it must have stopped writing (FENCED); if a renewal succeeds after that, nobody has taken over and it may go on.
Once the Lease is somebody else's, or is gone, it is LOST for good. ``kontinue_engine.kube.lease`` drives it.
"""

from __future__ import annotations

import enum

from kontinue_engine.sharding.leases import MARGIN_S, LeaseTimes


class Standing(enum.Enum):
    """What a holder may do now."""

    WAITING = enum.auto()
    """It holds nothing yet, or has given it back."""
    WRITING = enum.auto()
    """It may write."""
    FENCED = enum.auto()
    """It must not write until a renewal succeeds: others may take over soon, or have."""
    LOST = enum.auto()
    """Somebody else may have started its work: it must stop."""


class Tenure:
    """One process and one Lease, from taking it until it is released or lost.

    Args:
        times: of the Lease.
    """

    def __init__(self, times: LeaseTimes) -> None:
        self._times = times
        self._valid_from_s: float | None = None
        self._is_lost = False

    def confirmed(self, sent_s: float) -> None:
        """The server took what was sent at ``sent_s``: the Lease is ours. Late answers do no harm."""
        if not self._is_lost and (self._valid_from_s is None or sent_s > self._valid_from_s):
            self._valid_from_s = sent_s

    def refused(self) -> None:
        """The Lease is not ours any more."""
        self._is_lost = True

    def ended(self) -> None:
        """We have given it back."""
        self._valid_from_s = None

    def remaining_s(self, now_s: float) -> float:
        """Return the seconds until we must have stopped writing; negative when it is too late or nothing is held."""
        if self._valid_from_s is None or self._is_lost:
            return -1.0
        return self._valid_from_s + self._times.duration_s - MARGIN_S - now_s

    def standing(self, now_s: float) -> Standing:
        """Return what we may do at ``now_s``."""
        if self._is_lost:
            return Standing.LOST
        if self._valid_from_s is None:
            return Standing.WAITING
        return Standing.WRITING if self.remaining_s(now_s) > 0 else Standing.FENCED
