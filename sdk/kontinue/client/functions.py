"""Looks up Function objects: which group runs a function, and what it takes. Kept for a short time.

Called by ``Client.spawn`` so that a spawn is one write and, mostly, nothing else. Missing functions are never
remembered: a worker may register them at any moment.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from kontinue import errors, naming
from kontinue.api.meta import ObjectList
from kontinue.api.v1alpha1 import Function
from kontinue.kube import requests
from kontinue.kube.answers import reader
from kontinue.kube.requests import Request

TTL_S: Final = 30.0
"""A function that changes its group or signature is seen this late. Judgement: a deployment takes longer."""
MAX_NAMES: Final = 1024

_decode: Final = reader(Function)
_decode_list: Final = reader(ObjectList[Function], what="list of Functions")


class FunctionDirectory:
    """Functions by name, read on demand through ``send``."""

    def __init__(self, send: Callable[[Request], Coroutine[Any, Any, bytes]]) -> None:
        self._send = send
        self._known: dict[tuple[str, str], tuple[Function, float]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def find(self, namespace: str, name: str) -> Function:
        """Return the Function, from memory when it was read lately.

        Raises:
            UnknownFunction: nobody registered it in this namespace.
        """
        key = (namespace, _object_name(name))
        if (function := self._fresh(key)) is not None:
            return function
        async with self._locks.setdefault(key, asyncio.Lock()):  # many spawns at once cost one read
            if (function := self._fresh(key)) is not None:
                return function
            return await self.refresh(namespace, name)

    async def refresh(self, namespace: str, name: str) -> Function:
        """Read the Function anew and remember it; raises like ``find``."""
        function = await self.fetch(namespace, name)
        self._known[namespace, _object_name(name)] = (function, asyncio.get_running_loop().time() + TTL_S)
        return function

    async def fetch(self, namespace: str, name: str) -> Function:
        """Read the Function from the server; raises like ``find``."""
        object_name = _object_name(name)
        if object_name:
            try:
                return _decode(await self._send(requests.get(requests.FUNCTIONS, namespace, object_name)))
            except errors.NotFound:
                pass
        raise unknown_function(name, namespace, await self.fetch_all(namespace))

    async def fetch_all(self, namespace: str, *, label_selector: str = "") -> list[Function]:
        """Read all Functions of a namespace."""
        request = requests.list_objects(requests.FUNCTIONS, namespace, label_selector=label_selector)
        return _decode_list(await self._send(request)).items

    def _fresh(self, key: tuple[str, str]) -> Function | None:
        known = self._known.get(key)
        if known is None or known[1] < asyncio.get_running_loop().time():
            return None
        return known[0]


def unknown_function(name: str, namespace: str, registered: list[Function]) -> errors.UnknownFunction:
    """Return the error for a function that is not registered: with the nearest name and the groups seen."""
    names = [function.spec.name for function in registered]
    near = difflib.get_close_matches(name, names, n=1)
    suggestion = near[0] if near else ""
    hint = f" Did you mean {suggestion!r}?" if suggestion else ""
    if registered:
        groups = Counter(function.spec.worker_group for function in registered)
        seen = ", ".join(f"{group} ({count})" for group, count in sorted(groups.items()))
        hint += (
            f" Groups with functions there: {seen}. Is the worker that has {name!r} running? "
            "If you have just written it: `kontinue dev` takes seconds to load an edit."
        )
    else:
        hint += " No worker has registered any function there: start one, for example with `kontinue dev module:app`."
    return errors.UnknownFunction(
        f"no function {name!r} in namespace {namespace!r}.{hint}", function=name, suggestion=suggestion
    )


@functools.lru_cache(maxsize=MAX_NAMES)
def _object_name(name: str) -> str:
    try:
        return naming.dns_name(name)
    except ValueError:
        return ""
