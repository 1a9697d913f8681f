"""Steps: the ``step`` decorator, what it says about a function, and ``current_step`` for code that runs in one.

A step is an ordinary function whose outcome is recorded when a context runs it (``ctx.step(fn, ...)``). Contexts read
``step_options`` and ``step_codec``; the runner sets ``current_step`` around each try.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, overload
from weakref import WeakKeyDictionary

from kontinue import _typehints, codec
from kontinue.definition import FunctionDefinition
from kontinue.errors import ContextError, DefinitionError
from kontinue.options import RetryPolicy, StepOptions

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE: Final = "__kontinue_step__"


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """The step that is running.

    Attributes:
        idempotency_key: the same in every try and replay of this step; give it to receivers that deduplicate.
        attempt: which try of the step this is, from 1.
        execution: name of the Execution.
        step: step id within it.
        fencing_token: grows with every claim of the Execution, and, if it holds a mutex, from one holder to the next:
            a receiver that refuses smaller ones than it has seen (of this Execution, or under this mutex) is safe from
            a replica that was replaced and does not know it yet. Below 2**63.
    """

    idempotency_key: str
    attempt: int
    execution: str
    step: str
    fencing_token: int


_current: ContextVar[StepInfo | None] = ContextVar("kontinue_step", default=None)


def current_step() -> StepInfo:
    """Return the step that is running.

    Raises:
        ContextError: not called from a step.
    """
    info = _current.get()
    if info is None:
        raise ContextError("current_step() works inside a step only: call this function with ctx.step(...)")
    return info


def enter_step(info: StepInfo) -> Token[StepInfo | None]:
    """Make ``info`` the current step; for runners. Undo it with ``leave_step``."""
    return _current.set(info)


def leave_step(token: Token[StepInfo | None]) -> None:
    """Undo ``enter_step``."""
    _current.reset(token)


@overload
def step(fn: F, /) -> F: ...
@overload
def step(
    *, name: str | None = ..., retry: RetryPolicy | None = ..., timeout: timedelta | None = ...
) -> Callable[[F], F]: ...
def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    timeout: timedelta | None = None,
) -> Any:
    """Say how ``ctx.step`` runs a function: its name in records, its retries, the time limit of one try.

    As a decorator it returns the function itself, which stays an ordinary function. Around a function that exists
    already (``ctx.step(step(name="charge")(charge), x)``) it returns a wrapper and leaves the function as it is.

    Args:
        fn: the function, when the decorator is used bare.
        name: what records and trees show; lambdas need one. Default: the function's name.
        retry: repetitions within the activation; only the outcome is recorded.
        timeout: for one try. An async function is canceled; the thread of a sync one cannot be: it is left to itself,
            what it returns is dropped, and it ends at the latest with its runner, which is replaced.

    Raises:
        DefinitionError: not a function, or no name.
    """
    frame = inspect.currentframe()
    scope = frame and frame.f_back

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(fn) or isinstance(fn, FunctionDefinition):
            raise DefinitionError(f"step: expected a function, got {fn!r}")
        try:
            options = StepOptions(name=name or _name_of(fn), retry=retry, timeout=timeout)
        except (TypeError, ValueError) as error:
            raise DefinitionError(f"{_place_of(fn)}step {_name_of(fn)!r}: {error}") from error
        target = fn if _is_being_defined(fn, scope) else _wrap(fn)
        setattr(target, _ATTRIBUTE, options)
        return target

    return decorate if fn is None else decorate(fn)


def step_options(fn: Callable[..., Any]) -> StepOptions:
    """Return what ``@step`` said about ``fn``; its name alone when it was not used.

    Raises:
        DefinitionError: ``fn`` has no name (a lambda), or is a kontinue function, which is not a step.
    """
    options = getattr(fn, _ATTRIBUTE, None)
    if isinstance(options, StepOptions):
        return options
    if isinstance(fn, FunctionDefinition):
        raise DefinitionError(f"{fn.name!r} is a kontinue function: call it with ctx.execute, or pass {fn.name}.fn")
    if not callable(fn):
        raise DefinitionError(f"ctx.step: expected a function, got {codec.type_name(type(fn))} {fn!r}")
    return StepOptions(name=_name_of(fn))


class StepCodec(codec.ResultCodec):
    """JSON of a step's outcome, typed by its return annotation, and the digest of its arguments."""

    def digest_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return a digest of a call's arguments; what JSON cannot carry counts by its class only."""
        return codec.digest_of_any([args, kwargs])


def step_codec(fn: Callable[..., Any]) -> StepCodec:
    """Return the codec of a step function, built on its first use.

    Raises:
        DefinitionError: JSON cannot carry the annotated result.
    """
    if hasattr(fn, "__wrapped__"):
        fn = inspect.unwrap(fn)
    try:
        return _codecs[fn]
    except (KeyError, TypeError):
        pass
    built = _build_codec(fn)
    with contextlib.suppress(TypeError):  # an object without weak references: built anew each time
        _codecs[fn] = built
    return built


def _build_codec(fn: Callable[..., Any]) -> StepCodec:
    annotation = getattr(fn, "__annotations__", {}).get("return", Any)
    if annotation is Any:
        return _untyped
    what = f"{_place_of(fn)}step {getattr(fn, '__name__', fn)!r}: its result"
    resolved = _typehints.resolve(annotation, fn, what=what)
    _typehints.require_json(resolved, what=what)
    return StepCodec(resolved)


_untyped: Final = StepCodec(Any)
_codecs: WeakKeyDictionary[Callable[..., Any], StepCodec] = WeakKeyDictionary()


def _place_of(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}: " if code is not None else ""


def _name_of(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__name__", "")
    if not name or name == "<lambda>":
        kind = "a lambda" if name else f"a {codec.type_name(type(fn))}"
        raise DefinitionError(f"{kind} has no name to record: use step(name=...)(fn)")
    return str(name)


def _is_being_defined(fn: Callable[..., Any], scope: types.FrameType | None) -> bool:
    """Tell whether ``fn`` comes straight from a ``def`` in ``scope``: nobody else can hold it yet.

    Options may then be set on the function itself. On a function in use that would rename its other steps.
    """
    return (
        scope is not None
        and isinstance(fn, types.FunctionType)
        and fn.__name__ != "<lambda>"
        and fn.__code__ in scope.f_code.co_consts
        and scope.f_locals.get(fn.__name__) is not fn
        and fn.__globals__.get(fn.__name__) is not fn
    )


def _wrap(fn: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(fn):

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            return await fn(*args, **kwargs)

        return functools.update_wrapper(run_async, fn)

    def run(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return functools.update_wrapper(run, fn)
