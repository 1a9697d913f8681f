"""Internal. Members that a body names twice: what fieldValidation warns of or refuses.

The usual parsers keep the last one and say nothing, so this reads the body again; only those pay who ask for it.
Called by ``judging`` and ``kontinue_engine.apiserver.apply.options``.
"""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Members(list[tuple[str, Any]]):
    """Members of a JSON object as they stand."""


def complaints(body: bytes) -> list[str]:
    """Return a complaint for every member of a JSON or YAML body that stands there twice, worded as Kubernetes does.

    ``body`` must have been parsed before: what cannot be parsed has no complaints.
    """
    try:
        document = json.loads(body, object_pairs_hook=_Members)
    except ValueError:
        return yaml_complaints(body)
    paths: list[str] = []
    _visit_json(document, "", paths)
    return [f'duplicate field "{path}"' for path in paths]


def yaml_complaints(body: bytes) -> list[str]:
    """Return a complaint for every key that a mapping of a YAML (or JSON) body names twice."""
    try:
        document = yaml.compose(body, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return []
    found: list[str] = []
    _visit_yaml(document, set(), found)
    return found


def _visit_json(value: Any, path: str, paths: list[str]) -> None:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for key, item in value:
            below = f"{path}.{key}" if path else key
            if key in seen:
                paths.append(below)
            seen.add(key)
            _visit_json(item, below, paths)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _visit_json(item, f"{path}[{index}]", paths)


def _visit_yaml(node: Any, visited: set[int], found: list[str]) -> None:
    if id(node) in visited:  # an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                seen.add(key.value)
            _visit_yaml(value, visited, found)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _visit_yaml(item, visited, found)
