"""What a client gives an Execution as its result is what the function returns, or refused before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from kontinue import App
from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import MAX_RESULT_BYTES, Function, FunctionSpec
from kontinue.client.ending import encode_result
from kontinue.errors import InvalidResult

app = App(group="g")


@dataclass(frozen=True)
class Artifact:
    target: str
    sizes: list[int]


@app.function
def build() -> Artifact:
    return Artifact("", [])


@app.function
def clean() -> None: ...


def registered(definition: Any) -> Function:
    schema = msgspec.Raw(msgspec.json.encode(definition.codec.result_schema()))
    spec = FunctionSpec(name=definition.name, worker_group="g", result=schema)
    return Function(metadata=ObjectMeta(name=definition.name), spec=spec)


def test_a_result_may_be_an_object_of_its_type_or_plain_json() -> None:
    """Whatever encodes as what the function returns."""
    expected = {"target": "amd64", "sizes": [1]}
    for result in (Artifact("amd64", [1]), expected):
        assert msgspec.json.decode(encode_result("build", registered(build), result)) == expected


def test_no_result_is_null_where_the_function_may_return_that() -> None:
    """And an error that says what to do where it may not."""
    assert encode_result("clean", registered(clean), None) == b"null"
    with pytest.raises(InvalidResult, match=r"build does not return null.*give a result of its type"):
        encode_result("build", registered(build), None)


def test_what_does_not_fit_is_refused_with_its_path() -> None:
    """As a worker would refuse a result."""
    with pytest.raises(InvalidResult, match=r"result for build: \$\.sizes\[1\]") as wrong:
        encode_result("build", registered(build), {"target": "x", "sizes": [1, "y"]})
    assert wrong.value.path == "$.sizes[1]"
    with pytest.raises(InvalidResult, match="result for build"):
        encode_result("build", registered(build), object())
    with pytest.raises(InvalidResult, match="the limit is"):
        encode_result("build", None, "x" * MAX_RESULT_BYTES)


def test_nothing_is_known_of_a_function_that_nobody_has() -> None:
    """Nor of one that says nothing about its results."""
    silent = Function(metadata=ObjectMeta(name="f"), spec=FunctionSpec(name="f", worker_group="g"))
    for function in (None, silent):
        assert encode_result("f", function, [1, "x"]) == b'[1,"x"]'


def test_a_schema_that_nobody_can_use_checks_nothing() -> None:
    """The worker decides then."""
    broken = msgspec.Raw(b'{"$ref": "#/nowhere"}')
    function = Function(metadata=ObjectMeta(name="f"), spec=FunctionSpec(name="f", worker_group="g", result=broken))
    assert encode_result("f", function, 5) == b"5"
