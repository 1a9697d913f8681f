"""Internal. From a CustomResourceDefinition to the resources it defines, and what is wrong with one.

``problems`` judges a CRD as a client sent it (structural schema, names, versions, rules that can be evaluated);
``resource_infos`` makes one ResourceInfo per served version of a CRD that has no problems. Called by the registry.
"""

from __future__ import annotations

from typing import Any, Final

from kontinue_engine.apiserver import metadata
from kontinue_engine.apiserver.pruning import EMBEDDED, PRESERVE
from kontinue_engine.apiserver.resources import AGE, Column, ResourceInfo
from kontinue_engine.apiserver.schema import CompiledSchema, SchemaError
from kontinue_engine.apiserver.statuses import Cause, cause

_ROOT_KEYS: Final = frozenset({"apiVersion", "kind", "metadata"})
_NAMES: Final = ("plural", "singular", "kind", "listKind")


def resource_infos(crd: dict[str, Any]) -> list[ResourceInfo]:
    """Return a ResourceInfo for every served version of a valid ``crd``."""
    spec = crd["spec"]
    names = spec["names"]
    return [
        ResourceInfo(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            singular=names.get("singular") or names["kind"].lower(),
            list_kind=names.get("listKind") or f"{names['kind']}List",
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(key for key in ("status",) if key in (version.get("subresources") or {})),
            columns=tuple(map(_column, version.get("additionalPrinterColumns") or ())) or (AGE,),
            selectable_fields=tuple(
                field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()
            ),
            schema=version["schema"]["openAPIV3Schema"],
            custom=True,
        )
        for version in spec["versions"]
        if version.get("served")
    ]


def _column(column: dict[str, Any]) -> Column:
    return Column(
        name=column["name"],
        type=column["type"],
        json_path=column["jsonPath"],
        description=column.get("description", ""),
        format=column.get("format", ""),
        priority=column.get("priority", 0),
    )


def problems(crd: dict[str, Any]) -> list[Cause]:
    """Return why ``crd`` cannot be served; empty when it can."""
    spec = crd.get("spec")
    if not isinstance(spec, dict):
        return [cause("FieldValueRequired", "spec")]
    causes = _name_problems(crd, spec)
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        detail = 'supported values: "Cluster", "Namespaced"'
        causes.append(cause("FieldValueNotSupported", "spec.scope", value=spec.get("scope"), detail=detail))
    conversion = spec.get("conversion") or {}
    if isinstance(conversion, dict) and conversion.get("strategy", "None") != "None":
        detail = 'supported values: "None"'
        strategy = conversion["strategy"]
        causes.append(cause("FieldValueNotSupported", "spec.conversion.strategy", value=strategy, detail=detail))
    return causes + _version_problems(spec.get("versions"))


def _name_problems(crd: dict[str, Any], spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    group, names = spec.get("group"), spec.get("names")
    if not isinstance(group, str) or not group:
        return [cause("FieldValueRequired", "spec.group")]
    if not isinstance(names, dict):
        return [cause("FieldValueRequired", "spec.names")]
    if problem := metadata.subdomain_problem(group):
        causes.append(cause("FieldValueInvalid", "spec.group", value=group, detail=problem))
    causes += [cause("FieldValueRequired", f"spec.names.{key}") for key in ("plural", "kind") if not names.get(key)]
    for field in _NAMES:
        value = names.get(field)
        if value and (not isinstance(value, str) or (problem := metadata.dns_label_problem(value.lower()))):
            detail = problem if isinstance(value, str) else "must be of type string"
            causes.append(cause("FieldValueInvalid", f"spec.names.{field}", value=value, detail=detail))
    name = (crd.get("metadata") or {}).get("name")
    if not causes and name != f"{names['plural']}.{group}":
        detail = 'must be spec.names.plural+"."+spec.group'
        causes.append(cause("FieldValueInvalid", "metadata.name", value=name, detail=detail))
    return causes


def _version_problems(versions: Any) -> list[Cause]:
    if not isinstance(versions, list) or not all(isinstance(version, dict) for version in versions):
        return [cause("FieldValueRequired", "spec.versions", detail="must be an array of objects")]
    causes: list[Cause] = []
    stored = [version.get("name") for version in versions if version.get("storage")]
    if len(stored) != 1:
        detail = "must have exactly one version marked as storage version"
        causes.append(cause("FieldValueInvalid", "spec.versions", value=stored, detail=detail))
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        if not isinstance(version.get("name"), str) or metadata.dns_label_problem(version["name"]):
            detail = "must be a DNS-1035 label"
            causes.append(cause("FieldValueInvalid", f"{at}.name", value=version.get("name"), detail=detail))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(schema, dict):
            causes.append(cause("FieldValueRequired", f"{at}.schema.openAPIV3Schema", detail="schemas are required"))
            continue
        causes += _schema_problems(schema, f"{at}.schema.openAPIV3Schema")
    return causes


def _schema_problems(schema: dict[str, Any], path: str) -> list[Cause]:
    if schema.get("type") != "object":
        detail = 'must be "object" at the root'
        return [cause("FieldValueInvalid", f"{path}.type", value=schema.get("type"), detail=detail)]
    causes: list[Cause] = []
    for key, below in (schema.get("properties") or {}).items():
        if key not in _ROOT_KEYS:
            causes += _structural_problems(below, f"{path}.properties[{key}]")
    if causes:
        return causes
    try:
        CompiledSchema(schema)
    except SchemaError as error:
        return [cause("FieldValueInvalid", path, value="object", detail=str(error))]
    return []


def _structural_problems(schema: Any, path: str) -> list[Cause]:
    """Every field has a type, unless it may be anything; arrays say what they hold."""
    if not isinstance(schema, dict):
        return [cause("FieldValueTypeInvalid", path, value=schema, detail="must be of type object")]
    causes: list[Cause] = []
    if "$ref" in schema:
        causes.append(cause("FieldValueForbidden", f"{path}.$ref", detail="$ref is not supported"))
    if not schema.get("type") and not schema.get(PRESERVE) and not schema.get("x-kubernetes-int-or-string"):
        detail = "must not be empty for specified object fields"
        causes.append(cause("FieldValueRequired", f"{path}.type", detail=detail))
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        causes.append(cause("FieldValueRequired", f"{path}.items", detail="must be specified"))
    if schema.get(EMBEDDED) and schema.get("type") != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        causes.append(cause("FieldValueInvalid", f"{path}.type", value=schema.get("type"), detail=detail))
    for key, below in (schema.get("properties") or {}).items():
        causes += _structural_problems(below, f"{path}.properties[{key}]")
    if "items" in schema:
        causes += _structural_problems(schema["items"], f"{path}.items")
    if isinstance(schema.get("additionalProperties"), dict):
        causes += _structural_problems(schema["additionalProperties"], f"{path}.additionalProperties")
    return causes
