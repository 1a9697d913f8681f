"""What ``@app.function`` and ``remote`` return: a function with its name, options and typed codec.

To call it is an error: a context runs it (``ctx.execute``), a client spawns it, unit tests call ``.fn``.
``kontinue.app`` makes definitions, ``kontinue.context``, ``kontinue.client`` and the runners use them.
``kontinue._signatures`` reads the signature; everything wrong with it is an error here, at import.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

from kontinue import _signatures
from kontinue._signatures import AsyncContextMarker, FunctionCodec, SyncContextMarker
from kontinue.errors import DefinitionError
from kontinue.options import (
    CallOptions,
    FunctionDefaultOptions,
    Retention,
    RetryPolicy,
    TimeoutPolicy,
    require_type,
)

__all__ = ["AsyncContextMarker", "FunctionCodec", "FunctionDefinition", "SyncContextMarker", "define"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class FunctionDefinition(Generic[P, R_co]):
    """A registered function. ``P`` are its parameters without the context, ``R_co`` is its result.

    Attributes:
        name: name in ``spec.function``.
        fn: the plain function, for unit tests.
        codec: JSON of its arguments and result.
        is_async: declared with ``async def``.
        takes_context: its first parameter is a context.
        is_remote: a signature only; a worker of another group runs it.
        group: worker group; empty means that of the App that runs, or for a remote one that of the Function object.
        description: first paragraph of the docstring.
        location: ``file:line``, for messages.
        defaults: options of Executions whose call says nothing.
        limit: how many may run at once in the group; None means no limit.
        checkpoint: ``strict``, or ``batched``, which this version runs as strict.
        hidden: left out of lists unless asked for.
        call_options: set by ``options``.
    """

    __slots__ = (
        "call_options",
        "checkpoint",
        "codec",
        "defaults",
        "description",
        "fn",
        "group",
        "hidden",
        "is_async",
        "is_remote",
        "limit",
        "location",
        "name",
        "takes_context",
    )

    def __init__(
        self,
        signature: _signatures.FunctionSignature,
        *,
        name: str,
        is_remote: bool,
        defaults: FunctionDefaultOptions,
        limit: int | None,
        checkpoint: str,
        hidden: bool,
    ) -> None:
        self.name = name
        self.fn: Callable[..., Any] = signature.fn
        self.codec = signature.codec
        self.is_async = signature.is_async
        self.takes_context = signature.takes_context
        self.is_remote = is_remote
        self.group = ""
        self.description = signature.description
        self.location = signature.location
        self.defaults = defaults
        self.limit = limit
        self.checkpoint = checkpoint
        self.hidden = hidden
        self.call_options = _NO_OPTIONS

    def options(
        self,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: TimeoutPolicy | None = None,
        ttl: Retention | None = None,
        mutex: str | None = None,
        display_name: str | None = None,
        description: str | None = None,
        disable_shard_inheritance: bool = False,
        parallelism: int | None = None,
    ) -> FunctionDefinition[P, R_co]:
        """Return a copy whose calls use these options; what is not given here keeps its value.

        Args:
            name: name of the Execution; None lets kontinue choose. A parent that uses one again gets the same child, if
                function and arguments are the same; a client gets AlreadyExists, and attaches only by
                ``SpawnOptions(if_exists="attach")``, with a spawn by name.
            retry: replaces the function's policy.
            timeout: replaces the function's limits, both of them.
            ttl: when it is archived and deleted once it has ended; replaces the function's. For roots only.
            mutex: name of the mutex to hold, from the start until nothing of the Execution runs any more.
            display_name: for people. No effect in this version.
            description: for people. No effect in this version.
            disable_shard_inheritance: let the leader place a child instead of keeping it on its parent's shard.
            parallelism: how many children ``ctx.map`` keeps running, 1 or more; None means all.

        Raises:
            TypeError: an option of another type.
            ValueError: an option out of its range.
        """
        given: dict[str, Any] = {
            "name": name,
            "retry": retry,
            "timeout": timeout,
            "ttl": ttl,
            "mutex": mutex,
            "display_name": display_name,
            "description": description,
            "disable_shard_inheritance": disable_shard_inheritance or None,
            "parallelism": parallelism,
        }
        changed = copy.copy(self)
        said = {key: value for key, value in given.items() if value is not None}
        try:
            changed.call_options = dataclasses.replace(self.call_options, **said)
        except (TypeError, ValueError) as error:
            raise type(error)(f"options of function {self.name!r}: {error}") from None
        return changed

    if not TYPE_CHECKING:  # for type checkers it is not callable

        def __call__(self, *_: object, **__: object) -> NoReturn:
            """Refuse, with the remedy."""
            call = "(ctx, ...)" if self.takes_context else "(...)"
            raise TypeError(
                f"{self.name!r} is a kontinue function and cannot be called: use ctx.execute({self.fn.__name__}, ...) "
                f"in a function, client.spawn({self.fn.__name__}, ...) outside, {self.fn.__name__}.fn{call} in tests"
            )

    def __repr__(self) -> str:
        return f"<kontinue function {self.name!r} at {self.location}>"


_NO_OPTIONS = CallOptions()


def define(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    is_remote: bool = False,
    retry: RetryPolicy | None = None,
    timeout: TimeoutPolicy | None = None,
    ttl: Retention | None = None,
    limit: int | None = None,
    checkpoint: str = "strict",
    hidden: bool = False,
) -> FunctionDefinition[Any, Any]:
    """Return the definition of ``fn``; users reach it through ``app.function`` and ``remote``.

    Raises:
        DefinitionError: the signature cannot work; the message starts with ``file:line``.
    """
    signature = _signatures.read_signature(fn, name=name, is_remote=is_remote)
    try:
        defaults = FunctionDefaultOptions(retry=retry, timeout=timeout, ttl=ttl)
        if limit is not None:
            require_type("limit", limit, int, "limit=10")
    except TypeError as error:
        raise DefinitionError(f"{signature.where}: {error}") from None
    if limit is not None and limit < 1:
        raise DefinitionError(f"{signature.where}: limit={limit}: expected 1 or more")
    if checkpoint not in ("strict", "batched"):
        raise DefinitionError(f"{signature.where}: checkpoint={checkpoint!r}: expected 'strict' or 'batched'")
    return FunctionDefinition(
        signature,
        name=signature.name,
        is_remote=is_remote,
        defaults=defaults,
        limit=limit,
        checkpoint=checkpoint,
        hidden=hidden,
    )
