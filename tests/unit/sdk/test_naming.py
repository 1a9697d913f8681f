"""Names of objects."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue import naming

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
names = st.from_regex(DNS_LABEL, fullmatch=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("deploy_service", "deploy-service"),
        ("build", "build"),
        ("Deploy.Service", "deploy-service"),
        ("__private__", "private"),
        ("a--b", "a-b"),
    ],
)
def test_dns_name_is_readable(text: str, name: str) -> None:
    """What DNS-1123 does not carry becomes one dash."""
    assert naming.dns_name(text) == name


@given(st.text())
def test_dns_name_is_a_dns_label_or_an_error(text: str) -> None:
    """Whatever the text, an invalid object name never comes out."""
    if re.search(r"[a-z0-9]", text.lower()):
        assert DNS_LABEL.fullmatch(naming.dns_name(text))
    else:
        with pytest.raises(ValueError, match="holds no letter or digit"):
            naming.dns_name(text)


def test_dns_name_keeps_long_names_apart() -> None:
    """Two texts that differ past the limit have two names."""
    assert naming.dns_name("x" * 70 + "a") != naming.dns_name("x" * 70 + "b")


@pytest.mark.parametrize("text", ["releases", "a", "team-1", "x" * 63])
def test_group_name_is_a_dns_label(text: str) -> None:
    """Lower-case letters, digits and inner dashes make a group name."""
    assert naming.is_group_name(text)


@pytest.mark.parametrize("text", ["", "a.b", "-a", "a-", "Team", "a_b", "x" * 64, "a\n"])
def test_group_name_holds_no_dot_and_fits_a_label(text: str) -> None:
    """Lease names put dots around the group, and labels carry it."""
    assert not naming.is_group_name(text)


def test_child_name_is_stable() -> None:
    """The name is part of the format: another one would create running children anew after an upgrade."""
    assert naming.child_name("nightly-x7", "0.3/build#1", "uid-1", 0, 0) == "nightly-x7-0-3-build-1-unlipuv5r0"


@given(names, st.text(), st.text(), st.integers(0, 9), st.integers(0, 9))
def test_child_name_is_a_dns_label_of_bounded_length(parent: str, step: str, uid: str, epoch: int, gen: int) -> None:
    """However deep the tree, a child's name is valid as name and as label value."""
    name = parent
    for _ in range(3):
        name = naming.child_name(name, step, uid, epoch, gen)
        assert DNS_LABEL.fullmatch(name)


def test_child_name_differs_by_each_of_its_inputs() -> None:
    """Another step, parent, run or generation is another child."""
    calls = [
        ("0", "u", 0, 0),
        ("1", "u", 0, 0),
        ("0", "v", 0, 0),
        ("0", "u", 1, 0),
        ("0", "u", 0, 1),
        ("0", "u0", 0, 0),
    ]
    assert len({naming.child_name("parent", *call) for call in calls}) == len(calls)


def test_root_name_shows_its_function() -> None:
    """Somebody who lists Executions sees what they run."""
    assert naming.root_name("deploy_service", "k3j9x") == "deploy-service-k3j9x"


@given(names, names)
def test_root_name_is_a_dns_label(function: str, nonce: str) -> None:
    """Long function names are cut, the nonce stays."""
    assert DNS_LABEL.fullmatch(naming.root_name(function, nonce))
