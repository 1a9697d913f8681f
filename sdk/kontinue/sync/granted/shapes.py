"""What objects that ask, and those that are asked of, have in common, of whatever kind. Types alone, for ``asking``."""

from __future__ import annotations

from typing import Protocol

from kontinue.kube.reflector import HasMetadata


class Spec(Protocol):
    """What is asked for, as far as it is the same for all kinds."""

    @property
    def no_wait(self) -> bool:
        """Whether it is denied at once if nothing is free."""
        ...


class Status(Protocol):
    """What was decided."""

    @property
    def message(self) -> str:
        """Why it was denied."""
        ...


class Asking(HasMetadata, Protocol):
    """An object that asks."""

    @property
    def spec(self) -> Spec:
        """What for."""
        ...

    @property
    def status(self) -> Status:
        """What was decided."""
        ...

    @property
    def is_decided(self) -> bool:
        """Whether it waits no longer."""
        ...

    @property
    def is_granted(self) -> bool:
        """Whether it has what it asks for."""
        ...


class Decided(Protocol):
    """A status that a coordinator writes."""

    @property
    def phase(self) -> object:
        """None while no coordinator has looked after the object."""
        ...


class LookedAfter(Protocol):
    """What is asked of, as far as it says whether a coordinator has seen it."""

    @property
    def status(self) -> Decided:
        """What the coordinator has written."""
        ...
