"""From a function's signature to a typed codec of its arguments and result.

Parameter names are the keys of ``spec.arguments``; one positional-only struct parameter is the whole object. What
cannot work is refused at definition with ``file:line``: nothing here guesses. ``kontinue.definition`` calls
``read_signature``; clients, contexts and runners use the ``FunctionCodec`` that it builds.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Any, Final, NoReturn, cast, get_args, is_typeddict

import msgspec

from kontinue import _typehints, _unknown_fields, codec, naming
from kontinue.api.v1alpha1 import MAX_ARGUMENTS_BYTES
from kontinue.errors import CodecError, DefinitionError, InvalidArguments

_ARGUMENT_LINE = re.compile(r"(\w+)(?: \([^)]*\))?: (.*)")


class AsyncContextMarker:
    """Base of the context that ``async def`` functions take; known here so that signatures need no context module."""

    __slots__ = ()


class SyncContextMarker:
    """Base of the context that plain functions take."""

    __slots__ = ()


class FunctionCodec(codec.ResultCodec):
    """JSON of a function's arguments (without its context) and result.

    Args:
        arguments: struct of all parameters, or the type that is the whole object.
        parameters: names in order; the first ``positional`` of them may be given by position.
        whole: ``arguments`` is the user's own type, passed as the only positional argument.
    """

    def __init__(
        self,
        result: Any,
        arguments: Any,
        *,
        name: str,
        parameters: Sequence[str],
        positional: int,
        required: Iterable[str],
        whole: bool,
        descriptions: Mapping[str, str],
    ) -> None:
        super().__init__(result)
        self._name = name
        self._arguments = codec.TypeCodec(arguments)
        self._find_unknown = None if self._arguments.is_pydantic else _unknown_fields.finder_for(arguments)
        self._parameters = tuple(parameters)
        self._known = frozenset(parameters)
        self._positional = positional
        self._required = frozenset(required)
        self._whole = whole
        self._descriptions = descriptions

    def encode_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Return the JSON object of a call's arguments. Defaults stay out: the owner of the function applies its own.

        Raises:
            InvalidArguments: they do not fit the signature, JSON cannot carry one, or they are too large.
        """
        value = self._bind_whole(args, kwargs) if self._whole else self._bind(args, kwargs)
        try:
            data = codec.encode_any(value)
            self._decode(data)
        except CodecError as error:
            raise InvalidArguments(f"{self._name}: {error}", path=error.path) from error.__cause__
        if len(data) > MAX_ARGUMENTS_BYTES:
            raise InvalidArguments(
                f"{self._name}: arguments are {len(data):,} bytes of JSON, the limit is {MAX_ARGUMENTS_BYTES:,}: "
                "store the data elsewhere and pass where it is"
            )
        return data

    def decode_arguments(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return ``args`` and ``kwargs`` of the call that ``data`` describes, defaults included, without the context.

        Raises:
            InvalidArguments: ``data`` does not fit the signature.
        """
        try:
            value = self._decode(data)
        except CodecError as error:
            self._explain_keys(data)
            raise InvalidArguments(f"{self._name}: {error}", path=error.path) from error.__cause__
        if self._whole:
            return (value,), {}
        return (), msgspec.structs.asdict(value)

    def _decode(self, data: bytes) -> Any:
        value = self._arguments.decode(data)
        unknown = None if self._find_unknown is None else self._find_unknown(data)
        if unknown is not None:
            raise CodecError(f"{unknown.path}: {unknown.message}", path=unknown.path)
        return value

    def arguments_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments object, with descriptions from the docstring's Args section."""
        schema = codec.json_schema(self._arguments.type)
        shared = schema.get("$defs", {})
        reference = schema.pop("$ref", "")
        if reference:
            schema = {**shared.pop(reference.removeprefix("#/$defs/")), **schema}
            if not shared:
                schema.pop("$defs", None)
        if self._find_unknown is not None:
            schema.setdefault("additionalProperties", False)
        for name, part in shared.items():
            if "properties" in part and "." not in name:  # models of pydantic decide for themselves
                part.setdefault("additionalProperties", False)
        for name, text in self._descriptions.items():
            if name in schema.get("properties", {}):
                schema["properties"][name].setdefault("description", text)
        return schema

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = dict(zip(self._parameters, args, strict=False))
        if len(args) > self._positional:
            raise InvalidArguments(
                f"{self._name}: takes {self._positional} positional arguments, got {len(args)}; its parameters are "
                f"{', '.join(self._parameters) or 'none'}"
            )
        if kwargs:
            twice = [name for name in kwargs if name in bound]
            if twice:
                raise InvalidArguments(
                    f"{self._name}: {twice[0]} is given by position and by name", path=f"$.{twice[0]}"
                )
            bound.update(kwargs)
        if not (bound.keys() <= self._known and self._required <= bound.keys()):
            self._refuse_keys(bound)
        return bound

    def _bind_whole(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if len(args) != 1 or kwargs:
            expected = codec.type_name(self._arguments.type)
            raise InvalidArguments(
                f"{self._name}: takes one positional argument, a {expected}; got {len(args)} positional and "
                f"{len(kwargs)} named"
            )
        return args[0]

    def _explain_keys(self, data: bytes) -> None:
        """Raise an error that names every missing and unknown key, if keys are what is wrong."""
        try:
            value: Any = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return
        if isinstance(value, dict) and not self._whole:
            self._refuse_keys(cast("dict[str, Any]", value))

    def _refuse_keys(self, given: Mapping[str, Any]) -> None:
        missing = [name for name in self._parameters if name in self._required and name not in given]
        unknown = [name for name in given if name not in self._known]
        problems = [f"missing {', '.join(missing)}"] if missing else []
        problems += [codec.describe_unknown(name, self._parameters) for name in unknown]
        if problems:
            expected = f"; its parameters are {', '.join(self._parameters) or 'none'}"
            path = f"$.{(missing or unknown)[0]}"
            raise InvalidArguments(f"{self._name}: {', '.join(problems)}{expected}", path=path) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionSignature:
    """What a definition needs to know about its function; ``where`` starts its error messages."""

    fn: Callable[..., Any]
    name: str
    where: str
    location: str
    is_async: bool
    takes_context: bool
    description: str
    codec: FunctionCodec


def read_signature(fn: Callable[..., Any], *, name: str | None, is_remote: bool) -> FunctionSignature:
    """Return what the signature of ``fn`` says.

    Raises:
        DefinitionError: it cannot work as a function of kontinue.
    """
    return _Reader(fn, name=name, is_remote=is_remote).read()


class _Reader:
    """Reads one signature; every refusal carries ``file:line`` and the function's name."""

    def __init__(self, fn: Callable[..., Any], *, name: str | None, is_remote: bool) -> None:
        if not inspect.isfunction(fn):
            raise DefinitionError(f"expected a function, got {codec.type_name(type(fn))} {fn!r}")
        code = inspect.unwrap(fn).__code__
        self.fn = fn
        self.name = fn.__name__ if name is None else name
        self.is_remote = is_remote
        self.location = f"{code.co_filename}:{code.co_firstlineno}"
        self.where = f"{self.location}: function {self.name!r}"
        self.is_async = inspect.iscoroutinefunction(fn)

    def read(self) -> FunctionSignature:
        self._check_function()
        parameters = list(inspect.signature(self.fn).parameters.values())
        types = {parameter.name: self._resolve(parameter) for parameter in parameters}
        takes_context = self._check_context(parameters, types)
        if takes_context:
            del parameters[0]
        doc = inspect.getdoc(self.fn) or ""
        return FunctionSignature(
            fn=self.fn,
            name=self.name,
            where=self.where,
            location=self.location,
            is_async=self.is_async,
            takes_context=takes_context,
            description=" ".join(doc.partition("\n\n")[0].split()),
            codec=self._codec(parameters, types, _argument_descriptions(doc)),
        )

    def _refuse(self, message: str) -> NoReturn:
        raise DefinitionError(f"{self.where}: {message}")

    def _check_function(self) -> None:
        if self.fn.__name__ == "<lambda>" and self.name == "<lambda>":
            self._refuse("a lambda has no name: use def, or give name=")
        if inspect.isgeneratorfunction(self.fn) or inspect.isasyncgenfunction(self.fn):
            self._refuse("a generator has no single result: return a list instead of yielding")
        try:
            naming.dns_name(self.name)
        except ValueError as error:
            self._refuse(f"its name cannot name an object: {error}")

    def _resolve(self, parameter: Parameter) -> Any:
        what = f"{self.where}: parameter {parameter.name!r}"
        return _typehints.resolve(parameter.annotation, inspect.unwrap(self.fn), what=what)

    def _check_context(self, parameters: Sequence[Parameter], types: Mapping[str, Any]) -> bool:
        for index, parameter in enumerate(parameters):
            marker = _context_marker(types[parameter.name])
            if marker is None:
                continue
            if index > 0:
                self._refuse(
                    f"parameter {parameter.name!r} is a context: it must be the first parameter, and the only one"
                )
            if types[parameter.name] is Any or get_args(types[parameter.name]):
                self._refuse(
                    f"parameter {parameter.name!r}: annotate the context class alone, not a union or container"
                )
            if self.is_remote:
                self._refuse("a remote function is a signature only: leave the context out")
            if marker is SyncContextMarker and self.is_async:
                self._refuse(f"async def takes an ExecutionContext; {parameter.name!r} is a SyncExecutionContext")
            if marker is AsyncContextMarker and not self.is_async:
                self._refuse(
                    f"a plain def takes a SyncExecutionContext; {parameter.name!r} is an ExecutionContext "
                    "(or declare the function with async def)"
                )
            if parameter.default is not Parameter.empty:
                self._refuse(f"parameter {parameter.name!r}: a context has no default")
        first = parameters[0] if parameters else None
        if first is None or first.annotation is not Parameter.empty:
            return first is not None and _context_marker(types[first.name]) is not None
        if first.name == "ctx":
            wanted = "ExecutionContext" if self.is_async else "SyncExecutionContext"
            self._refuse(f"parameter 'ctx' has no annotation: write ctx: {wanted}")
        if first.name in ("self", "cls"):
            self._refuse(f"parameter {first.name!r}: methods cannot be functions of kontinue: move it to module level")
        return False

    def _codec(
        self, parameters: Sequence[Parameter], types: Mapping[str, Any], descriptions: Mapping[str, str]
    ) -> FunctionCodec:
        for parameter in parameters:
            if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
                stars = "*" if parameter.kind is Parameter.VAR_POSITIONAL else "**"
                self._refuse(f"{stars}{parameter.name}: arguments are stored by name: take a list or a dict instead")
            _typehints.require_json(types[parameter.name], what=f"{self.where}: parameter {parameter.name!r}")
        only = [parameter for parameter in parameters if parameter.kind is Parameter.POSITIONAL_ONLY]
        whole = bool(only)
        if whole:
            self._check_whole(only, parameters, types)
            arguments = types[only[0].name]
        else:
            arguments = self._arguments_struct(parameters, types)
        return FunctionCodec(
            self._result_type(),
            arguments,
            name=self.name,
            parameters=[parameter.name for parameter in parameters],
            positional=sum(parameter.kind is not Parameter.KEYWORD_ONLY for parameter in parameters),
            required=[parameter.name for parameter in parameters if parameter.default is Parameter.empty],
            whole=whole,
            descriptions=descriptions,
        )

    def _check_whole(
        self, only: Sequence[Parameter], parameters: Sequence[Parameter], types: Mapping[str, Any]
    ) -> None:
        if len(only) > 1:
            names = ", ".join(parameter.name for parameter in only)
            self._refuse(f"several positional-only parameters ({names}): arguments need names; remove the /")
        if len(parameters) > 1:
            self._refuse(
                f"positional-only {only[0].name!r} is the whole arguments object: no parameter may stand beside it"
            )
        type_ = types[only[0].name]
        if not _is_struct(type_):
            self._refuse(
                f"positional-only {only[0].name!r} is the whole arguments object: expected a dataclass, Struct, "
                f"TypedDict or pydantic model, got {codec.type_name(type_)}; or remove the /"
            )
        if only[0].default is not Parameter.empty:
            self._refuse(f"positional-only {only[0].name!r} has a default: give its fields defaults instead")

    def _arguments_struct(self, parameters: Sequence[Parameter], types: Mapping[str, Any]) -> Any:
        fields: list[Any] = []
        for parameter in parameters:
            type_ = codec.field_type(types[parameter.name])
            if parameter.default is Parameter.empty:
                fields.append((parameter.name, type_))
            else:
                self._check_default(parameter, types[parameter.name])
                fields.append((parameter.name, type_, _field_default(parameter.default)))
        return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)

    def _check_default(self, parameter: Parameter, type_: Any) -> None:
        what = f"parameter {parameter.name!r}: default {codec.shown(parameter.default)}"
        try:
            hash(parameter.default)
        except TypeError:
            self._refuse(
                f"{what} can change, and all Executions of a runner would share it: use None, or a frozen value"
            )
        try:
            codec.encode(parameter.default, type_)
        except CodecError as error:
            self._refuse(f"{what} does not fit {codec.type_name(type_)}: {error}")

    def _result_type(self) -> Any:
        what = f"{self.where}: its result"
        plain = inspect.unwrap(self.fn)
        type_ = _typehints.resolve(inspect.signature(self.fn).return_annotation, plain, what=what)
        if _typehints.never_returns(type_):
            return None
        if _typehints.is_awaitable(type_):
            self._refuse(
                f"it returns {codec.type_name(type_)}: declare it with async def and annotate the result itself"
            )
        _typehints.require_json(type_, what=what)
        return type_


def _context_marker(type_: Any) -> type[AsyncContextMarker | SyncContextMarker] | None:
    """Return which context ``type_`` is, or holds."""
    for marker in (AsyncContextMarker, SyncContextMarker):
        if isinstance(type_, type) and issubclass(type_, marker):
            return marker
    return next((found for part in get_args(type_) if (found := _context_marker(part))), None)


def _is_struct(type_: Any) -> bool:
    if is_typeddict(type_) or codec.is_model(type_):
        return True
    return isinstance(type_, type) and (dataclasses.is_dataclass(type_) or issubclass(type_, msgspec.Struct))


def _field_default(default: Any) -> Any:
    """Return ``default`` for a struct field; one that msgspec alone cannot show in a schema hides in a factory."""
    try:
        msgspec.to_builtins(default, str_keys=True)
    except TypeError:
        return msgspec.field(default_factory=lambda: default)
    return default


def _argument_descriptions(doc: str) -> dict[str, str]:
    """Return what a Google-style ``Args`` section says about each parameter."""
    found: dict[str, str] = {}
    current = ""
    inside = False
    for line in doc.splitlines():
        text = line.strip()
        if not line.startswith(" "):
            inside = text in ("Args:", "Arguments:") or (inside and not text)
        elif inside and text:
            match = _ARGUMENT_LINE.fullmatch(text)
            if match is not None and len(line) - len(line.lstrip()) <= _ARGUMENT_INDENT:
                current = match[1]
                found[current] = match[2]
            elif current:
                found[current] += f" {text}"
    return found


_ARGUMENT_INDENT: Final = 4
