"""Annotations of user code: resolved with every spelling that Python allows, and checked against what JSON carries.

Called at definition, so its errors come when the user's module is imported and say what to write instead.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Never, NoReturn, cast, get_args, get_origin, get_type_hints

import msgspec

from kontinue import codec
from kontinue.errors import DefinitionError


def resolve(annotation: Any, fn: Callable[..., Any], *, what: str) -> Any:
    """Return the type that ``annotation`` of ``fn`` names.

    Text (also from ``from __future__ import annotations``) is looked up in the function's module, its closure and the
    scopes that are running, which finds classes local to a function.

    Args:
        annotation: as found in the signature.
        fn: the function that carries it.
        what: start of an error message: which function and parameter.

    Raises:
        DefinitionError: a name is unknown.
    """
    if annotation in (inspect.Parameter.empty, Any, object):
        return Any
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, getattr(fn, "__globals__", {}), _Scopes(fn), include_extras=True)["it"]
    except NameError as error:
        raise DefinitionError(
            f"{what}: annotation {annotation!r} names {error.name!r}, which is unknown when the function is defined: "
            "define it above, and import it at run time, not under TYPE_CHECKING"
        ) from error
    except (TypeError, SyntaxError, AttributeError) as error:
        raise DefinitionError(f"{what}: annotation {annotation!r} cannot be evaluated: {error}") from error


def require_json(type_: Any, *, what: str) -> None:
    """Check that JSON can carry values of ``type_``.

    Raises:
        DefinitionError: it cannot; the message names the part at fault and a remedy.
    """
    if codec.is_model(type_):
        return
    try:
        codec.codec_for(type_)
        info = msgspec.inspect.type_info(type_)
    except TypeError as error:
        if codec.mentions_model(type_):
            return
        raise DefinitionError(f"{what}: {_union_remedy(str(error))}") from error
    except NameError as error:
        raise DefinitionError(
            f"{what}: a class in {codec.type_name(type_)} has a field annotated with {error.name!r}, which is unknown "
            "in its module: move the class to module level, or import the name at run time"
        ) from error
    for custom in _custom_types(info):
        if custom is not object and not codec.is_model(custom):
            _refuse(custom, type_, what)


def never_returns(type_: Any) -> bool:
    """Tell whether ``type_`` says that a function always raises."""
    return type_ in (NoReturn, Never)


def is_awaitable(type_: Any) -> bool:
    """Tell whether ``type_`` has to be awaited for its value."""
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and issubclass(origin, Awaitable)


def _refuse(custom: Any, type_: Any, what: str) -> NoReturn:
    inside = "" if custom is type_ else f" (in {codec.type_name(type_)})"
    module = getattr(custom, "__module__", "")
    if module == "collections.abc" and custom.__name__ not in ("Callable", "Awaitable", "Coroutine"):
        remedy = "annotate a list, dict, set or tuple"
    else:
        remedy = "use an id, name or address instead and open it in a step"
    raise DefinitionError(f"{what} is a {codec.type_name(custom)}{inside}, which JSON cannot carry: {remedy}")


def _union_remedy(message: str) -> str:
    text = message.replace("`", "")
    if "union" not in text:
        return text
    return f"{text}; JSON cannot tell them apart: use msgspec.Struct with tag=True, or one class with optional fields"


def _custom_types(info: msgspec.inspect.Type) -> Iterator[Any]:
    """Yield every class in ``info`` that msgspec leaves to hooks."""
    seen: set[int] = set()
    todo: list[object] = [info]
    while todo:
        node = todo.pop()
        if isinstance(node, tuple | list):
            todo.extend(cast("Iterable[object]", node))
        elif isinstance(node, msgspec.inspect.CustomType):
            yield node.cls
        elif isinstance(node, msgspec.Struct) and id(node) not in seen:
            seen.add(id(node))
            todo.extend(getattr(node, name) for name in node.__struct_fields__ if name != "cls")


class _Scopes(dict[str, Any]):
    """Names seen from where ``fn`` is being defined: its closure, then the running scopes from the inside out."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        cells = getattr(fn, "__closure__", None) or ()
        names = fn.__code__.co_freevars if cells else ()
        for name, cell in zip(names, cells, strict=True):
            try:
                self[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        self._globals = getattr(fn, "__globals__", {})

    def __missing__(self, name: str) -> Any:
        frame: types.FrameType | None = inspect.currentframe()
        while frame is not None:
            if frame.f_globals is self._globals and name in frame.f_locals:
                return frame.f_locals[name]
            frame = frame.f_back
        raise KeyError(name)
