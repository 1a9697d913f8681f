"""Counts calls: what something costs, on any machine."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls_in(function: Callable[..., Any], *args: Any) -> int:
    """Return how many calls of functions, in Python or in C, one call makes.

    Without those of the garbage collector, which may begin at any allocation and calls whoever asked it to.
    """
    count = 0

    def note(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        del frame, arg
        count += event in {"call", "c_call"}

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return count
