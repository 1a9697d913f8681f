"""Definitions: what a signature becomes, and what is refused when a module is imported."""

from __future__ import annotations

import functools
import re
import sqlite3
import textwrap
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType
from typing import Any, Never, TypedDict

import msgspec
import pydantic
import pytest

from kontinue.api.v1alpha1 import MAX_ARGUMENTS_BYTES
from kontinue.definition import AsyncContextMarker, SyncContextMarker, define
from kontinue.errors import DefinitionError, InvalidArguments
from kontinue.options import RetryPolicy, TimeoutPolicy


class AsyncContext(AsyncContextMarker):
    """Stands for ExecutionContext."""


class SyncContext(SyncContextMarker):
    """Stands for SyncExecutionContext."""


@dataclass(frozen=True)
class Artifact:
    target: str
    size: int = 0


@dataclass
class Deploy:
    service: str
    replicas: int = 1


class NestedPart(msgspec.Struct):
    name: str = ""


@dataclass
class Nested:
    name: str
    size: int = 0
    part: NestedPart | None = None


def nested(
    one: Nested,
    many: Sequence[Nested] = (),
    by_name: dict[str, Nested] | None = None,
    maybe: Nested | None = None,
    loose: dict[str, object] | None = None,
) -> None: ...


class DeployStruct(msgspec.Struct):
    service: str


class DeployDict(TypedDict):
    service: str


class DeployModel(pydantic.BaseModel):
    service: str
    labels: dict[str, str] = {}


class OtherModel(pydantic.BaseModel):
    other: int


def build(target: str, version: str, *, opt: int = 2, extra: list[Artifact] | None = None) -> Artifact:
    """Build one target.

    The rest is not its description.

    Args:
        target: architecture,
            as Go names it.
        version: what to build.
        opt (int): level of optimisation.
        extra: more artifacts.

    Returns:
        opt: this is no parameter.
    """
    return Artifact(target)


def test_definition_describes_its_function() -> None:
    """Name, colour and place come from the function itself."""
    definition = define(build)
    assert definition.name == "build"
    assert definition.fn is build
    assert (definition.is_async, definition.takes_context, definition.is_remote) == (False, False, False)
    assert definition.description == "Build one target."
    assert definition.location == f"{__file__}:{build.__code__.co_firstlineno}"
    assert repr(definition) == f"<kontinue function 'build' at {definition.location}>"


def test_context_is_recognised_and_is_no_argument() -> None:
    """The first parameter may be a context, by its annotation, whatever its name."""

    async def deploy(c: AsyncContext, version: str) -> None: ...

    def nightly(ctx: SyncContext, /, version: str) -> None: ...

    for function, is_async in ((deploy, True), (nightly, False)):
        definition = define(function)
        assert definition.takes_context
        assert definition.is_async is is_async
        assert definition.codec.encode_arguments(("1",), {}) == b'{"version":"1"}'


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"one":{"name":"a","sise":1}}', "$.one.sise"),
        (b'{"one":{"name":"a"},"many":[{"name":"a"},{"name":"b","x":1}]}', "$.many[1].x"),
        (b'{"one":{"name":"a"},"by_name":{"k":{"name":"a","part":{"nmae":"b"}}}}', "$.by_name.k.part.nmae"),
        (b'{"one":{"name":"a"},"maybe":{"name":"a","x":1}}', "$.maybe.x"),
    ],
)
def test_unknown_fields_inside_of_arguments_are_refused(data: bytes, path: str) -> None:
    """A misspelled optional field must not be dropped silently; what fits is left alone."""
    codec = define(nested).codec
    with pytest.raises(InvalidArguments, match=r"nested: .*unknown field.*the fields of") as caught:
        codec.decode_arguments(data)
    assert caught.value.path == path
    assert caught.value.__cause__ is None
    fits = b'{"one":{"name":"a","size":1},"many":[],"maybe":null,"loose":{"any":{"thing":1}}}'
    assert codec.decode_arguments(fits)[1]["one"] == Nested("a", 1)
    assert codec.arguments_schema()["$defs"]["Nested"]["additionalProperties"] is False  # for callers by name


