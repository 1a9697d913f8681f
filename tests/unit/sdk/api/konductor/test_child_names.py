"""Names of objects that belong to a parent and a holder."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.konductor.child_names import MAX_LABEL, MAX_NAME, child_name, label_value

NAMES = st.lists(st.text("ab0", min_size=1, max_size=30), min_size=1, max_size=8).map("-".join)
PARENTS = st.tuples(NAMES, st.sampled_from("-.")).map(lambda parts: parts[0].replace("-", parts[1]))
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def test_two_words_are_joined():
    """As documented, where nothing else could be meant."""
    assert child_name("barrier", "worker") == "barrier-worker"
    assert child_name("db", "worker", suffix="1f") == "db-worker-1f"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b-c"), ("a-b", "c")),
        (("a", "b_c"), ("a", "b-c")),
        (("a", "B"), ("a", "b")),
        (("a", "x" * 300), ("a", "x" * 301)),
        (("a", "?"), ("a", "!")),
    ],
)
def test_what_would_look_the_same_has_a_hash(one: tuple[str, str], other: tuple[str, str]):
    """And the same two have the same name, always."""
    assert child_name(*one) != child_name(*other)
    assert child_name(*one) == child_name(*one)


@given(parent=PARENTS, holder=st.text(min_size=1, max_size=300), suffix=st.sampled_from(["", "0a1b"]))
def test_each_name_can_be_one(parent: str, holder: str, suffix: str):
    """Whatever the holder is called, and however long the parent's name is."""
    name = child_name(parent, holder, suffix=suffix)
    assert SUBDOMAIN.fullmatch(name)
    assert len(name) <= MAX_NAME


@given(
    pairs=st.lists(
        st.tuples(st.text("ab-", min_size=1), st.text("ab-_", min_size=1)), min_size=2, max_size=2, unique=True
    )
)
def test_different_pairs_have_different_names(pairs: list[tuple[str, str]]):
    """Of few letters, so that many of them would be joined to the same."""
    assert child_name(*pairs[0]) != child_name(*pairs[1])


@given(name=PARENTS)
def test_each_name_has_a_label(name: str):
    """Itself, as far as it fits."""
    value = label_value(name)
    assert LABEL.fullmatch(value)
    assert len(value) <= MAX_LABEL
    assert value == name or len(name) > MAX_LABEL
