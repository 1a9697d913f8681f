"""JSON of values, typed by annotations."""

import enum
import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import jsonschema_rs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue import codec
from kontinue.api.v1alpha1 import MAX_RESULT_BYTES
from kontinue.errors import CodecError, InvalidResult, ResultDecodeError


@dataclass(frozen=True)
class Artifact:
    target: str
    size: int = 0


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class Released(TypedDict):
    version: str
    digests: list[str]


class Span(NamedTuple):
    start: int
    end: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Approval(pydantic.BaseModel):
    approved: bool
    by: str = pydantic.Field(alias="approvedBy")
    when: datetime | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    at: datetime
    tags: set[int]

    @pydantic.computed_field
    @property
    def count(self) -> int:
        return len(self.tags)


@dataclass
class Review:
    approvals: list[Approval]
    note: str = ""


@dataclass
class Tree:
    name: str
    children: list["Tree"] = field(default_factory=list)


CASES: list[tuple[object, Any]] = [
    (None, None),
    (True, bool),
    (7, int),
    (2.5, float),
    ("text", str),
    (b"\x00\xff", bytes),
    ([1, 2], list[int]),
    ((1, "a"), tuple[int, str]),
    ({3, 1, 2}, set[int]),
    (frozenset({"b", "a"}), frozenset[str]),
    ({"a": 1}, dict[str, int]),
    ({2: "b", 10: "a"}, dict[int, str]),
    ({Colour.RED: 1}, dict[Colour, int]),
    (None, int | None),
    (3, int | str),
    (datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), datetime),
    (date(2026, 1, 2), date),
    (timedelta(days=1, seconds=1.5), timedelta),
    (UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), UUID),
    (Decimal("0.10"), Decimal),
    (Colour.BLUE, Colour),
    ("fast", Literal["fast", "slow"]),
    (Artifact("amd64", 3), Artifact),
    (Point(1, 2), Point),
    (Circle(2.0), Circle | Square),
    ({"version": "1", "digests": ["a"]}, Released),
    (Span(1, 2), Span),
    (Approval(approved=True, approvedBy="ada", when=datetime(2026, 1, 2, tzinfo=UTC)), Approval),
    (None, Approval | None),
    ([Approval(approved=True, approvedBy="ada")], list[Approval]),
    (Strict(at=datetime(2026, 1, 2, tzinfo=UTC), tags={2, 1}), Strict),
    (Strict(at=datetime(2026, 1, 2, tzinfo=UTC), tags={2, 1}), Strict | Approval),
    (Review([Approval(approved=False, approvedBy="bob")]), Review),
    (Tree("root", [Tree("leaf")]), Tree),
    (5, Annotated[int, msgspec.Meta(ge=1)]),
    ({"a": [1, None, "x", 2.5]}, Any),
    ([1, "x"], list[Any]),
    ("x", object),
]
IDS = [str(type_) for _, type_ in CASES]
"""A set is not written in the same order by each process."""


@pytest.mark.parametrize(("value", "type_"), CASES, ids=IDS)
def test_value_comes_back_with_its_type(value: object, type_: object) -> None:
    """What a signature may declare survives JSON, and its class with it."""
    decoded = codec.decode(codec.encode(value, type_), type_)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(("value", "type_"), CASES, ids=IDS)
def test_schema_accepts_what_is_encoded(value: object, type_: Any) -> None:
    """Clients that know a function by its schema only send what its owner can read."""
    validator = jsonschema_rs.validator_for(codec.json_schema(type_))
    validator.validate(json.loads(codec.encode(value, type_)))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_untyped_value_comes_back(value: object) -> None:
    """Any JSON value survives without an annotation."""
    assert codec.decode(codec.encode(value, Any), Any) == value


@given(st.dictionaries(st.text(), st.integers()).map(lambda d: {k: v % 2**60 for k, v in d.items()}))
def test_equal_values_have_equal_bytes(value: dict[str, int]) -> None:
    """The order in which a dict was filled does not show."""
    assert codec.encode_any(value) == codec.encode_any(dict(reversed(value.items())))


def test_keys_that_are_not_text_become_text() -> None:
    """JSON objects have text keys only."""
    assert codec.encode_any({2: "b", 10: "a"}) == b'{"10":"a","2":"b"}'


