"""``konductor.io/v1``: Barrier and Arrival as frozen structs; the CRDs are generated from them."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from kontinue.api.konductor.group import API_VERSION
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration

MAX_EXPECTED: Final = 5_000
"""Judgement: about 100 to 300 KiB of holders in one status."""
MAX_NAME: Final = 253

Participants = Annotated[int, Meta(ge=1, le=MAX_EXPECTED, extra_json_schema={"format": "int32"})]
Arrived = Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema={"format": "int32"})]


class BarrierPhase(enum.StrEnum):
    """Where a Barrier is. Open and Failed are final."""

    WAITING = "Waiting"
    OPEN = "Open"
    FAILED = "Failed"


class ArrivalPhase(enum.StrEnum):
    """An Arrival counts as soon as it exists; that it is Recorded says so."""

    RECORDED = "Recorded"


class BarrierSpec(ApiStruct, frozen=True):
    """Whom a Barrier waits for."""

    expected: Annotated[Participants, Meta(description="How many are to arrive.")]
    quorum: Annotated[
        Participants | None, Meta(description="So many arrivals open it; unset: all that are expected.")
    ] = None
    timeout: Annotated[
        GoDuration, Meta(description="It fails if it is not open so long after it was created, as 5m; unset: never.")
    ] = ""


class BarrierStatus(ApiStruct, frozen=True):
    """Who has arrived. Written by the coordinator alone."""

    arrived: Annotated[Arrived | None, Meta(description="How many have arrived.")] = None
    phase: Annotated[BarrierPhase | None, Meta(description="Waiting, then Open or Failed, for good.")] = None
    arrivals: Annotated[
        list[str],
        Meta(max_length=MAX_EXPECTED, description="The holders of the first arrivals, 512 KiB of them."),
    ] = []
    opened_at: Annotated[datetime | None, Meta(description="When it was opened.")] = None
    started_at: Annotated[
        datetime | None,
        Meta(description="When it was created, as the coordinator saw it: the timeout counts from here."),
    ] = None


class Barrier(ApiObject, frozen=True):
    """Opens once a known number of participants have arrived."""

    metadata: ObjectMeta
    spec: BarrierSpec
    status: BarrierStatus = BarrierStatus()
    api_version: str = API_VERSION
    kind: str = "Barrier"

    @property
    def required(self) -> int:
        """How many arrivals open it."""
        return self.spec.quorum or self.spec.expected


class ArrivalSpec(ApiStruct, frozen=True):
    """Who has arrived where."""

    barrier: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="Its name, in this namespace.")]
    holder: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="Who has arrived; any text.")]


class ArrivalStatus(ApiStruct, frozen=True):
    """That it counts. Written by the coordinator."""

    phase: Annotated[ArrivalPhase | None, Meta(description="Recorded.")] = None
    arrived_at: Annotated[datetime | None, Meta(description="When it was created.")] = None
    parent_uid: Annotated[str, Meta(max_length=64, description="Of the Barrier at which it was recorded.")] = ""


class Arrival(ApiObject, frozen=True):
    """Says that somebody has arrived at a Barrier."""

    metadata: ObjectMeta
    spec: ArrivalSpec
    status: ArrivalStatus = ArrivalStatus()
    api_version: str = API_VERSION
    kind: str = "Arrival"

    @property
    def parent(self) -> str:
        """Name of its Barrier."""
        return self.spec.barrier
