"""``App``: the functions that the workers of one group run. And ``remote``: signatures of other groups' functions.

A declaration without I/O, loaded as ``module:app`` by ``kontinue worker run``. The namespace belongs to the
deployment, not to code.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from kontinue import naming
from kontinue.context import ExecutionContext, SyncExecutionContext
from kontinue.definition import FunctionDefinition, define
from kontinue.errors import DefinitionError
from kontinue.options import Retention, RetryPolicy, TimeoutPolicy

P = ParamSpec("P")
R = TypeVar("R")


class FunctionDecorator(Protocol):
    """What ``app.function(...)`` with options returns."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[ExecutionContext, P], Coroutine[Any, Any, R]], /
    ) -> FunctionDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[SyncExecutionContext, P], R], /) -> FunctionDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> FunctionDefinition[P, R]: ...


class RemoteDecorator(Protocol):
    """What ``remote(name)`` returns."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> FunctionDefinition[P, R]: ...


class App:
    """The functions of one worker group.

    Args:
        group: name of the group: lower-case letters, digits and dashes, at most 63 (it is part of Lease names).

    Raises:
        DefinitionError: ``group`` cannot name a worker group.
    """

    def __init__(self, *, group: str) -> None:
        if not naming.is_group_name(group):
            raise DefinitionError(
                f"App(group={group!r}): expected lower-case letters, digits and dashes, at most 63, beginning and "
                "ending with a letter or digit"
            )
        self._group = group
        self._functions: dict[str, FunctionDefinition[..., Any]] = {}
        self._by_dns_name: dict[str, FunctionDefinition[..., Any]] = {}
        self._included_by: list[App] = []

    @property
    def group(self) -> str:
        """Name of the worker group."""
        return self._group

    @property
    def functions(self) -> Mapping[str, FunctionDefinition[..., Any]]:
        """Every function by name, in order of definition; those of included apps too. A live, read-only view."""
        return types.MappingProxyType(self._functions)

    @overload
    def function(
        self, fn: Callable[Concatenate[ExecutionContext, P], Coroutine[Any, Any, R]], /
    ) -> FunctionDefinition[P, R]: ...
    @overload
    def function(self, fn: Callable[Concatenate[SyncExecutionContext, P], R], /) -> FunctionDefinition[P, R]: ...
    @overload
    def function(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> FunctionDefinition[P, R]: ...
    @overload
    def function(self, fn: Callable[P, R], /) -> FunctionDefinition[P, R]: ...
    @overload
    def function(
        self,
        /,
        *,
        name: str | None = ...,
        retry: RetryPolicy | None = ...,
        timeout: TimeoutPolicy | None = ...,
        ttl: Retention | None = ...,
        limit: int | None = ...,
        checkpoint: Literal["strict", "batched"] = ...,
        hidden: bool = ...,
    ) -> FunctionDecorator: ...
    def function(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: TimeoutPolicy | None = None,
        ttl: Retention | None = None,
        limit: int | None = None,
        checkpoint: Literal["strict", "batched"] = "strict",
        hidden: bool = False,
    ) -> Any:
        """Register a function; a decorator, bare or with options.

        Options are recorded in the Function object. ``batched`` runs as strict in this version.

        Args:
            fn: the function, when the decorator is used bare.
            name: name in ``spec.function``; default: the function's own.
            retry: repetition of failed attempts.
            timeout: limits of time.
            ttl: when root Executions that have ended are archived or deleted.
            limit: how many Executions of it may run at once in the group; one that waits for something still counts.
            checkpoint: when records become durable.
            hidden: leave it out of lists unless asked for.

        Raises:
            DefinitionError: the signature cannot work, or the name is taken; the message starts with ``file:line``.
        """

        def register(fn: Callable[..., Any]) -> FunctionDefinition[..., Any]:
            definition = define(
                fn, name=name, retry=retry, timeout=timeout, ttl=ttl, limit=limit, checkpoint=checkpoint, hidden=hidden
            )
            self._add(definition)
            return definition

        return register if fn is None else register(fn)

    def include(self, source: App | types.ModuleType) -> None:
        """Add the functions of another App of the same group, now and later.

        Modules with an App of their own, included by the main one, need not import each other.

        Args:
            source: the App, or a module that holds one.

        Raises:
            DefinitionError: another group, a name that is taken, or a module without an App.
        """
        for app in _apps_of(source):
            if app is self:
                continue
            if app.group != self.group:
                raise DefinitionError(
                    f"App {self.group!r} cannot include App {app.group!r}: an App is one worker group; declare "
                    "functions of other groups with remote(name)"
                )
            for definition in app.functions.values():
                self._add(definition)
            app._included_by.append(self)

    def _add(self, definition: FunctionDefinition[..., Any]) -> None:
        dns_name = naming.dns_name(definition.name)
        taken = self._by_dns_name.get(dns_name)
        if taken is definition:
            return
        if taken is not None:
            raise DefinitionError(
                f"{definition.location}: function {definition.name!r}: its object name {dns_name!r} is that of "
                f"function {taken.name!r} at {taken.location}: give one of them name="
            )
        self._by_dns_name[dns_name] = definition
        self._functions[definition.name] = definition
        for app in self._included_by:
            app._add(definition)

    def __repr__(self) -> str:
        return f"<App {self._group!r}, {len(self._functions)} functions>"


def remote(name: str, /) -> RemoteDecorator:
    """Declare a function that workers of another group run: its signature only, the body never runs.

    Args:
        name: its registered name.

    Raises:
        DefinitionError: the signature cannot work.
    """

    def declare(fn: Callable[..., Any]) -> Any:
        return define(fn, name=name, is_remote=True)

    return declare


def _apps_of(source: App | types.ModuleType) -> list[App]:
    if isinstance(source, App):
        return [source]
    found = [value for value in vars(source).values() if isinstance(value, App)]
    if not found:
        raise DefinitionError(f"include: module {source.__name__} holds no App")
    return list(dict.fromkeys(found))