def test_to_call_a_definition_is_an_error_that_names_the_remedies() -> None:
    """A forgotten ctx.execute is an error, statically (tests/typing) and at run time."""
    with pytest.raises(TypeError, match=r"ctx\.execute\(build, \.\.\.\).*build\.fn\(\.\.\.\) in tests"):
        define(build)("x")  # type: ignore[operator]


def test_options_return_a_copy() -> None:
    """A definition can be shared: options of one call do not show in another."""
    definition = define(build)
    changed = definition.options(mutex="prod").options(retry=RetryPolicy(retries=2), disable_shard_inheritance=True)
    assert definition.call_options.mutex is None
    assert changed.call_options.mutex == "prod"
    assert changed.call_options.retry == RetryPolicy(retries=2)
    assert changed.call_options.disable_shard_inheritance
    assert changed.options().call_options == changed.call_options
    assert (changed.name, changed.codec) == (definition.name, definition.codec)


def test_defaults_and_limit_are_kept() -> None:
    """What the decorator says is there for the Function object."""
    timeout = TimeoutPolicy(attempt=timedelta(minutes=1))
    definition = define(build, name="compile", timeout=timeout, limit=4, hidden=True, checkpoint="batched")
    assert definition.defaults.timeout == timeout
    assert (definition.name, definition.limit, definition.hidden, definition.checkpoint) == (
        "compile",
        4,
        True,
        "batched",
    )


# Arguments.


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("amd64", "1.0"), {}),
        (("amd64",), {"version": "1.0"}),
        ((), {"version": "1.0", "target": "amd64"}),
    ],
)
def test_arguments_are_stored_by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """However a call is spelled, it has the same object and the same digest."""
    assert define(build).codec.encode_arguments(args, kwargs) == b'{"target":"amd64","version":"1.0"}'


def test_decoded_arguments_are_typed_and_have_defaults() -> None:
    """What runs the function gets the classes of its signature, and every default."""
    codec = define(build).codec
    data = codec.encode_arguments(("amd64", "1.0"), {"extra": [Artifact("x", 3)]})
    assert codec.decode_arguments(data) == (
        (),
        {"target": "amd64", "version": "1.0", "opt": 2, "extra": [Artifact("x", 3)]},
    )


def test_function_without_parameters_takes_an_empty_object() -> None:
    """No parameters, no keys."""

    def ping() -> str: ...

    codec = define(ping).codec
    assert codec.encode_arguments((), {}) == b"{}"
    assert codec.decode_arguments(b"{}") == ((), {})


def test_unannotated_parameters_take_anything() -> None:
    """Annotations are not required."""

    def loose(a, b=1): ...  # type: ignore[no-untyped-def]

    codec = define(loose).codec
    assert codec.decode_arguments(codec.encode_arguments(([1, {"x": None}],), {})) == (
        (),
        {"a": [1, {"x": None}], "b": 1},
    )


@pytest.mark.parametrize("struct", [Deploy, DeployStruct, DeployDict, DeployModel])
def test_positional_only_struct_is_the_whole_object(struct: Any) -> None:
    """Its fields are the keys of spec.arguments."""

    def deploy(args, /): ...  # type: ignore[no-untyped-def]

    deploy.__annotations__["args"] = struct
    codec = define(deploy).codec
    given = struct(service="shop")
    data = codec.encode_arguments((given,), {})
    assert msgspec.json.decode(data)["service"] == "shop"
    assert codec.decode_arguments(data) == ((given,), {})
    assert codec.arguments_schema()["properties"]["service"]["type"] == "string"