def test_bytes_are_base64() -> None:
    """Binary data travel as base64 text."""
    assert codec.encode_any(b"\x00\xff") == b'"AP8="'


def test_subclasses_of_text_and_numbers_are_carried_as_their_base() -> None:
    """Values such as numpy.float64 need no conversion."""

    class Metres(float):
        pass

    class Label(str):
        __slots__ = ()

    assert codec.encode_any([Metres(1.5), Label("x")]) == b'[1.5,"x"]'


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (math.nan, "$"),
        (math.inf, "$"),
        ({"a": [1.0, math.nan]}, "$.a[1]"),
        (Circle(-math.inf), "$.radius"),
        ([None, {"x": math.nan}], "$[1].x"),
        ([2**63 - 1, -(2**63), 2**63], "$[2]"),
    ],
)
def test_numbers_that_an_api_server_would_change_are_refused(value: object, path: str) -> None:
    """NaN never becomes null, nor a large integer a float, in silence; the error says where they are."""
    with pytest.raises(
        CodecError, match=r"expected (a finite number, got (nan|-?inf)|an integer of 64 bits)"
    ) as caught:
        codec.encode(value, Any)
    assert caught.value.path == path


def test_nan_in_a_pydantic_model_is_refused() -> None:
    """Models are searched too."""

    class Measure(pydantic.BaseModel):
        value: float

    with pytest.raises(CodecError, match=r"\$\.value: expected a finite number"):
        codec.encode(Measure(value=math.nan), Measure)


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (object(), "$", "got object <object"),
        ({"a": {"b": [1, object()]}}, "$.a.b[1]", "got object"),
        (Artifact("x", object()), "$.size", "got object"),  # type: ignore[arg-type]
        ({1, "a"}, "$", "this set cannot be sorted"),
        (1j, "$", "got complex"),
        (lambda: 0, "$", "got function"),
    ],
    ids=["object", "nested", "field", "set", "complex", "function"],
)
def test_what_json_cannot_carry_is_named_with_its_path(value: object, path: str, words: str) -> None:
    """The innermost value at fault is shown."""
    with pytest.raises(CodecError) as caught:
        codec.encode(value, Any)
    assert caught.value.path == path
    assert words in str(caught.value)


