"""``konductor.io/v1``: Semaphore and Permit as frozen structs; the CRDs are generated from them.

Who holds a permit stands in the Semaphore's own status: one value, changed by conditional writes of the coordinator
alone, so that there are never more of them than there may be (docs/adr/0029-grants-stand-in-one-object.md).
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from kontinue.api.konductor.group import API_VERSION, Holder, owner_uid
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration

MAX_PERMITS: Final = 5_000
"""Judgement: about 600 KiB of grants, and each write of the status carries them all."""
MAX_NAME: Final = 253

Count = Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema={"format": "int32"})]


class SemaphorePhase(enum.StrEnum):
    """Whether a permit is free."""

    READY = "Ready"
    FULL = "Full"


class PermitPhase(enum.StrEnum):
    """What the coordinator has decided. A Permit without a phase waits."""

    GRANTED = "Granted"
    DENIED = "Denied"
    EXPIRED = "Expired"


class Grant(ApiStruct, frozen=True):
    """A Permit that holds one of the permits."""

    name: Annotated[str, Meta(max_length=MAX_NAME, description="Of the Permit.")]
    uid: Annotated[str, Meta(max_length=64, description="Of the Permit.")]


class SemaphoreSpec(ApiStruct, frozen=True):
    """What a Semaphore is asked to be."""

    permits: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_PERMITS,
            extra_json_schema={"format": "int32"},
            description="How many may hold one at the same time. Lowered, it takes none away, but grants none either.",
        ),
    ]
    ttl: Annotated[
        GoDuration,
        Meta(description="How long a Permit that says nothing itself lasts without being renewed, as 10m."),
    ] = ""


class SemaphoreStatus(ApiStruct, frozen=True):
    """Who holds a permit. Written by the coordinator alone."""

    in_use: Annotated[Count | None, Meta(description="How many permits are held.")] = None
    available: Annotated[Count | None, Meta(description="How many are free.")] = None
    phase: Annotated[SemaphorePhase | None, Meta(description="Ready while one is free, else Full.")] = None
    waiting: Annotated[Count, Meta(description="How many Permits wait for one.")] = 0
    granted: Annotated[list[Grant], Meta(max_length=2 * MAX_PERMITS, description="The Permits that hold one.")] = []


class Semaphore(ApiObject, frozen=True):
    """Lets a number of holders at most do something at the same time."""

    metadata: ObjectMeta
    spec: SemaphoreSpec
    status: SemaphoreStatus = SemaphoreStatus()
    api_version: str = API_VERSION
    kind: str = "Semaphore"


class PermitSpec(ApiStruct, frozen=True):
    """Who asks for a permit of which Semaphore."""

    semaphore: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="Its name, in this namespace.")]
    holder: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="Who asks; any text.")]
    ttl: Annotated[
        GoDuration,
        Meta(description="How long it lasts, from when it is granted or renewed; unset: the Semaphore's."),
    ] = ""
    bound_to: Annotated[
        Holder | None, Meta(description="A Pod or an Execution whose end gives it back, or ends the waiting.")
    ] = None
    no_wait: Annotated[bool, Meta(description="Denied at once if none is free.")] = False
    renewals: Annotated[Count, Meta(description="Raised by its holder: it is held for its whole ttl again.")] = 0


class PermitStatus(ApiStruct, frozen=True):
    """What the coordinator has decided."""

    phase: Annotated[PermitPhase | None, Meta(description="Granted, Denied or Expired; unset while it waits.")] = None
    acquired_at: Annotated[datetime | None, Meta(description="When it was granted.")] = None
    expires_at: Annotated[
        datetime | None, Meta(description="When it ends unless it is renewed, by the coordinator's clock.")
    ] = None
    ttl: Annotated[GoDuration, Meta(description="How long it lasts without being renewed, as when it was granted.")] = (
        ""
    )
    message: Annotated[str, Meta(max_length=1_024, description="Why it was denied.")] = ""
    renewals: Annotated[Count, Meta(description="The renewal that it ends by.")] = 0
    parent_uid: Annotated[str, Meta(max_length=64, description="Of the Semaphore of which it was decided.")] = ""


class Permit(ApiObject, frozen=True):
    """Asks for a permit, and holds it once it is Granted. Deleting it gives it back."""

    metadata: ObjectMeta
    spec: PermitSpec
    status: PermitStatus = PermitStatus()
    api_version: str = API_VERSION
    kind: str = "Permit"

    @property
    def is_over(self) -> bool:
        """Whether it holds nothing any more, and never will."""
        return self.status.phase in {PermitPhase.DENIED, PermitPhase.EXPIRED}

    @property
    def is_granted(self) -> bool:
        """Whether it holds a permit."""
        return self.status.phase is PermitPhase.GRANTED

    @property
    def is_decided(self) -> bool:
        """Whether it waits no longer."""
        return self.status.phase is not None

    @property
    def parent(self) -> str:
        """Name of its Semaphore."""
        return self.spec.semaphore

    def belongs_to(self, semaphore: Semaphore) -> bool:
        """Tell whether it asks for a permit of this Semaphore, not of an earlier one of the same name."""
        owner = owner_uid(self.metadata, semaphore.kind, noted=self.status.parent_uid)
        return self.parent == semaphore.metadata.name and owner in {"", semaphore.metadata.uid}
