"""What a client's process is told to do, and what it answers: lines of JSON through its pipes."""

from __future__ import annotations

import msgspec


class Episode(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One turn at every primitive; the same again after a death, under the same names and ids of operations.

    Attributes:
        suffix: of the names of all objects.
        seed: of pauses.
        pod: name of the Pod that the process stands for.
        pod_uid: its uid.
    """

    suffix: str
    seed: int
    pod: str
    pod_uid: str


class Dones(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So many are done at the same moment, each once.

    Attributes:
        name: of the WaitGroup.
        clients: how many.
        are_strangers: they share nothing but their connections; else the process's one ``WaitGroup``.
    """

    name: str
    clients: int
    are_strangers: bool = False


class Turns(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """So many clients hold something once each.

    Attributes:
        kind: ``semaphore``, ``mutex`` or ``rwmutex``; of the latter every third one writes.
        name: of the object.
        clients: how many.
        hold_s: how long each holds it.
    """

    kind: str
    name: str
    clients: int
    hold_s: float


Order = Episode | Dones | Turns


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order.

    Attributes:
        problems: what must not be; empty if all went well.
        calls_s: how long each call took.
    """

    problems: list[str] = []
    calls_s: list[float] = []
