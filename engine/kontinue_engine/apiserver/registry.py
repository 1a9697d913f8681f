"""Internal. Which resources this server serves: the built-in kinds and those of the CustomResourceDefinitions.

Finds the ResourceInfo of a path, of an ownerReference, of a storage key; compiles each schema once. The CRDs are
package data in a wheel and the repository's ``crds/`` otherwise. Called by the router, the handlers and discovery.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from kontinue_engine.apiserver import custom_resources, resources
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.schema import CompiledSchema


class Registry:
    """The resources served, fixed from the start of the server."""

    def __init__(self, crds: Iterable[dict[str, Any]]) -> None:
        self.crds: Sequence[dict[str, Any]] = list(crds)
        served = [*resources.BUILT_IN]
        for crd in self.crds:
            served.extend(custom_resources.resource_infos(crd))
        self.resources: Sequence[ResourceInfo] = served
        self._by_path = {(info.group, info.version, info.plural): info for info in served}
        self._by_kind = {(info.group, info.kind): info for info in served}
        self._stored = {info.store_key: info for info in reversed(served)}
        self._schemas = {info.api_version + info.kind: CompiledSchema(info.schema) for info in served if info.custom}

    def find(self, group: str, version: str, plural: str) -> ResourceInfo | None:
        """Return the resource of a path, or None."""
        return self._by_path.get((group, version, plural))

    def find_kind(self, api_version: str, kind: str) -> ResourceInfo | None:
        """Return the resource that an ownerReference names, whatever its version, or None."""
        return self._by_kind.get((api_version.rpartition("/")[0], kind))

    def stored(self, store_key: str) -> ResourceInfo | None:
        """Return the resource in whose form the objects of ``store_key`` are stored."""
        return self._stored.get(store_key)

    def schema(self, info: ResourceInfo) -> CompiledSchema | None:
        """Return the schema by which objects are judged; None for built-in kinds, which are stored as they come."""
        return self._schemas.get(info.api_version + info.kind)


def load_crds() -> list[dict[str, Any]]:
    """Read kontinue's own CustomResourceDefinitions."""
    packaged = importlib.resources.files("kontinue_engine.apiserver").joinpath("crds")
    if packaged.is_dir():
        texts = [file.read_text() for file in sorted(packaged.iterdir(), key=lambda file: file.name)]
    else:
        folder = Path(__file__).resolve().parents[3] / "crds"
        texts = [file.read_text() for file in sorted(folder.glob("*.yaml"))]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]
