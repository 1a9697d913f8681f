"""Gates as ``kontinue gate status`` and ``list`` show them."""

from __future__ import annotations

from datetime import UTC, datetime

from kontinue.api.konductor.gates import Gate, GateSpec, parse_condition
from kontinue.api.meta import ObjectMeta
from kontinue_engine.cli.primitives.gate_text import describe, gate_rows

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_condition_on_no_permits_says_what_it_asks_for():
    """That there is such a Semaphore; others stand as they were written."""
    conditions = [parse_condition(f"Semaphore/db=Available{value}") for value in (":0", ":2", "")]
    gate = Gate(
        metadata=ObjectMeta(name="go", namespace="shop", creation_timestamp=NOW), spec=GateSpec(conditions=conditions)
    )
    shown = ["Semaphore/db=Available:0 (it exists)", "Semaphore/db=Available:2", "Semaphore/db=Available"]
    assert [row[5] for row in gate_rows(gate, NOW)] == shown
    assert [line.strip() for line in describe(gate, NOW).splitlines()[-3:]] == shown
