"""``konductor.io/v1``: the Gate as frozen structs; the CRD is generated from them.

Which states a condition may ask for stands here, as clients are told before they send it; when an object is in one of
them is the coordinator's business. docs/gates.md says how it is used.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final, TypeVar

from msgspec import Meta

from kontinue.api.konductor.group import API_VERSION
from kontinue.api.meta import ApiObject, ApiStruct, ObjectMeta
from kontinue.api.v1alpha1 import GoDuration

MAX_CONDITIONS: Final = 64
"""Judgement: about 20 KiB of status, and one request for each when the Gate opens."""
MAX_NAME: Final = 253
MAX_NAMESPACE: Final = 63
MAX_MESSAGE: Final = 1_024
GATES_FROM: Final = "konductor.io/gates-from"
"""Annotation of what conditions of other namespaces may ask about: those namespaces, with commas, or ``*``."""


class GateTarget(enum.StrEnum):
    """What a condition can be about."""

    JOB = "Job"
    SEMAPHORE = "Semaphore"
    BARRIER = "Barrier"
    LEASE = "Lease"
    GATE = "Gate"
    MUTEX = "Mutex"
    ONCE = "Once"
    WAIT_GROUP = "WaitGroup"


class GateState(enum.StrEnum):
    """What a condition can ask for; ``STATES`` says of what."""

    COMPLETE = "Complete"
    FAILED = "Failed"
    ACTIVE = "Active"
    OPEN = "Open"
    CLOSED = "Closed"
    ACQUIRED = "Acquired"
    AVAILABLE = "Available"
    LOCKED = "Locked"
    UNLOCKED = "Unlocked"
    DONE = "Done"
    PENDING = "Pending"
    ZERO = "Zero"
    NON_ZERO = "NonZero"


STATES: Final[Mapping[GateTarget, tuple[GateState, ...]]] = {
    GateTarget.JOB: (GateState.COMPLETE, GateState.FAILED, GateState.ACTIVE, GateState.PENDING),
    GateTarget.SEMAPHORE: (GateState.AVAILABLE, GateState.ACQUIRED),
    GateTarget.BARRIER: (GateState.OPEN, GateState.CLOSED, GateState.FAILED, GateState.PENDING),
    GateTarget.LEASE: (GateState.AVAILABLE, GateState.ACQUIRED),
    GateTarget.GATE: (GateState.OPEN, GateState.CLOSED, GateState.FAILED, GateState.PENDING),
    GateTarget.MUTEX: (GateState.LOCKED, GateState.UNLOCKED, GateState.ACQUIRED, GateState.AVAILABLE),
    GateTarget.ONCE: (GateState.COMPLETE, GateState.DONE, GateState.FAILED, GateState.ACTIVE, GateState.PENDING),
    GateTarget.WAIT_GROUP: (GateState.DONE, GateState.ZERO, GateState.NON_ZERO),
}
"""The states that each of them can be in. The server refuses others: they would never be met."""


class GatePhase(enum.StrEnum):
    """Where a Gate is. Open and Failed stay until somebody closes or opens it by hand."""

    WAITING = "Waiting"
    OPEN = "Open"
    FAILED = "Failed"


class GateOverride(enum.StrEnum):
    """What somebody has decided in place of the conditions."""

    OPEN = "Open"
    CLOSED = "Closed"


_FORM: Final = "TYPE/[NAMESPACE/]NAME=STATE[:VALUE]"
_E = TypeVar("_E", bound=enum.StrEnum)
_Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME,
        pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="Of the object.",
    ),
]
_Count = Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema={"format": "int32"})]
_Namespace = Annotated[
    str,
    Meta(
        max_length=MAX_NAMESPACE,
        pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
        description="Of the object; unset: that of the Gate.",
    ),
]


class GateCondition(ApiStruct, frozen=True):
    """Something that has to be so."""

    type: Annotated[GateTarget, Meta(description="Kind of the object; a Job is one of batch/v1.")]
    name: _Name
    state: Annotated[GateState, Meta(description="What it has to be.")]
    namespace: _Namespace = ""
    value: Annotated[
        _Count | None, Meta(description="Of a Semaphore: so many permits have to be free, or held; unset: one.")
    ] = None

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        value = "" if self.value is None else f":{self.value}"
        return f"{self.type}/{place}{self.name}={self.state}{value}"


class GateSpec(ApiStruct, frozen=True):
    """What a Gate waits for."""

    conditions: Annotated[
        list[GateCondition],
        Meta(min_length=1, max_length=MAX_CONDITIONS, description="It opens when all of them are met at once."),
    ]
    timeout: Annotated[
        GoDuration, Meta(description="It fails if it is not open so long after it was created, as 30m; unset: never.")
    ] = ""
    override: Annotated[
        GateOverride | None,
        Meta(description="Opens or closes it, whatever its conditions say; unset: they decide, anew after one."),
    ] = None


class GateConditionStatus(ApiStruct, frozen=True):
    """Whether a condition is met."""

    type: Annotated[GateTarget, Meta(description="As in the spec.")]
    name: _Name
    met: Annotated[bool, Meta(description="Whether it is.")]
    state: Annotated[GateState | None, Meta(description="As in the spec; the original leaves it out.")] = None
    namespace: _Namespace = ""
    message: Annotated[str, Meta(max_length=MAX_MESSAGE, description="Why it is not.")] = ""

    @property
    def place(self) -> str:
        """What it is about, for people."""
        return f"{self.type} {f'{self.namespace}/' if self.namespace else ''}{self.name}"

    @property
    def problem(self) -> str:
        """Why it is not met, for people."""
        wanted = f"is to be {self.state}, but " if self.state else ""
        return f"{self.place} {wanted}{self.message}"


class GateStatus(ApiStruct, frozen=True):
    """What has been found. Written by the coordinator alone."""

    phase: Annotated[GatePhase | None, Meta(description="Waiting, then Open or Failed.")] = None
    condition_statuses: Annotated[
        list[GateConditionStatus],
        Meta(max_length=MAX_CONDITIONS, description="Of each condition; as it was when the Gate opened or failed."),
    ] = []
    met: Annotated[str, Meta(max_length=16, description="How many of them are met, of how many, as 2/3.")] = ""
    opened_at: Annotated[datetime | None, Meta(description="When it was opened.")] = None
    started_at: Annotated[
        datetime | None,
        Meta(description="When it was created, as the coordinator saw it: the timeout counts from here."),
    ] = None
    override: Annotated[GateOverride | None, Meta(description="The override that the phase follows.")] = None


class Gate(ApiObject, frozen=True):
    """Opens when everything that it waits for is so."""

    metadata: ObjectMeta
    spec: GateSpec
    status: GateStatus = GateStatus()
    api_version: str = API_VERSION
    kind: str = "Gate"

    @property
    def phase(self) -> GatePhase | None:
        """What spec and status say together: an override counts at once, and no longer than it is there."""
        match self.spec.override:
            case GateOverride.OPEN:
                return GatePhase.OPEN
            case GateOverride.CLOSED:
                return GatePhase.WAITING
            case _:
                return self.status.phase if self.status.override is None else GatePhase.WAITING

    @property
    def missing(self) -> str:
        """What it still waits for, in words, as its status has it."""
        if self.spec.override is GateOverride.CLOSED:
            return "it was closed by hand"
        unmet = (one for one in self.status.condition_statuses if not one.met)
        return "; ".join(one.problem for one in unmet)


def parse_condition(text: str) -> GateCondition:
    """Return the condition that ``TYPE/[NAMESPACE/]NAME=STATE[:VALUE]`` names, as ``Job/migrate=Complete``.

    Raises:
        ValueError: it names none; the message says what is wrong.
    """
    subject, _, wanted = text.partition("=")
    type_, _, place = subject.partition("/")
    namespace, has_namespace, name = place.rpartition("/")
    state, has_value, value = wanted.partition(":")
    target = _among(GateTarget, type_, text)
    if not name or "/" in namespace:
        raise ValueError(f"{text!r} names no object: expected {_FORM}")
    # A variable that was not set: the default is another namespace, or another number, than was meant.
    for part, is_there, given in (("NAMESPACE", has_namespace, namespace), ("VALUE", has_value, value)):
        if is_there and not given:
            raise ValueError(f"{text!r}: its {part} is empty: expected {_FORM}")
    if value and not value.isdecimal():
        raise ValueError(f"{value!r} is not a number of permits, in {text!r}")
    condition = GateCondition(
        type=target,
        name=name,
        state=_among(STATES[target], state, text),
        namespace=namespace,
        value=int(value) if value else None,
    )
    if condition.value is not None and target is not GateTarget.SEMAPHORE:
        raise ValueError(f"only a Semaphore has permits to be counted, in {text!r}")
    return condition


def _among(choices: Iterable[_E], word: str, text: str) -> _E:
    """Return the one that a word names, whatever its case."""
    found = {one.value.lower(): one for one in choices}
    if word.lower() not in found:
        expected = ", ".join(one.value for one in found.values())
        raise ValueError(f"{word!r} is none of {expected}, in {text!r}")
    return found[word.lower()]