def test_value_that_contains_itself_is_refused() -> None:
    """A cycle is an error, not a crash."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CodecError, match="contains itself or is nested too deeply"):
        codec.encode(loop, Any)


@pytest.mark.parametrize(
    ("value", "type_", "path", "message"),
    [
        ("x", int, "$", "Expected int, got str"),
        ([1, "x"], list[int], "$[1]", "$[1]: Expected int, got str"),
        ({"target": 3}, Artifact, "$.target", "$.target: Expected str, got int"),
        ({}, Artifact, "$", "Object missing required field target"),
        (0, Annotated[int, msgspec.Meta(ge=1)], "$", "Expected int >= 1"),
        ("green", Colour, "$", "Invalid enum value 'green'"),
        ([{"approved": True}], list[Approval], "$[0].approvedBy", "Field required"),
        ({"approved": "x", "approvedBy": "y"}, Approval, "$.approved", "Input should be a valid boolean"),
    ],
)
def test_wrong_type_is_an_error_with_path_expected_and_got(
    value: object, type_: object, path: str, message: str
) -> None:
    """A value that would not decode later is refused where it is produced."""
    with pytest.raises(CodecError) as caught:
        codec.encode(value, type_)
    assert caught.value.path == path
    assert message in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b'{"a":1} x', b"\xff"])
def test_bytes_that_are_no_json_are_refused(data: bytes) -> None:
    """A corrupt value is a CodecError, whatever the type."""
    for type_ in (Any, int, Approval):
        with pytest.raises(CodecError):
            codec.decode(data, type_)


def test_result_codec_names_type_and_path() -> None:
    """A result that JSON cannot carry says what was returned and what was declared."""
    with pytest.raises(InvalidResult, match=r"result of type dict, declared list\[int\]: Expected array, got object"):
        codec.ResultCodec(list[int]).encode_result({})
    with pytest.raises(InvalidResult, match=r"^result of type list: \$\[0\]: expected a value that JSON can carry"):
        codec.ResultCodec(Any).encode_result([object()])


def test_result_codec_refuses_what_is_too_large() -> None:
    """The limit is inclusive; the message gives size, limit and remedy."""
    result = codec.ResultCodec(str)
    assert len(result.encode_result("x" * (MAX_RESULT_BYTES - 2))) == MAX_RESULT_BYTES
    with pytest.raises(InvalidResult, match=r"is 524,289 bytes of JSON, the limit is 524,288: store it elsewhere"):
        result.encode_result("x" * (MAX_RESULT_BYTES - 1))


def test_stored_result_of_another_type_is_a_decode_error() -> None:
    """A result written by older code says what does not fit."""
    with pytest.raises(ResultDecodeError, match=r"does not decode as .*Artifact: \$\.target: Expected str") as caught:
        codec.ResultCodec(Artifact).decode_result(b'{"target": 1}')
    assert caught.value.path == "$.target"


def test_digest_is_stable() -> None:
    """The digest is part of the format of records."""
    assert codec.digest(b"{}") == "01e7b720ff566d53"


def test_digest_counts_foreign_objects_by_class() -> None:
    """Open files and the like have the same digest in every process; their address does not show."""
    assert codec.digest_of_any([object(), 1]) == codec.digest_of_any([object(), 1])
    assert codec.digest_of_any([object(), 1]) != codec.digest_of_any([object(), 2])
    assert codec.digest_of_any({"a": object()}) != codec.digest_of_any({"a": lambda: 0})
    assert codec.digest_of_any({object(), 1}) == codec.digest_of_any({1, object()})
    assert codec.digest_of_any({(1, 2): object()}) == codec.digest_of_any({(1, 2): object()})


def test_digest_of_a_cycle_ends() -> None:
    """Even a value that contains itself has a digest."""
    loop: list[Any] = []
    loop.append(loop)
    assert codec.digest_of_any(loop) == codec.digest_of_any(loop)


def test_schema_describes_nested_types() -> None:
    """Dataclasses, enums and models of one signature share one document whose references resolve."""

    class Build(pydantic.BaseModel):
        colour: Colour
        approval: Approval

    schema = codec.json_schema(dict[str, list[Build] | Tree])
    defined = schema["$defs"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for value in node for ref in references(value)] if isinstance(node, list) else []

    found = references(schema)
    assert found
    assert {ref.removeprefix("#/$defs/") for ref in found} <= defined.keys()


def test_schema_of_a_union_of_models_offers_each() -> None:
    """Where msgspec has no word for the type, pydantic describes it."""
    schema = codec.json_schema(Strict | Approval)
    assert {option["$ref"].rpartition(".")[2] for option in schema["anyOf"]} == {"Strict", "Approval"}


def test_types_without_a_json_form_cannot_be_described_or_read() -> None:
    """The codec itself refuses unions that JSON cannot tell apart, and classes that it does not know."""
    for use in (codec.codec_for, codec.json_schema):
        with pytest.raises(TypeError, match="union"):
            use(str | datetime)
    with pytest.raises(CodecError, match=r"complex cannot be read from JSON"):
        codec.decode(b"1", complex)


def test_annotations_that_cannot_be_looked_up_still_have_a_codec() -> None:
    """Annotated may carry a value that does not hash."""
    assert codec.decode(b"[1]", Annotated[list[int], ["note"]]) == [1]


def test_objects_and_mappings_of_any_class_are_carried() -> None:
    """``object`` is any JSON value; a mapping need not be a dict."""
    assert codec.decode(codec.encode([1, "x"], list[object]), list[object]) == [1, "x"]
    assert codec.encode_any(MappingProxyType({"a": 1})) == b'{"a":1}'


def test_codec_is_built_once_per_type() -> None:
    """Looking a codec up again costs a dictionary access."""
    assert codec.codec_for(list[int]) is codec.codec_for(list[int])


def test_pydantic_is_not_imported_for_those_who_do_not_use_it() -> None:
    """A program without pydantic does not pay for it."""
    program = "import sys; from kontinue import codec; codec.encode([1], list[int]); print('pydantic' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
