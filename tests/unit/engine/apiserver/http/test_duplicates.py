"""Members that stand twice in a body."""

from __future__ import annotations

import pytest

from kontinue_engine.apiserver.http import duplicates


@pytest.mark.parametrize(
    ("body", "complaints"),
    [
        (b'{"a":1}', []),
        (
            b'{"a":{"b":1,"b":2},"c":[0,{"d":1,"d":2}],"a":3}',
            ['duplicate field "a.b"', 'duplicate field "c[1].d"', 'duplicate field "a"'],
        ),
        (b"a: 1\n", []),
        (
            b"a: 1\nb: [{c: 1,\n c: 2}]\na: 2\n",
            ['line 3: key "c" already set in map', 'line 4: key "a" already set in map'],
        ),
        (b"a: &x {b: 1, b: 2}\nc: *x\n", ['line 1: key "b" already set in map']),
        (b"k8s\0\xff", []),
    ],
)
def test_members_that_stand_twice_are_found_at_any_depth(body: bytes, complaints: list[str]) -> None:
    """JSON's are told by their path, YAML's by their line; what is neither has none."""
    assert duplicates.complaints(body) == complaints
