"""Every parser of what clients send: over its seeds, and over thousands of inputs made from them.

The same seeds make the same inputs; ``KONTINUE_FUZZ_EXAMPLES`` says how many (times twenty). ``tools/fuzz.py`` searches
for longer, guided by coverage; what it finds becomes a test beside the module that was wrong.
"""

from __future__ import annotations

import os
import random

import pytest

from fuzzing import TARGETS, Target
from fuzzing.mutation import mutated
from kontinue_engine.apiserver.statuses import StatusError

INPUTS = int(os.environ.get("KONTINUE_FUZZ_EXAMPLES", "100")) * 20


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_a_parser_takes_or_refuses_any_bytes(target: Target) -> None:
    """By a Status, whatever was sent; what it takes has the form that it promises."""
    rng = random.Random(20260101)
    for number in range(len(target.seeds) + INPUTS):
        data = target.seeds[number] if number < len(target.seeds) else mutated(rng, target.seeds)
        try:
            target.run(data)
        except (StatusError, RecursionError):  # of which the router makes one
            pass
        except Exception as error:
            error.add_note(f"input: {data!r}")
            raise
