"""``konductor.io/v1``: the API group, and what its kinds share. All but this folder's pure rules import it."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Annotated, Final

from msgspec import Meta

from kontinue.api import durations
from kontinue.api.meta import ApiStruct, ObjectMeta

GROUP: Final = "konductor.io"
VERSION: Final = "v1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
ORIGINAL_GROUP: Final = f"sync.{GROUP}"
"""Where the original really serves them, whose documents name the other one."""
GROUPS: Final = (GROUP, ORIGINAL_GROUP)
"""In which a cluster may serve the kinds."""
LONGEST: Final = timedelta(days=36_500)
"""What is longer is cut: no date of anybody's life is too late for it."""


MAX_NAME: Final = 253
MAX_UID: Final = 64
"""Characters of a holder's name and uid."""


class HolderKind(enum.StrEnum):
    """What counts can be bound to."""

    POD = "Pod"
    EXECUTION = "Execution"


class Holder(ApiStruct, frozen=True):
    """Somebody whose end releases what it holds; uid tells it from a later one of the same name."""

    kind: Annotated[HolderKind, Meta(description="Pod or Execution, in the same namespace.")]
    name: Annotated[str, Meta(max_length=MAX_NAME, description="Its name.")]
    uid: Annotated[str, Meta(max_length=MAX_UID, description="Its uid.")] = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


def identity_of(holder: Holder) -> str:
    """Return what tells a holder from others: its uid; without one its kind and name, whoever has them now."""
    return holder.uid or f"{holder.kind.value}/{holder.name}"


def owner_uid(meta: ObjectMeta, kind: str, *, noted: str) -> str:
    """Return the uid of the object that another one, which names it, belongs to; empty: whichever has the name.

    Args:
        meta: of the other one.
        kind: of its owner.
        noted: of which the coordinator has decided. Any tool may create one that no object owns.
    """
    return next((one.uid for one in meta.owner_references if one.kind == kind), noted)


def lasting(text: str) -> tuple[timedelta | None, str]:
    """Return how long a ttl or a timeout is, None without one, and what is wrong with it; empty if nothing is.

    Zero is none, in all kinds alike: Go clients write ``0s`` for what nobody has set.
    """
    try:
        return min(durations.parse(text or "0"), LONGEST) or None, ""
    except ValueError as error:  # the server has let it pass: its schema judges the form alone
        return None, str(error)
