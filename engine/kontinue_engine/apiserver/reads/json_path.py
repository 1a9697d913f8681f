r"""Internal. The JSONPath of printer columns: which values of an object a path finds.

Fields (``.a``, ``['a.b/c']``, ``.a\.b``), items (``[0]``, ``[-1]``, ``[1:3]``), all (``[*]``, ``.*``) and items by
what they hold (``[?(@.type=="Ready")]``). A path that says anything else finds nothing. Called by ``tables``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from kontinue_engine.apiserver.values import MAX_NESTING

_STEP: Final = re.compile(
    r"""\.?\[(?P<index>-?\d{1,9})\]
    |\.?\[(?P<start>(?:-?\d{1,9})?):(?P<end>(?:-?\d{1,9})?)\]
    |\.?\[(?P<quote>['"])(?P<quoted>(?:[^'"\\]|\\.)*)(?P=quote)\]
    |\.?\[\?\(\s*@(?P<path>(?:\.[^=!<>()\s]+)?)\s*(?P<operator>==|!=|<=|>=|<|>)(?P<value>[^()]*+)\)\]
    |\.?(?P<all>\[\*\]|\*)
    |\.(?P<key>(?:[^.\[\]*\\]|\\.)+)""",
    re.VERBOSE,
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_MISSING: Final = object()
_Step = Callable[[Any], Iterator[Any]]


def find(document: Any, path: str) -> Any:
    """Return the first value that ``path`` finds, or None."""
    return next(_walk(document, _compiled(path)), None)


def _walk(value: Any, steps: tuple[_Step, ...]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for found in steps[0](value):
        yield from _walk(found, steps[1:])


@functools.lru_cache(maxsize=1024)
def _compiled(path: str) -> tuple[_Step, ...]:
    text = path if path.startswith((".", "[")) else f".{path}"
    steps: list[_Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            return (_nothing,)
        steps.append(_step(match))
        if len(steps) > MAX_NESTING:  # no object is that deep, and each step costs what follows it
            return (_nothing,)
        position = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> _Step:
    if match["all"]:
        return _all
    if match["index"]:
        return functools.partial(_item, index=int(match["index"]))
    if match["start"] is not None:
        bounds = slice(*(int(bound) if bound else None for bound in (match["start"], match["end"])))
        return functools.partial(_items, bounds=bounds)
    if match["operator"]:
        return functools.partial(
            _chosen, path=match["path"], compare=_COMPARE[match["operator"]], wanted=_literal(match["value"].strip())
        )
    key = match["key"] or match["quoted"] or ""
    return functools.partial(_member, key=re.sub(r"\\(.)", r"\1", key))


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _nothing(_value: Any) -> Iterator[Any]:
    return iter(())


def _member(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict) and key in value:
        yield value[key]


def _item(value: Any, index: int) -> Iterator[Any]:
    if isinstance(value, list) and -len(value) <= index < len(value):
        yield value[index]


def _items(value: Any, bounds: slice) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value[bounds]


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _chosen(value: Any, path: str, compare: Callable[[Any, Any], bool], wanted: Any) -> Iterator[Any]:
    if not isinstance(value, list):
        return
    for item in value:
        found = next(_walk(item, _compiled(path)), _MISSING) if path else item
        # Only what is of one type can be compared.
        if type(found) is type(wanted) and not isinstance(found, dict | list) and compare(found, wanted):
            yield item
