"""Steps: what ``step`` says about a function, and what it leaves alone."""

from __future__ import annotations

import functools
import inspect
import json
import sqlite3
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from kontinue.definition import define
from kontinue.errors import ContextError, DefinitionError, InvalidResult, ResultDecodeError
from kontinue.options import RetryPolicy, StepOptions
from kontinue.steps import StepInfo, current_step, enter_step, leave_step, step, step_codec, step_options

POLICY = RetryPolicy(retries=3)


@dataclass(frozen=True)
class Receipt:
    number: int


@step(retry=POLICY, timeout=timedelta(seconds=30))
async def announce(text: str) -> str:
    return text


@step
def bare(text: str) -> Receipt:
    return Receipt(len(text))


def charge(amount: int) -> Receipt:
    return Receipt(amount)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine that never waits returns."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def test_decorated_function_is_the_function_itself() -> None:
    """It stays an ordinary function: called directly, it just runs."""
    assert inspect.iscoroutinefunction(announce)
    assert run(announce("hi")) == "hi"
    assert bare("abc") == Receipt(3)
    assert not hasattr(bare, "__wrapped__")
    assert step_options(announce) == StepOptions(name="announce", retry=POLICY, timeout=timedelta(seconds=30))
    assert step_options(bare) == StepOptions(name="bare")


def test_function_defined_inside_another_is_itself_too() -> None:
    """Decorators work at any depth."""

    @step(name="inner")
    def local() -> None: ...

    assert not hasattr(local, "__wrapped__")
    assert step_options(local).name == "inner"


def test_undecorated_function_is_a_step_by_its_name() -> None:
    """ctx.step takes any function."""
    assert step_options(charge) == StepOptions(name="charge")
    assert step_options(json.dumps) == StepOptions(name="dumps")
    assert step_options("text".upper) == StepOptions(name="upper")


def test_inline_step_leaves_the_function_as_it_is() -> None:
    """Options given at one call must not rename other steps of the same function."""
    inline = step(name="charge-card", retry=POLICY)(charge)
    assert step_options(inline) == StepOptions(name="charge-card", retry=POLICY)
    assert step_options(charge) == StepOptions(name="charge")
    assert inline(3) == Receipt(3)


def test_inline_step_around_an_async_function_is_async() -> None:
    """Contexts choose thread or event loop by asking the function."""
    inline = step(name="tell")(announce)
    assert inspect.iscoroutinefunction(inline)
    assert run(inline("x")) == "x"
    assert step_options(announce).name == "announce"


def test_inline_step_gives_foreign_callables_options() -> None:
    """Builtins, bound methods and partial objects take no attributes; a wrapper carries the options."""
    assert step_options(step(name="dump")(len)).name == "dump"
    assert step_options(step(name="up")("text".upper)).name == "up"
    assert step_options(step(name="three")(functools.partial(charge, 3))).name == "three"


def test_lambda_needs_a_name() -> None:
    """Records name their step; two lambdas could not be told apart."""
    with pytest.raises(DefinitionError, match=r"a lambda has no name to record: use step\(name=...\)\(fn\)"):
        step_options(lambda: 1)
    with pytest.raises(DefinitionError, match="a lambda has no name"):
        step()(lambda: 1)
    assert step_options(step(name="one")(lambda: 1)).name == "one"


def test_partial_needs_a_name() -> None:
    """An object without a name is refused like a lambda."""
    with pytest.raises(DefinitionError, match=r"a functools\.partial has no name"):
        step_options(functools.partial(charge, 3))


def test_kontinue_function_is_no_step() -> None:
    """The error says which verb is meant."""
    definition = define(charge)
    with pytest.raises(DefinitionError, match=r"'charge' is a kontinue function: call it with ctx\.execute"):
        step_options(definition)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"step: expected a function, got <kontinue function 'charge'"):
        step()(definition)  # type: ignore[type-var]


def test_what_is_no_function_is_no_step() -> None:
    """Calling instead of passing is the usual mistake."""
    with pytest.raises(DefinitionError, match=r"ctx\.step: expected a function, got .*Receipt"):
        step_options(charge(1))  # type: ignore[arg-type]


def test_options_out_of_range_are_definition_errors() -> None:
    """The error names the step, and where it is."""
    with pytest.raises(DefinitionError, match=r"test_steps\.py:\d+: step 'charge': timeout=-5s"):
        step(timeout=timedelta(seconds=-5))(charge)


def test_options_of_another_type_are_definition_errors() -> None:
    """The usual mistakes: a number of seconds, a number of tries."""
    with pytest.raises(DefinitionError, match=r"test_steps\.py:\d+: step 'charge': timeout=3: expected timedelta"):
        step(timeout=3)(charge)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="step 'charge': retry=3: expected RetryPolicy"):
        step(retry=3)(charge)  # type: ignore[call-overload]


def test_step_codec_is_typed_by_the_return_annotation() -> None:
    """A step's value is an object of its annotated class, on the first run as on replay."""
    codec = step_codec(bare)
    assert codec.decode_result(codec.encode_result(Receipt(3))) == Receipt(3)
    with pytest.raises(InvalidResult, match=r"declared .*Receipt: Expected object, got str"):
        codec.encode_result("no receipt")
    with pytest.raises(ResultDecodeError, match=r"\$\.number"):
        codec.decode_result(b'{"number":"x"}')


def test_step_codec_of_an_inline_step_is_that_of_its_function() -> None:
    """The wrapper shows through."""
    assert step_codec(step(name="c")(bare)) is step_codec(bare)


def test_step_codec_of_untyped_functions_takes_any_json() -> None:
    """Lambdas and builtins need no annotation."""
    codec = step_codec(lambda: 1)
    assert codec is step_codec(len)
    assert codec.decode_result(codec.encode_result({"a": [1, None]})) == {"a": [1, None]}


def test_step_result_that_json_cannot_carry_is_refused() -> None:
    """At the first use of the step, whatever it would return."""

    def connect() -> sqlite3.Connection: ...

    with pytest.raises(
        DefinitionError,
        match=r"test_steps\.py:\d+: step 'connect': its result is a sqlite3\.Connection, which JSON cannot",
    ):
        step_codec(connect)


def test_argument_digest_tells_calls_apart() -> None:
    """Equal calls have equal digests; objects that JSON cannot carry count by class."""
    codec = step_codec(charge)
    assert codec.digest_arguments((1,), {}) == codec.digest_arguments((1,), {})
    assert codec.digest_arguments((1,), {}) != codec.digest_arguments((2,), {})
    assert codec.digest_arguments((), {"a": 1, "b": 2}) == codec.digest_arguments((), {"b": 2, "a": 1})
    assert codec.digest_arguments((object(), float("nan")), {}) == codec.digest_arguments((object(), float("nan")), {})


def test_current_step_is_known_inside_a_step_only() -> None:
    """Elsewhere there is no key that would be stable."""
    info = StepInfo(idempotency_key="k", attempt=1, execution="e", step="0", fencing_token=7)
    token = enter_step(info)
    assert current_step() is info
    leave_step(token)
    with pytest.raises(ContextError, match=r"current_step\(\) works inside a step only"):
        current_step()
