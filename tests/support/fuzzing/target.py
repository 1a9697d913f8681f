"""One thing to be fuzzed, and what its inputs are made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Target:
    """A parser as a function of bytes.

    Attributes:
        run: raises what is a bug.
        seeds: inputs that get far; what is sent is made from them.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def target(*seeds: bytes) -> Callable[[Callable[[bytes], None]], Target]:
    """Make a function a target."""
    return lambda run: Target(run.__name__, run, seeds)
