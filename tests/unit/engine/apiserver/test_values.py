from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.values import json_equal, type_name, with_whole_numbers

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, False, False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": 1}, {"b": 1}, False),
        ([1], [1, 2], False),
        ([], {}, False),
        ("1", 1, False),
    ],
)
def test_equality_is_that_of_json(left: Any, right: Any, *, expected: bool):
    """Python's own would take True for 1."""
    assert json_equal(left, right) is expected


@given(documents, documents)
def test_json_equality_is_symmetric_and_implies_python_equality(left: Any, right: Any):
    """It only ever tells more values apart."""
    assert json_equal(left, right) is json_equal(right, left)
    assert not json_equal(left, right) or left == right


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "integer"),
        (1.5, "number"),
        ("", "string"),
        ([], "array"),
        ({}, "object"),
    ],
)
def test_type_names_are_those_of_schemas(value: Any, name: str):
    """Messages name types as the schema does."""
    assert type_name(value) == name


def test_floats_that_are_whole_become_integers_however_deep():
    """Not what no integer of 64 bits is, and not True."""
    given = {"a": [1.0, -0.0, 1.5, {"b": 2e3}], "c": 1e20, "d": True, "e": "1.0", "f": float(2**63)}
    wanted = "{'a': [1, 0, 1.5, {'b': 2000}], 'c': 1e+20, 'd': True, 'e': '1.0', 'f': 9.223372036854776e+18}"
    assert repr(with_whole_numbers(given)) == wanted
