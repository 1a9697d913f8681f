"""Writes on a WaitGroup that have failed: whether they were carried out, and what is told of those of which it is open.

The rules are those of docs/adr/0023-operations-count-once.md. Pure. Called by ``counter``.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from kontinue import errors
from kontinue.api.konductor import counting
from kontinue.api.konductor.counting import Counted, Write
from kontinue.api.konductor.wait_groups import WaitGroup
from kontinue.sync.objects.waiting import unanswered


class Attempt(msgspec.Struct, frozen=True):
    """A write that has failed, and may have been carried out.

    Attributes:
        group: what it was built on.
        counted: what it has said.
        is_lost: nobody has answered it, or one before it that may come as well as long as nothing is written; else it
            was refused, if nothing on the way has sent it twice.
    """

    group: WaitGroup
    counted: Counted
    is_lost: bool

    def may_still_come(self, group: WaitGroup) -> bool:
        """Tell whether it may be carried out after ``group`` was read: nobody has answered it, or written since."""
        return self.is_lost and group.metadata.resource_version == self.group.metadata.resource_version

    def was_carried_out(self, group: WaitGroup, *, writer: str) -> bool:
        """Tell whether it was carried out before ``group`` was read.

        Args:
            group: as it is stored.
            writer: whose write it was.

        Raises:
            Unavailable: its answer got lost, and that cannot be told any more.
        """
        is_the_same = group.metadata.uid == self.group.metadata.uid
        number = self.counted.status.write_count
        if is_the_same and counting.has_counted(group.status, Write(writer, number)):
            return True
        if not self.is_lost:
            return False
        since = "it was deleted since, and made again"
        if is_the_same:
            before = self.group.status
            if self.may_still_come(group) or counting.is_unwritten(group.status, since=before):
                return False
            if not counting.may_have_forgotten(group.status, since=before.write_count):
                return False
            since = "what has been written since does not tell of it"
        meta = group.metadata
        raise errors.Unavailable(
            f"whether the operation on WaitGroup {meta.namespace}/{meta.name} was counted cannot be told: its "
            f"answer got lost, and {since}"
        )


def unknown(error: errors.ApiError) -> errors.ApiError:
    """Return the error of who gives up after an answer that got lost: what was refused is still to be seen.

    Args:
        error: why. A conflict is no more than another try that was in vain.
    """
    class_ = errors.Unavailable if isinstance(error, errors.Conflict) else type(error)
    told = f"{error}; whether it was counted is not known"
    if not isinstance(error, errors.NotFound):  # another one of the name would count it again
        told += ". An operation with an id of yours can be repeated: it counts once"
    return class_(told, status=error.status, reason=error.reason)


def uncounted(error: errors.ApiError, namespace: str, name: str, *, within_s: float) -> errors.Unavailable:
    """Return the error of who gives up before a write: the server has not answered, for so long."""
    told = unanswered(f"WaitGroup {namespace}/{name}", timedelta(seconds=round(within_s)))
    return errors.Unavailable(f"{told}, and nothing was counted: {error}")
