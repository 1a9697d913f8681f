"""What the paths of printer columns find."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.reads import json_path

OBJECT: dict[str, Any] = {
    "a": {"b": 1},
    "list": [{"n": "p", "v": 1}, {"n": "q", "v": 2, "deep": {"x": True}}],
    "numbers": [5, 6, 7],
    "labels": {"example.com/x": "y"},
    "nothing": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".a.b", 1),
        ("a.b", 1),
        (".list[1].n", "q"),
        (".list[-1].n", "q"),
        (".list[7].n", None),
        (".list[-7].n", None),
        (".list[*].n", "p"),
        (".list[*].deep.x", True),
        (".numbers[1:3]", 6),
        (".numbers[:]", 5),
        (".a.*", 1),
        (".a[0]", None),
        (".a.b.c", None),
        (".labels['example.com/x']", "y"),
        ('.labels["example.com/x"]', "y"),
        (r".labels.example\.com/x", "y"),
        (r".labels['example\.com/x']", "y"),
        ("['a'].b", 1),
        ('.list[?(@.n=="q")].v', 2),
        (".list[?(@.n=='q')].v", 2),
        ('.list[?(@.n!="p")].v', 2),
        (".list[?(@.v>1)].n", "q"),
        (".list[?( @.v >= 3 )].n", None),
        (".list[?(@.deep.x==true)].n", "q"),
        (".list[?(@.v<'x')].n", None),
        (".numbers[?(@>5)]", 6),
        ('.a[?(@.b=="1")]', None),
        (".missing", None),
        (".nothing", None),
        (".list[", None),
        ("..n", None),
        ("", None),
    ],
)
def test_a_path_finds_the_first_value(path: str, value: Any) -> None:
    """All that a CRD's columns may use, and nothing where a path says something else."""
    assert json_path.find(OBJECT, path) == value


@given(st.text(".[]*?()@=<>!'\"ab0-:\\\\ ", max_size=30))
def test_any_path_finds_something_or_nothing(path: str) -> None:
    """A definition that can be stored can be printed."""
    json_path.find(OBJECT, path)


@pytest.mark.parametrize("path", [".numbers[-:1]", ".numbers[:-]", ".a" * 1000])
def test_what_cannot_be_followed_finds_nothing(path: str) -> None:
    """No error: a column of a definition must not spoil every list of its kind."""
    assert json_path.find(OBJECT, path) is None


@pytest.mark.timeout(20)  # once hours
@pytest.mark.parametrize(
    "path", [".list[?(@==" + " " * 1_000_000 + "(", ".list[?(@.n==" + "q" * 1_000_000, ".a" * 1_000_000]
)
def test_a_long_path_costs_its_length(path: str) -> None:
    """Not its length squared or worse: it is read while everybody waits."""
    assert json_path.find(OBJECT, path) is None