@pytest.mark.parametrize(
    ("args", "kwargs", "path", "message"),
    [
        (("amd64",), {}, "$.version", "build: missing version; its parameters are target, version, opt, extra"),
        ((), {}, "$.target", "build: missing target, version;"),
        (("a", "b"), {"opts": 1}, "$.opts", "unknown opts (did you mean opt?)"),
        (("a",), {"versoin": "1"}, "$.version", "missing version, unknown versoin (did you mean version?)"),
        (("a", "b"), {"zzz": 1}, "$.zzz", "build: unknown zzz; its parameters are"),
        (("a", "b", 3), {}, "$", "build: takes 2 positional arguments, got 3"),
        (("a", "b"), {"target": "c"}, "$.target", "target is given by position and by name"),
        (("a", 3), {}, "$.version", "build: $.version: Expected str, got int"),
        (("a", "b"), {"extra": [{"target": 1}]}, "$.extra[0].target", "Expected str, got int"),
        (("a", "b"), {"extra": [object()]}, "$.extra[0]", "expected a value that JSON can carry, got object"),
        (("a", "b"), {"opt": float("nan")}, "$.opt", "expected a finite number"),
    ],
)
def test_wrong_call_is_refused_before_anything_is_created(
    args: tuple[Any, ...], kwargs: dict[str, Any], path: str, message: str
) -> None:
    """The error names the function, the path, what was expected and what was given."""
    with pytest.raises(InvalidArguments) as caught:
        define(build).codec.encode_arguments(args, kwargs)
    assert message in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        (b"{}", "$.target", "missing target, version"),
        (b'{"target":"a","version":"b","opts":1}', "$.opts", "unknown opts (did you mean opt?)"),
        (
            b'{"target":"a","version":"b","false":1}',
            "$.false",
            "unknown false (if it was n, no or off: quote it, YAML reads them as booleans)",
        ),
        (b'{"target":"a","version":3}', "$.version", "$.version: Expected str, got int"),
        (b"[]", "$", "Expected object, got array"),
        (b"{", "$", "build: Input data was truncated"),
    ],
)
def test_wrong_arguments_object_is_refused(data: bytes, path: str, message: str) -> None:
    """An Execution applied by hand gets the same care."""
    with pytest.raises(InvalidArguments) as caught:
        define(build).codec.decode_arguments(data)
    assert message in str(caught.value)
    assert caught.value.path == path


def test_whole_object_takes_exactly_one_argument() -> None:
    """The struct is given by position; its fields are not parameters."""

    def deploy(args: Deploy, /) -> None: ...

    codec = define(deploy).codec
    with pytest.raises(
        InvalidArguments, match=r"takes one positional argument, a .*Deploy; got 0 positional and 1 named"
    ):
        codec.encode_arguments((), {"service": "shop"})
    with pytest.raises(InvalidArguments, match=r"missing required field service"):
        codec.decode_arguments(b"{}")


def test_arguments_have_a_size_limit() -> None:
    """The message gives size, limit and remedy."""

    def store(text: str) -> None: ...

    codec = define(store).codec
    overhead = len(b'{"text":""}')
    assert len(codec.encode_arguments(("x" * (MAX_ARGUMENTS_BYTES - overhead),), {})) == MAX_ARGUMENTS_BYTES
    with pytest.raises(
        InvalidArguments, match=r"are 262,145 bytes of JSON, the limit is 262,144: store the data elsewhere"
    ):
        codec.encode_arguments(("x" * (MAX_ARGUMENTS_BYTES - overhead + 1),), {})


# Schemas.


