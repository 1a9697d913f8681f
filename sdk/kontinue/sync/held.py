"""``Held``: what a call raises that was to try once, when somebody else has what it wanted."""

from __future__ import annotations

from kontinue import errors


class Held(errors.WaitTimeout):
    """Somebody else has it, and nobody wanted to wait."""
