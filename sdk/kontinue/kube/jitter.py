"""The random numbers that spread load in time, so that many processes do not ask one server in step.

Our own: those of the module ``random`` are the program's, which may seed them, so that a crowd of equal programs would
draw alike, and which wants the sequence that it has seeded. Used by ``backoff``, ``reflector`` and ``kontinue.sync``.
"""

from __future__ import annotations

import os
from random import Random
from typing import Final

rng: Final = Random()  # noqa: S311 - jitter is no secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=rng.seed)  # forks would go on in step
