"""Internal. What our objects in a cluster say about where they come from, and how they look as YAML. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import Any, Final

import yaml

_MANAGER: Final = "kontinue"


def stamp(component: str) -> dict[str, str]:
    """Return the labels that Kubernetes recommends."""
    return {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "kontinue",
        "app.kubernetes.io/version": metadata.version("kontinue"),
        "app.kubernetes.io/managed-by": _MANAGER,
    }


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice: nobody wants to read anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def as_yaml(objects: Iterable[dict[str, Any]]) -> str:
    """Return a stream of documents."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True).rstrip("\n")