def test_arguments_schema_tells_a_stranger_how_to_call() -> None:
    """Types, defaults, required keys and descriptions stand in one closed object schema."""
    schema = define(build).codec.arguments_schema()
    assert schema["type"] == "object"
    assert schema["required"] == ["target", "version"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["target"] == {"type": "string", "description": "architecture, as Go names it."}
    assert schema["properties"]["opt"] == {"type": "integer", "default": 2, "description": "level of optimisation."}
    assert schema["$defs"]["Artifact"]["required"] == ["target"]


def test_result_schema_is_that_of_the_return_annotation() -> None:
    """No annotation: anything."""

    def loose(): ...  # type: ignore[no-untyped-def]

    assert define(build).codec.result_schema()["$defs"]["Artifact"]["properties"]["target"] == {"type": "string"}
    assert define(loose).codec.result_schema() == {}


# Annotations in every spelling.


def test_classes_local_to_a_function_are_found() -> None:
    """Text annotations are looked up where the function is being defined."""

    @dataclass
    class Local:
        x: int

    def take(value: Local) -> list[Local]: ...

    codec = define(take).codec
    assert codec.decode_arguments(b'{"value":{"x":1}}') == ((), {"value": Local(1)})


def test_classes_that_the_function_uses_are_found_after_their_scope_has_ended() -> None:
    """A class of a function that has returned lives on in the closure."""

    @dataclass
    class Local:
        x: int

    def factory() -> Callable[..., Any]:
        def take(value: Local) -> None:
            assert isinstance(value, Local)

        return take

    assert define(factory()).codec.decode_arguments(b'{"value":{"x":1}}') == ((), {"value": Local(1)})


def test_closure_that_is_not_filled_yet_is_no_obstacle() -> None:
    """A function may use a name that its scope assigns later."""

    def take(value: Artifact) -> object:
        return value, later

    definition = define(take)
    later = definition.name
    assert later == "take"


def test_models_that_only_pydantic_can_tell_apart_are_accepted() -> None:
    """A union of models is pydantic's to decide."""

    def take(value: DeployModel | OtherModel, anything: object, many: list[object]) -> None: ...

    codec = define(take).codec
    data = codec.encode_arguments((OtherModel(other=1), 1, ["x"]), {})
    assert codec.decode_arguments(data) == ((), {"value": OtherModel(other=1), "anything": 1, "many": ["x"]})
    assert codec.arguments_schema()["required"] == ["value", "anything", "many"]


def test_default_may_be_a_frozen_model() -> None:
    """What can be hashed is shared safely; the schema shows it as optional."""

    class Frozen(pydantic.BaseModel, frozen=True):
        level: int = 1

    default = Frozen(level=2)

    def take(value: Frozen = default) -> None: ...

    codec = define(take).codec
    assert codec.decode_arguments(b"{}") == ((), {"value": Frozen(level=2)})
    assert codec.arguments_schema()["required"] == []


def test_wrapped_function_keeps_the_signature_of_the_original() -> None:
    """Decorators of users that call functools.wraps stay usable."""

    def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return inner

    codec = define(logged(build)).codec
    assert codec.encode_arguments(("a", "b"), {}) == b'{"target":"a","version":"b"}'


def test_function_that_never_returns_has_a_null_result() -> None:
    """``-> Never`` is a legal annotation."""

    def fail() -> Never:
        raise ValueError

    assert define(fail).codec.result_schema() == {"type": "null"}


# What cannot work. Each case is the source of one function, so that messages can be compared with its line.

REFUSED = {
    "a list of unnamed arguments": (
        "def f(*names: str) -> None: ...",
        r"function 'f': \*names: arguments are stored by name: take a list or a dict instead",
    ),
    "arguments of any name": (
        "def f(a: int, **labels: str) -> None: ...",
        r"\*\*labels: arguments are stored by name",
    ),
    "several positional-only parameters": (
        "def f(a: Deploy, b: int, /) -> None: ...",
        r"several positional-only parameters \(a, b\): arguments need names; remove the /",
    ),
    "a parameter beside the whole object": (
        "def f(a: Deploy, /, b: int) -> None: ...",
        "positional-only 'a' is the whole arguments object: no parameter may stand beside it",
    ),
    "a positional-only scalar": (
        "def f(a: int, /) -> None: ...",
        "positional-only 'a' is the whole arguments object: expected a dataclass, .* got int; or remove the /",
    ),
    "a default of the whole object": (
        "def f(a: Deploy = Deploy('x'), /) -> None: ...",
        "positional-only 'a' has a default: give its fields defaults instead",
    ),
    "a connection": (
        "def f(db: sqlite3.Connection) -> None: ...",
        "parameter 'db' is a sqlite3.Connection, which JSON cannot carry: use an id, .* and open it in a step",
    ),
    "a connection in a list": (
        "def f(dbs: list[sqlite3.Connection]) -> None: ...",
        r"parameter 'dbs' is a sqlite3.Connection \(in list\[sqlite3.Connection\]\), which JSON cannot carry",
    ),
    "a connection in a dataclass": (
        "def f(holder: Holder) -> None: ...",
        r"parameter 'holder' is a sqlite3.Connection \(in .*Holder\), which JSON cannot carry",
    ),
    "a function": (
        "def f(fn: Callable[[], int]) -> None: ...",
        "parameter 'fn' is a .*Callable.*, which JSON cannot carry: use an id",
    ),
    "an iterable": (
        "def f(items: Iterable[int]) -> None: ...",
        "parameter 'items' is a .*Iterable.*, which JSON cannot carry: annotate a list, dict, set or tuple",
    ),
    "two structs that JSON cannot tell apart": (
        "def f(a: Deploy | Artifact) -> None: ...",
        "parameter 'a': .*union.* JSON cannot tell them apart: use msgspec.Struct with tag=True",
    ),
    "a result that JSON cannot carry": (
        "def f() -> sqlite3.Connection: ...",
        "its result is a sqlite3.Connection, which JSON cannot carry",
    ),
    "an awaitable result of a plain function": (
        "def f() -> Awaitable[int]: ...",
        r"it returns .*Awaitable\[int\]: declare it with async def",
    ),
    "a generator": (
        "def f() -> Iterator[int]:\n    yield 1",
        "a generator has no single result: return a list instead of yielding",
    ),
    "an async generator": (
        "async def f() -> AsyncIterator[int]:\n    yield 1",
        "a generator has no single result",
    ),
    "a context without annotation": (
        "async def f(ctx, a: int) -> None: ...",
        "parameter 'ctx' has no annotation: write ctx: ExecutionContext",
    ),
    "a sync context without annotation": (
        "def f(ctx) -> None: ...",
        "parameter 'ctx' has no annotation: write ctx: SyncExecutionContext",
    ),
    "a sync context in an async function": (
        "async def f(c: SyncContext) -> None: ...",
        "async def takes an ExecutionContext; 'c' is a SyncExecutionContext",
    ),
    "an async context in a sync function": (
        "def f(c: AsyncContext) -> None: ...",
        "a plain def takes a SyncExecutionContext; 'c' is an ExecutionContext",
    ),
    "a context that is not first": (
        "async def f(a: int, c: AsyncContext) -> None: ...",
        "parameter 'c' is a context: it must be the first parameter",
    ),
    "two contexts": (
        "async def f(c: AsyncContext, d: AsyncContext) -> None: ...",
        "parameter 'd' is a context: it must be the first parameter, and the only one",
    ),
    "an optional context": (
        "async def f(c: AsyncContext | None) -> None: ...",
        "parameter 'c': annotate the context class alone",
    ),
    "a context with a default": (
        "async def f(c: AsyncContext = None) -> None: ...",
        "parameter 'c': a context has no default",
    ),
    "a method": (
        "def f(self, a: int) -> None: ...",
        "parameter 'self': methods cannot be functions of kontinue",
    ),
    "a default that can change": (
        "def f(a: list[int] = []) -> None: ...",
        r"parameter 'a': default \[\] can change, and all Executions of a runner would share it: use None",
    ),
    "a default of another type": (
        "def f(a: int = None) -> None: ...",
        "parameter 'a': default None does not fit int: Expected int, got null",
    ),
    "a default that JSON cannot carry": (
        "def f(a=object()) -> None: ...",
        "parameter 'a': default <object .* expected a value that JSON can carry",
    ),
    "an unknown name": (
        "def f(a: Missing) -> None: ...",
        "parameter 'a': annotation 'Missing' names 'Missing', which is unknown when the function is defined",
    ),
    "a name for type checkers only": (
        "if typing.TYPE_CHECKING: from decimal import Context as Elsewhere\ndef f() -> Elsewhere: ...",
        "its result: annotation 'Elsewhere' names 'Elsewhere', .* import it at run time, not under TYPE_CHECKING",
    ),
    "a field annotated with an unknown name": (
        "def f(a: list[Unresolved]) -> None: ...",
        r"parameter 'a': a class in list\[.*Unresolved\] has a field annotated with 'Nowhere', which is unknown",
    ),
    "text that is no type": (
        "def f(a: '1 +') -> None: ...",
        "parameter 'a': annotation .* cannot be evaluated",
    ),
}


@pytest.mark.parametrize(("source", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_signature_that_cannot_work_is_refused_with_file_and_line(source: str, message: str) -> None:
    """The error at import says where, what and what to write instead."""
    function = compile_function(source)
    with pytest.raises(DefinitionError) as caught:
        define(function)
    assert re.match(r"app\.py:[34]: function 'f': ", str(caught.value))
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit=0: expected 1 or more"),
        ({"limit": "3"}, "limit='3': expected int, for example limit=10"),
        ({"retry": 3}, "retry=3: expected RetryPolicy, for example RetryPolicy(retries=3)"),
        ({"timeout": 5}, "timeout=5: expected TimeoutPolicy, for example TimeoutPolicy(attempt=timedelta(seconds=5))"),
        ({"ttl": 5}, "ttl=5: expected Retention, for example Retention(delete_after=timedelta(days=1))"),
        ({"checkpoint": "lazy"}, "checkpoint='lazy': expected 'strict' or 'batched'"),
        ({"name": "___"}, "its name cannot name an object: '___' holds no letter"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    """Wrong options are errors with file and line too."""
    with pytest.raises(DefinitionError, match=f"test_definition.py:[0-9]+: function .*{re.escape(message)}"):
        define(build, **options)


def test_call_options_that_cannot_work_are_refused_with_the_functions_name() -> None:
    """They are given far from the definition, and often for several functions in one line."""
    definition = define(build)
    with pytest.raises(TypeError, match="options of function 'build': timeout=5: expected TimeoutPolicy"):
        definition.options(timeout=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="options of function 'build': parallelism=0: expected 1 or more"):
        definition.options(parallelism=0)


def test_lambda_needs_a_name() -> None:
    """A registered function is known by its name."""
    with pytest.raises(DefinitionError, match="a lambda has no name: use def, or give name="):
        define(lambda: 1)
    assert define(lambda: 1, name="one").name == "one"


def test_only_functions_can_be_defined() -> None:
    """A class or a callable object has no place in a signature."""
    with pytest.raises(DefinitionError, match="expected a function, got type"):
        define(Deploy)


def test_remote_function_is_a_signature_only() -> None:
    """A context in it would be one that nobody passes."""

    async def other(c: AsyncContext) -> None: ...

    with pytest.raises(DefinitionError, match="a remote function is a signature only: leave the context out"):
        define(other, is_remote=True)


@dataclass
class Unresolved:
    field: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Holder:
    db: sqlite3.Connection | None = None
    names: list[str] = field(default_factory=list)


def compile_function(source: str) -> Callable[..., Any]:
    """Return the function ``f`` of a module ``app.py`` whose third line is ``source``."""
    module = ModuleType("app")
    classes = (AsyncContext, SyncContext, Deploy, Artifact, Holder, Unresolved)
    known = (*classes, Iterable, Iterator, AsyncIterator, Awaitable, Callable, sqlite3, typing)
    vars(module).update({item.__name__: item for item in known})
    text = f"from __future__ import annotations\n\n{textwrap.dedent(source)}\n"
    exec(compile(text, "app.py", "exec"), vars(module))
    function = vars(module)["f"]
    assert callable(function)
    return function
