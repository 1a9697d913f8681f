"""Internal. Bodies in YAML, read as kube-apiserver reads them: by way of JSON, and safe whatever was sent.

YAML can say in a kilobyte what takes gigabytes: aliases of aliases. What they add is therefore added up before
anything is built, as is the depth, for which PyYAML's C parser would run out of stack. Called by ``requests``.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import orjson
import yaml

from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.values import MAX_BODY_BYTES, MAX_NESTING, whole_number

_TAG: Final = "tag:yaml.org,2002:"
NODE_BYTES: Final = 8
"""What a node counts for beside its text."""


class _Loader(yaml.CSafeLoader):
    """CSafeLoader that takes plain scalars for what Kubernetes does: ``y`` is true, dates and ``12:30`` are text."""


def _construct_number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    number = loader.construct_yaml_float(node)
    if not math.isfinite(number):
        raise yaml.YAMLError(f"{node.value} is no number of JSON")
    return whole_number(number)  # as which it is written in the JSON that kube-apiserver makes of YAML


_Loader.bool_values = {**yaml.CSafeLoader.bool_values, "y": True, "n": False}
_Loader.add_constructor(f"{_TAG}float", _construct_number)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag.removeprefix(_TAG) in {"merge", "null"}]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
for _name, _expression, _first in (
    ("bool", r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_expression})$"), list(_first))


def parse(body: bytes) -> Any:
    """Parse a YAML body.

    Raises:
        StatusError: 400, it is no YAML, nested too deeply, or its aliases stand for too much.
    """
    try:
        _check_size(body)
        loaded = yaml.load(body, Loader=_Loader)  # noqa: S506 - a safe loader
        # Through JSON: keys become text as in kube-apiserver, and what JSON cannot say is refused.
        return orjson.loads(orjson.dumps(loaded, option=orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # Not only YAMLError: a tag such as !!int or !!timestamp hands any text to what takes only some.
        raise statuses.bad_request(f"the body of the request is not valid YAML: {error}") from error


def _check_size(body: bytes) -> None:
    open_sizes = [0]
    open_anchors: list[str | None] = []
    sizes: dict[str, int] = {}
    added = 0
    for event in yaml.parse(body, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_sizes.append(NODE_BYTES)
            open_anchors.append(event.anchor)
            if len(open_anchors) > MAX_NESTING:
                raise statuses.nested_too_deeply()
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            size, anchor = open_sizes.pop(), open_anchors.pop()
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = NODE_BYTES + len(event.value), event.anchor
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"the alias *{event.anchor} stands for nothing, or for something that it is in")
            size, anchor = sizes[event.anchor], None
            added += size
            if added > MAX_BODY_BYTES:
                raise yaml.YAMLError(f"its aliases stand for more than {MAX_BODY_BYTES} bytes")
        else:
            continue
        open_sizes[-1] += size
        if anchor is not None:
            sizes[anchor] = size
