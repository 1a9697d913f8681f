"""YAML is read by way of JSON; what would take the server down is refused before it is built."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.apiserver.http import yaml_bodies
from kontinue_engine.apiserver.statuses import StatusError
from kontinue_engine.apiserver.values import MAX_NESTING


def laughs(levels: int, width: int) -> bytes:
    """Return aliases of aliases: ``width ** levels`` elements."""
    lines = [f"a0: &a0 [{','.join('x' * width)}]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def test_keys_become_text_and_dates_stay_text() -> None:
    """As kube-apiserver reads them."""
    assert yaml_bodies.parse(b"{2: 2026-01-01, true: x}") == {"2": "2026-01-01", "true": "x"}


def test_plain_scalars_are_those_of_yaml_1_1_as_kubernetes_reads_it() -> None:
    """A y is true, which surprises; no time of day is a number."""
    text = b"{a: y, b: N, c: off, d: 010, e: 0x10, f: 1_000, g: 1e3, h: .5, i: 12:30:45, j: ~, k: -5, l: 1.2.3, m: y1}"
    assert list(yaml_bodies.parse(text).values()) == [
        *(True, False, False, 8, 16, 1000, 1000.0, 0.5, "12:30:45", None, -5, "1.2.3", "y1")
    ]


@pytest.mark.parametrize("number", [b".inf", b"-.INF", b".nan"])
def test_numbers_that_json_cannot_say_are_refused(number: bytes) -> None:
    """Rather than stored as null."""
    with pytest.raises(StatusError):
        yaml_bodies.parse(b"a: " + number)


def test_aliases_and_merge_keys_stand_for_what_they_name() -> None:
    """Within reason they are part of YAML."""
    text = b"a: &a {x: 1}\nb: *a\nc: {<<: *a, z: 2}"
    assert yaml_bodies.parse(text) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "z": 2}}
    assert len(yaml_bodies.parse(laughs(4, 10))["a3"]) == 10


@pytest.mark.parametrize(
    "body",
    [
        laughs(10, 10),
        laughs(30, 2),
        laughs(8, 10).replace(b": &", b": !!seq &"),
        b"a: &a {x: " + b"y" * 10_000 + b"}\nb: [" + b",".join([b"*a"] * 10_000) + b"]",
        b"a: &a {b0: 0}\n" + b"\n".join(b"b%d: &b%d {<<: [*a, *a]}" % (n, n) for n in range(9)) + b"\nc: *nothing",
    ],
)
def test_aliases_that_stand_for_too_much_are_refused(body: bytes) -> None:
    """Ten lines must not become gigabytes."""
    with pytest.raises(StatusError) as caught:
        yaml_bodies.parse(body)
    assert caught.value.code == 400


@pytest.mark.parametrize("body", [b"&a [*a]", b"a: &a {b: {c: *a}}", b"[*nobody]", b"a: &a\n  <<: *a"])
def test_what_contains_itself_is_refused(body: bytes) -> None:
    """There is no JSON for it."""
    with pytest.raises(StatusError, match="alias"):
        yaml_bodies.parse(body)


@pytest.mark.parametrize("bracket", [b"[", b"{a: ", b"- "])
def test_what_is_nested_too_deeply_is_refused(bracket: bytes) -> None:
    """The C parser recurses."""
    with pytest.raises(StatusError, match="deeply"):
        yaml_bodies.parse(bracket * (MAX_NESTING + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"!!int x",
        b"!!int ''",
        b"!!float x",
        b"!!bool x",
        b"!!timestamp x",
        b"!!binary \xc3\xa4",
        b"!!set {a}",
        b"!!omap [a]",
        b"!!pairs [a: b]",
        b"!!python/object:os.system x",
        b"!x y",
        b"%YAML 9.9\n---\na",
        b"--- a\n--- b",
        b"? [a]\n: b",
        b"a: " + b"9" * 5000,
        b"99999999999999999999999",
        b"\xff\xfe",
        b"\x00",
        b"=",
    ],
)
def test_what_is_no_yaml_or_no_json_is_refused_or_read(body: bytes) -> None:
    """Whatever PyYAML raises is the client's fault."""
    with contextlib.suppress(StatusError):
        yaml_bodies.parse(body)


@given(st.text(alphabet="{}[]:-&*!%\"'|>#\n \tab0.~<,?int", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """With nothing but a StatusError."""
    with contextlib.suppress(StatusError):
        yaml_bodies.parse(text.encode())


def test_a_number_beyond_all_floats_is_refused() -> None:
    """Written in the base of sixty, it overflows before anybody could look at it."""
    with pytest.raises(StatusError, match="not valid YAML"):
        yaml_bodies.parse(b"!!float " + b"1:" * 200 + b"1")
