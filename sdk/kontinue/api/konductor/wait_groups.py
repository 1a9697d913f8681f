"""``konductor.io/v1``: the WaitGroup as frozen structs.

The CRDs in ``crds/`` are generated from these structs, as those of ``kontinue.api.v1alpha1`` are. How operations
change them is ``kontinue.api.konductor.counting``'s business; docs/coordination.md says how they are used.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from kontinue.api.konductor.group import API_VERSION, Holder
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration

MAX_COUNTER: Final = 2**31 - 1
"""The documented type is int32."""
MAX_OPERATIONS: Final = 128
MAX_WRITERS: Final = 128
"""What a WaitGroup remembers, each: about 3 KiB, in texts. Judgement: each write carries them all. As objects they
would cost a kube-apiserver more than all the rest of a write."""
MAX_HOLDERS: Final = 1_000
"""Judgement: about 120 KiB, and each write carries them all."""
MAX_OPERATION_ID: Final = 64
MAX_REMEMBERED: Final = MAX_OPERATION_ID + len(" -2147483648")
MAX_WRITE: Final = 64


Remembered = Annotated[
    str,
    Meta(max_length=MAX_REMEMBERED, description="An id that a caller has chosen, and what it asked to add: jobs-7 -1."),
]
LatestWrite = Annotated[
    str,
    Meta(
        max_length=MAX_WRITE,
        description="WRITER.NUMBER: how many writes there were with its latest one; and +MICROSECONDS if it goes on"
        " writing for so long.",
    ),
]
Counter = Annotated[int, Meta(ge=0, le=MAX_COUNTER, extra_json_schema={"format": "int32"})]


class WaitGroupPhase(enum.StrEnum):
    """Where a WaitGroup is. One without a status is Done."""

    WAITING = "Waiting"
    DONE = "Done"


class WaitGroupHolder(Holder, frozen=True):
    """A holder, and the part of the counter that is bound to it."""

    count: Annotated[int, Meta(ge=0, le=MAX_COUNTER, description="What it has added and not yet done.")] = 0


class WaitGroupSpec(ApiStruct, frozen=True):
    """What a WaitGroup is asked to be."""

    ttl: Annotated[
        GoDuration,
        Meta(
            description="Deletes it once it has been Done for so long, as 1h; unset means never. One that nothing was"
            " ever added to is kept."
        ),
    ] = ""


class WaitGroupStatus(ApiStruct, frozen=True):
    """What was counted so far. Written by whoever adds and does, and by the coordinator."""

    counter: Annotated[Counter | None, Meta(description="How many are still to be done.")] = None
    phase: Annotated[WaitGroupPhase | None, Meta(description="Waiting while the counter is above 0, else Done.")] = None
    added: Annotated[int, Meta(ge=0, description="Sum of all that was ever added.")] = 0
    rounds: Annotated[int, Meta(ge=0, description="How often the counter has come back to 0.")] = 0
    done_at: Annotated[
        datetime | None,
        Meta(description="Since when it is Done, as the coordinator saw it; only where spec.ttl is set."),
    ] = None
    holders: Annotated[
        list[WaitGroupHolder],
        Meta(max_length=MAX_HOLDERS, description="Parts of the counter that end with a Pod or an Execution."),
    ] = []
    operations: Annotated[
        list[Remembered],
        Meta(max_length=MAX_OPERATIONS, description="The latest operations with ids of their callers', newest last."),
    ] = []
    operation_count: Annotated[int, Meta(ge=0, description="How many of those have counted, ever.")] = 0
    writers: Annotated[
        list[LatestWrite],
        Meta(max_length=MAX_WRITERS, description="The latest write of each of the latest writers, the newest last."),
    ] = []
    write_count: Annotated[int, Meta(ge=0, description="How many writes have counted, ever.")] = 0


class WaitGroup(ApiObject, frozen=True):
    """Counts workers that are under way, so that somebody can wait until all of them are done."""

    metadata: ObjectMeta
    spec: WaitGroupSpec = WaitGroupSpec()
    status: WaitGroupStatus = WaitGroupStatus()
    api_version: str = API_VERSION
    kind: str = "WaitGroup"

    @property
    def counter(self) -> int:
        """How many are still to be done; 0 for one without a status."""
        return self.status.counter or 0

    @property
    def phase(self) -> WaitGroupPhase:
        """What the counter says, whether or not the phase has been written yet."""
        return WaitGroupPhase.WAITING if self.counter else WaitGroupPhase.DONE
