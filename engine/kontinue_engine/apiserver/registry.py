"""Internal. Which resources this server serves: the built-in kinds and those of the CustomResourceDefinitions.

Finds the ResourceInfo of a path, of an ownerReference, of a storage key; compiles each schema once. Changes only as a
whole: what is asked stands in mappings that a change replaces, so asking costs no more than a look-up, and
``resources`` is a new tuple after every change. Told of CRDs by
``kontinue_engine.apiserver.controllers.crd_controller``; asked by the router, the handlers and discovery.
"""

from __future__ import annotations

import functools
import importlib.resources
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import orjson
import yaml

from kontinue_engine.apiserver.builtin import kinds
from kontinue_engine.apiserver.custom import crd_status, crd_types, custom_resources
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.schemas.schema import CompiledSchema, SchemaError

_log: Final = logging.getLogger(__name__)

_SAFE_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where that was built: a tenth of the time."""


class _Defined(NamedTuple):
    """What one CRD adds.

    Attributes:
        identity: what the CRD says; nothing changed while it is equal.
        infos: one for each version.
        served: those that paths may name.
        stored: the one in whose form objects are stored.
        schemas: by version.
    """

    identity: tuple[object, ...]
    infos: Mapping[str, ResourceInfo]
    served: tuple[ResourceInfo, ...]
    stored: ResourceInfo
    schemas: Mapping[str, CompiledSchema]


class Registry:
    """The resources served.

    Attributes:
        resources: all of them; another tuple after every change.
    """

    resources: tuple[ResourceInfo, ...]
    _by_path: dict[tuple[str, str, str], ResourceInfo]
    _by_kind: dict[tuple[str, str], ResourceInfo]
    _stored: dict[str, ResourceInfo]
    _schemas: dict[str, CompiledSchema]

    def __init__(self, crds: Iterable[dict[str, Any]] = ()) -> None:
        """Serve the built-in kinds, and those of ``crds``, which must be valid, as if they were established."""
        self._defined: dict[str, _Defined] = {}
        for crd in crds:
            normal, _ = crd_types.normalized(crd)
            self._define(crd_status.with_status(normal, [], now=""))
        self._publish()

    def define(self, crd: dict[str, Any]) -> bool:
        """Serve what a stored CRD defines from now on; tells whether that is something new."""
        if not self._define(crd):
            return False
        self._publish()
        return True

    def forget(self, name: str) -> bool:
        """Serve no longer what the CRD of that name defined; tells whether it was served."""
        if self._defined.pop(name, None) is None:
            return False
        self._publish()
        return True

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

    def _define(self, crd: dict[str, Any]) -> bool:
        name: str = crd["metadata"]["name"]
        before = self._defined.get(name)
        if not crd_status.is_established(crd):
            return self._defined.pop(name, None) is not None
        identity = _identity(crd)
        if before is not None and before.identity == identity:
            return False
        try:
            self._defined[name] = _compiled(crd, identity, before)
        except SchemaError as error:  # stored by another version of this server
            _log.error("custom resource not served", extra={"crd": name, "problem": str(error)})
            return self._defined.pop(name, None) is not None
        return True

    def _publish(self) -> None:
        defined = self._defined.values()
        served = (*kinds.BUILT_IN, *(info for one in defined for info in one.served))
        self._by_path = {(info.group, info.version, info.plural): info for info in served}
        self._by_kind = {(info.group, info.kind): info for info in reversed(served)}
        stored = {info.store_key: info for info in reversed(kinds.BUILT_IN)}
        self._stored = stored | {one.stored.store_key: one.stored for one in defined}
        self._schemas = {
            info.api_version + info.kind: one.schemas[version] for one in defined for version, info in one.infos.items()
        }
        self.resources = served


def _identity(crd: dict[str, Any]) -> tuple[object, ...]:
    """Return all that matters of a CRD: its spec with the names that were accepted, and whether objects convert."""
    status = crd["status"]
    return crd["spec"], status["acceptedNames"], sorted(status["storedVersions"])


def _compiled(crd: dict[str, Any], identity: tuple[object, ...], before: _Defined | None) -> _Defined:
    known = before.schemas if before else {}
    infos = {info.version: info for info in custom_resources.resource_infos(crd)}
    schemas = {
        version: known[version]
        if before and version in known and before.infos[version].schema == info.schema
        else CompiledSchema(info.schema)
        for version, info in infos.items()
    }
    if len(infos.keys() | set(crd["status"]["storedVersions"])) > 1:
        infos = {
            version: msgspec.structs.replace(info, convert=_converter(info.api_version, schemas[version]))
            for version, info in infos.items()
        }
    versions = crd["spec"]["versions"]
    served = {version["name"] for version in versions if version["served"]}
    return _Defined(
        identity=identity,
        infos=infos,
        served=tuple(info for version, info in infos.items() if version in served),
        stored=infos[next(version["name"] for version in versions if version["storage"])],
        schemas=schemas,
    )


def _converter(api_version: str, schema: CompiledSchema) -> Callable[[bytes], bytes]:
    """Return the conversion of strategy None: another apiVersion, and away with what this version does not know."""
    leading = b'{"apiVersion":"%b"' % api_version.encode()

    def convert(data: bytes) -> bytes:
        if data.startswith(leading):
            return data
        document = orjson.loads(data)
        document["apiVersion"] = api_version
        schema.prune(document)
        return orjson.dumps(document)

    return convert


def load_crds() -> list[dict[str, Any]]:
    """Return kontinue's own CustomResourceDefinitions; the caller may change them."""
    return cast("list[dict[str, Any]]", orjson.loads(_read_crds()))


@functools.cache
def _read_crds() -> bytes:
    """Return them as JSON: YAML takes milliseconds to parse, and a process of tests may start hundreds of servers."""
    packaged = importlib.resources.files("kontinue_engine.apiserver").joinpath("crds")
    if packaged.is_dir():
        texts = [file.read_text() for file in sorted(packaged.iterdir(), key=lambda file: file.name)]
    else:
        folder = Path(__file__).resolve().parents[3] / "crds"
        texts = [file.read_text() for file in sorted(folder.glob("*.yaml"))]
    return orjson.dumps([document for text in texts for document in yaml.load_all(text, _SAFE_LOADER) if document])
